import { CoatcheckError } from '../errors.ts';
import { isDueForRefresh, isRefreshable, isUsable, type Session, type TokenSet } from '../session/session.ts';
import type { SessionRecords, SessionWatch } from '../session/session-records.ts';
import type { SessionStore } from '../session/store.ts';
import type { Ticket } from '../session/ticket.ts';
import type { LogEvent, Telemetry } from '../telemetry.ts';
import { type Lease, takeLease } from './lease.ts';
import type { Provider, RefreshAnswer } from './provider.ts';
import { replaceTokens } from './token-replacement.ts';
import { tokensAfter } from './tokens-after.ts';
import { within } from './within.ts';

/** A provider, as far as refreshing goes. */
export type RefreshableProvider = Pick<Provider, 'refresh' | 'timeoutMs'>;

/** Which tokens are wanted. */
export interface TokenOrder {
  readonly ticket: Ticket;
  readonly provider: string;
  /** The access token that an upstream has refused. */
  readonly rejected?: string | undefined;
}

/** What an order comes to. While the provider cannot be asked, `provider_unavailable` is thrown. */
export type TokenOutcome =
  | { readonly kind: 'tokens'; readonly tokens: TokenSet }
  /** Only the person can help. */
  | { readonly kind: 'needs-login' }
  /** The session has ended. */
  | { readonly kind: 'ended' };

/** Parts of {@link Refresh}. */
export interface RefreshOptions {
  readonly store: SessionStore;
  readonly records: SessionRecords;
  readonly providers: ReadonlyMap<string, RefreshableProvider>;
  readonly telemetry: Telemetry;
  /** Takes tokens that came when their session had ended. Default: nothing becomes of them. */
  readonly discard?: ((tokenSets: ReadonlyMap<string, TokenSet>) => void) | undefined;
  readonly now: () => number;
}

/** What is to be done about an order, as a session stands. `fallback` is the answer where the grant brings nothing. */
type Need =
  | { readonly kind: 'outcome'; readonly outcome: TokenOutcome }
  | { readonly kind: 'wait'; readonly forMs: number }
  | { readonly kind: 'grant'; readonly tokens: TokenSet };

/** Beyond a provider's own timeout: for the store, and for a holder of the lock who has died. */
const patienceMs = 2000;
/** For as long tokens that were granted are tried to be stored. */
const storingMs = 30_000;
/** An access token this young is not refreshed because an upstream refuses it: that would never end. */
const leastAgeMs = 60_000;

/**
 * Refresh of tokens, once across the fleet. One at a time in this process (`#flights`), detached from whoever asked; then
 *
 * 1. the lock                         `takeLease`; while another holds it: their result, `#follow`
 * 2. the session as it is now         `records.read`
 * 3. is it still wanted and possible? `#need`
 * 4. the grant                        `provider.refresh`
 * 5. the session as it is to be       `#keep`: only over the tokens that were exchanged
 * 6. the lock's end                   unless tokens were lost: then it runs out, and the next holder is told
 */
export class Refresh {
  readonly #options: RefreshOptions;
  readonly #flights = new Map<string, Promise<TokenOutcome>>();
  readonly #releasing = new Set<Promise<void>>();
  #isClosing = false;

  constructor(options: RefreshOptions) {
    this.#options = options;
  }

  /** The tokens that an order is for, refreshed where that is due. */
  async tokens(order: TokenOrder, session: Session): Promise<TokenOutcome> {
    const need = this.#need(order, session);
    if (need.kind === 'outcome') return need.outcome;
    if (need.kind === 'wait') throw this.#unavailable(order, need.forMs);
    const isEarly = order.rejected === undefined && isUsable(need.tokens, this.#options.now());
    if (!isEarly) return await this.#patiently(order, this.#begin(order, session));
    // Nobody waits, and nobody is bothered where it fails.
    if (!this.#isClosing)
      this.#begin(order, session).catch((error: unknown) => this.#tell('token.refresh_failed', order, error));
    return { kind: 'tokens', tokens: need.tokens };
  }

  /** Whether this process is at it. */
  isUnderWay(sessionId: string, provider: string): boolean {
    return this.#flights.has(flightName(sessionId, provider));
  }

  /** Begins nothing new and waits for what is under way, as long as a provider may take. */
  async close(): Promise<void> {
    this.#isClosing = true;
    const timeouts = [...this.#options.providers.values()].map(({ timeoutMs }) => timeoutMs);
    const landed = Promise.allSettled(this.#flights.values()).then(() => Promise.all(this.#releasing));
    await within(landed, Math.max(0, ...timeouts) + patienceMs);
  }

  /** What is to be done, as the session stands. Pure but for the clock. */
  #need({ provider, rejected }: TokenOrder, session: Session): Need {
    const nowMs = this.#options.now();
    const tokens = session.tokenSets.get(provider);
    if (tokens === undefined) return { kind: 'outcome', outcome: { kind: 'needs-login' } };
    const isStillUsable = isUsable(tokens, nowMs);
    const isWanted =
      rejected === undefined
        ? isDueForRefresh(tokens, session, nowMs)
        : tokens.accessToken === rejected && nowMs - (tokens.obtainedAtMs ?? 0) >= leastAgeMs;
    const canBe = isRefreshable(tokens, nowMs) && this.#options.providers.has(provider);
    const notBeforeMs = tokens.refreshNotBeforeMs ?? 0;
    if (isStillUsable && !(isWanted && canBe && nowMs >= notBeforeMs))
      return { kind: 'outcome', outcome: { kind: 'tokens', tokens } };
    if (!canBe) return { kind: 'outcome', outcome: { kind: 'needs-login' } };
    return nowMs < notBeforeMs ? { kind: 'wait', forMs: notBeforeMs - nowMs } : { kind: 'grant', tokens };
  }

  #begin(order: TokenOrder, session: Session): Promise<TokenOutcome> {
    const name = flightName(session.id, order.provider);
    const underWay = this.#flights.get(name);
    if (underWay !== undefined) return underWay;
    if (this.#isClosing) return Promise.reject(new CoatcheckError('draining'));
    const flight = this.#fly(order).finally(() => this.#flights.delete(name));
    this.#flights.set(name, flight);
    return flight;
  }

  async #patiently(order: TokenOrder, flight: Promise<TokenOutcome>): Promise<TokenOutcome> {
    const outcome = await within(flight, this.#patienceMs(order));
    if (outcome === undefined) throw this.#unavailable(order, patienceMs);
    return outcome;
  }

  async #fly(order: TokenOrder): Promise<TokenOutcome> {
    const { store, records } = this.#options;
    const { sessionId } = order.ticket;
    const deadlineMs = performance.now() + this.#patienceMs(order);
    const watch = records.watch(sessionId);
    try {
      for (;;) {
        const result = await takeLease(store, `${sessionId}:${order.provider}`);
        const outcome =
          result.kind === 'taken'
            ? await this.#work(order, result.lease)
            : await this.#follow(order, watch, Math.min(performance.now() + result.forMs, deadlineMs));
        if (outcome !== undefined) return outcome;
        if (performance.now() >= deadlineMs) throw this.#unavailable(order, patienceMs);
      }
    } finally {
      watch.stop();
    }
  }

  /** Another replica is at it: what comes of that. `undefined` when it has had its time. */
  async #follow(order: TokenOrder, watch: SessionWatch, untilMs: number): Promise<TokenOutcome | undefined> {
    const { records } = this.#options;
    for (let pollMs = 50; ; pollMs = Math.min(2 * pollMs, 1000)) {
      const leftMs = untilMs - performance.now();
      if (leftMs <= 0) return undefined;
      const isChanged = await watch.changed(records.isTold ? leftMs : Math.min(pollMs, leftMs));
      if (!isChanged && records.isTold) continue;
      const session = await records.read(order.ticket);
      const outcome = this.#settled(order, session);
      if (outcome !== undefined) return outcome;
    }
  }

  /** Holds the lock. `undefined` where it was lost before anything was asked for. */
  async #work(order: TokenOrder, lease: Lease): Promise<TokenOutcome | undefined> {
    let isLoose = false;
    try {
      const session = await this.#options.records.read(order.ticket);
      const settled = this.#settled(order, session);
      if (settled !== undefined || typeof session === 'string' || lease.isLost) return settled;
      const before = session.tokenSets.get(order.provider);
      if (before === undefined) return { kind: 'needs-login' };
      const answer = await this.#grant(order, before, lease);
      isLoose = answer.kind === 'refreshed';
      const outcome = await this.#keep(order, { session, before, answer });
      isLoose = false;
      return outcome;
    } finally {
      if (isLoose) lease.abandon();
      else this.#release(lease);
    }
  }

  async #grant({ provider }: TokenOrder, before: TokenSet, lease: Lease): Promise<RefreshAnswer> {
    // Two holders have gone without a word: the token may have been used twice. A third time would be an attack to the provider.
    const asked =
      lease.unfinished >= 2 ? undefined : await this.#options.providers.get(provider)?.refresh(before);
    const detail = 'the refresh token may have been used, and what it brought was lost';
    return asked ?? { kind: 'refused', error: new CoatcheckError('token_unavailable', { detail }) };
  }

  /** Writes down what the provider has answered, and says what that means for whoever asked. */
  async #keep(order: TokenOrder, { session, before, answer }: Exchange): Promise<TokenOutcome | undefined> {
    const { now, telemetry, records } = this.#options;
    const { provider, ticket, rejected } = order;
    const count = (outcome: string): void => telemetry.metrics.refreshes.inc({ provider, outcome });
    const isNew = answer.kind === 'refreshed';
    if (!isNew) this.#tell(eventOf(answer), order, answer.error);
    const after = tokensAfter(before, answer, { nowMs: now(), isRejected: rejected !== undefined });
    const replacement = { ticket, provider, session, before, after };
    const replaced = await replaceTokens(records, { ...replacement, forMs: isNew ? storingMs : 0 });
    count(replaced.kind === 'replaced' ? answer.kind : replaced.kind);
    if (isNew && replaced.kind === 'away') {
      this.#tell('token.lost', order, replaced.error);
      throw replaced.error;
    }
    if (isNew && replaced.kind !== 'replaced') this.#tell('token.discarded', order);
    // Not what is superseded: at the provider it may be of one grant with the better tokens, and end with it.
    if (isNew && replaced.kind === 'gone') this.#options.discard?.(new Map([[provider, after]]));
    if (replaced.kind === 'gone') return { kind: 'ended' };
    if (replaced.kind === 'superseded') return this.#settled(order, replaced.session);
    if (isNew) this.#tell('token.refreshed', order);
    if (isNew || isUsable(after, now())) return { kind: 'tokens', tokens: after };
    if (answer.kind === 'refused') return { kind: 'needs-login' };
    throw this.#unavailable(order, (after.refreshNotBeforeMs ?? 0) - now());
  }

  /** The answer, unless a grant is needed for it. */
  #settled(order: TokenOrder, session: Session | string): TokenOutcome | undefined {
    if (typeof session === 'string') return { kind: 'ended' };
    const need = this.#need(order, session);
    if (need.kind === 'wait') throw this.#unavailable(order, need.forMs);
    return need.kind === 'outcome' ? need.outcome : undefined;
  }

  #release(lease: Lease): void {
    const releasing = lease.release().finally(() => this.#releasing.delete(releasing));
    this.#releasing.add(releasing);
  }

  /** The longest that anybody waits. */
  #patienceMs({ provider }: TokenOrder): number {
    return (this.#options.providers.get(provider)?.timeoutMs ?? 0) + patienceMs;
  }

  #unavailable({ provider }: TokenOrder, retryAfterMs: number): CoatcheckError {
    const detail = `providers.${provider}: refreshing a token does not succeed at the moment`;
    return new CoatcheckError('provider_unavailable', { detail, shown: { provider }, retryAfterMs });
  }

  #tell(event: LogEvent, { ticket, provider }: TokenOrder, error?: unknown): void {
    const { telemetry } = this.#options;
    telemetry.log(event, { provider, session: telemetry.sessionReference(ticket.sessionId), error });
  }
}

interface Exchange {
  readonly session: Session;
  readonly before: TokenSet;
  readonly answer: RefreshAnswer;
}

function eventOf(answer: Exclude<RefreshAnswer, { kind: 'refreshed' }>): LogEvent {
  if (answer.kind === 'refused') return 'token.refused';
  return answer.isOurs ? 'token.misconfigured' : 'token.refresh_failed';
}

/** An unambiguous tuple. */
function flightName(sessionId: string, provider: string): string {
  return JSON.stringify([sessionId, provider]);
}
