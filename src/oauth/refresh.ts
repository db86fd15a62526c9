import { CoatcheckError } from '../errors.ts';
import { isUsable, type Session, type TokenSet } from '../session/session.ts';
import type { SessionRecords, SessionWatch } from '../session/session-records.ts';
import type { LockOutcome, SessionStore } from '../session/store.ts';
import type { LogEvent, Telemetry } from '../telemetry.ts';
import { type Lease, refreshLock, takeLease } from './lease.ts';
import type { Provider, RefreshAnswer } from './provider.ts';
import {
  type GrantNeed,
  type KnownOutcome,
  outcomeOf,
  type TokenNeed,
  type TokenOrder,
  type TokenOutcome,
  tokenNeed,
} from './token-need.ts';
import { replaceTokens, type TokenReplacementResult } from './token-replacement.ts';
import { tokensAfter } from './tokens-after.ts';
import { within } from './within.ts';

/** A provider, as far as refreshing goes. */
export type RefreshableProvider = Pick<Provider, 'refresh' | 'timeoutMs'>;

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

/** How an attempt ended. */
type Attempt =
  | KnownOutcome
  /** The lock was lost, had its time, or is another one's: once more, as the session stands now. */
  | { readonly kind: 'again'; readonly session: Session };

/** Beyond a provider's own timeout: for the store, and for a holder of the lock who has died. */
const patienceMs = 2000;
/** So many holders of the lock whose grants may have been heard. */
const mostUnfinished = 2;
/** For as long tokens that were granted are tried to be stored. */
const storingMs = 30_000;

/**
 * Refresh of tokens, once across the fleet. One at a time in this process (`#flights`), detached from whoever asked; then
 *
 * 1. the refresh token's own lock     `takeLease`; while another holds it: their result, `#follow`
 * 2. the session as it is now         `records.read`
 * 3. is it still wanted and possible? `#need`
 * 4. the grant                        `lease.begin`: should we die, the next holder knows; `provider.refresh`
 * 5. the session as it is to be       `#keep`: only over the tokens that were exchanged
 * 6. the lock's end                   `lease.release`, with what the next holder must know
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

  #need(order: TokenOrder, session: Session): TokenNeed {
    const { now, providers } = this.#options;
    return tokenNeed(order, session, { nowMs: now(), hasProvider: providers.has(order.provider) });
  }

  #begin(order: TokenOrder, session: Session): Promise<TokenOutcome> {
    const name = flightName(session.id, order.provider);
    const underWay = this.#flights.get(name);
    if (underWay !== undefined) return underWay;
    if (this.#isClosing) return Promise.reject(new CoatcheckError('draining'));
    const flight = this.#fly(order, session).finally(() => this.#flights.delete(name));
    this.#flights.set(name, flight);
    return flight;
  }

  async #patiently(order: TokenOrder, flight: Promise<TokenOutcome>): Promise<TokenOutcome> {
    const outcome = await within(flight, this.#patienceMs(order));
    if (outcome === undefined) throw this.#unavailable(order, patienceMs);
    return outcome;
  }

  async #fly(order: TokenOrder, known: Session): Promise<TokenOutcome> {
    const { records } = this.#options;
    const deadlineMs = performance.now() + this.#patienceMs(order);
    const watch = records.watch(order.ticket.sessionId);
    try {
      for (let session = known; ; ) {
        const result = await takeLease(this.#options.store, lockOf(order, session));
        const attempt: Attempt =
          result.kind === 'taken'
            ? await this.#work(order, session, result.lease)
            : await this.#follow(order, session, {
                watch,
                untilMs: Math.min(performance.now() + result.forMs, deadlineMs),
              });
        if (attempt.kind === 'outcome') return attempt.outcome;
        if (performance.now() >= deadlineMs) throw this.#unavailable(order, patienceMs);
        session = attempt.session;
      }
    } finally {
      watch.stop();
    }
  }

  /** Another replica is at it: what comes of that. */
  async #follow(
    order: TokenOrder,
    known: Session,
    { watch, untilMs }: { readonly watch: SessionWatch; readonly untilMs: number },
  ): Promise<Attempt> {
    const { records } = this.#options;
    for (let pollMs = 50; ; pollMs = Math.min(2 * pollMs, 1000)) {
      const leftMs = untilMs - performance.now();
      if (leftMs <= 0) return { kind: 'again', session: known };
      const isChanged = await watch.changed(records.isTold ? leftMs : Math.min(pollMs, leftMs));
      if (!isChanged && records.isTold) continue;
      const session = await records.read(order.ticket);
      const need = this.#stand(order, session);
      if (need.kind === 'outcome') return need;
      if (lockOf(order, session) !== lockOf(order, known)) return { kind: 'again', session: need.session };
    }
  }

  /** Holds the lock of the refresh token that `known` has. */
  async #work(order: TokenOrder, known: Session, lease: Lease): Promise<Attempt> {
    let lockOutcome: LockOutcome = 'unsent';
    try {
      const read = await this.#options.records.read(order.ticket);
      const isReplaced = lockOf(order, read) !== lockOf(order, known);
      if (isReplaced) lockOutcome = 'settled';
      const need = this.#stand(order, read);
      if (need.kind === 'outcome') return need;
      const { session, tokens: before } = need;
      if (isReplaced) return { kind: 'again', session };
      const answer = await this.#grant(order, need, lease);
      if (answer === undefined) return { kind: 'again', session };
      lockOutcome = answer.kind === 'failed' && !answer.isUnsure ? 'unsent' : 'unsure';
      const kept = await this.#keep(order, { session, before, answer });
      if (answer.kind !== 'failed' && kept.replaced.kind !== 'away') lockOutcome = 'settled';
      return this.#conclude(order, kept);
    } finally {
      this.#release(lease, lockOutcome);
    }
  }

  /** `undefined` where the lock was lost before anything was asked for. */
  async #grant(
    { provider }: TokenOrder,
    { session, tokens }: GrantNeed,
    lease: Lease,
  ): Promise<RefreshAnswer | undefined> {
    // The token may have been used twice. A third time would be an attack to the provider.
    if (lease.unfinished >= mostUnfinished && tokens.refreshTokenReusable !== true) {
      const detail = 'the refresh token may have been used, and what it brought was lost';
      return { kind: 'refused', error: new CoatcheckError('token_unavailable', { detail }) };
    }
    const isHeld = await lease.begin(Math.max(1, session.absoluteDeadlineMs - this.#options.now()));
    return isHeld ? this.#options.providers.get(provider)?.refresh(tokens) : undefined;
  }

  /** Writes down what the provider has answered. */
  async #keep(order: TokenOrder, { session, before, answer }: Exchange): Promise<Kept> {
    const { now, telemetry, records } = this.#options;
    const { provider, ticket, rejected } = order;
    if (answer.kind !== 'refreshed') this.#tell(eventOf(answer), order, answer.error);
    const after = tokensAfter(before, answer, { nowMs: now(), isRejected: rejected !== undefined });
    const forMs = answer.kind === 'refreshed' ? storingMs : 0;
    const replaced = await replaceTokens(records, { ticket, provider, session, before, after, forMs });
    const outcome = replaced.kind === 'replaced' ? answer.kind : replaced.kind;
    telemetry.metrics.refreshes.inc({ provider, outcome });
    return { answer, after, replaced };
  }

  /** What that means for whoever asked. */
  #conclude(order: TokenOrder, { answer, after, replaced }: Kept): Attempt {
    const { now } = this.#options;
    const isNew = answer.kind === 'refreshed';
    if (isNew && replaced.kind === 'away') {
      this.#tell('token.lost', order, replaced.error);
      throw replaced.error;
    }
    if (replaced.kind === 'gone' || replaced.kind === 'superseded') {
      if (isNew && !replaced.isDoubtful) this.#tell('token.discarded', order);
      // Not what is superseded: at the provider it may be of one grant with the better tokens, and end with it.
      if (isNew && replaced.kind === 'gone' && !replaced.isDoubtful)
        this.#options.discard?.(new Map([[order.provider, after]]));
      const need = this.#stand(order, replaced.kind === 'gone' ? 'unknown' : replaced.session);
      return need.kind === 'outcome' ? need : { kind: 'again', session: need.session };
    }
    if (isNew) this.#tell('token.refreshed', order);
    if (isNew || isUsable(after, now())) return outcomeOf({ kind: 'tokens', tokens: after });
    if (answer.kind === 'refused') return outcomeOf({ kind: 'needs-login' });
    throw this.#unavailable(order, (after.refreshNotBeforeMs ?? 0) - now());
  }

  /** The outcome, unless a grant is needed for it. */
  #stand(order: TokenOrder, session: Session | string): Exclude<TokenNeed, { kind: 'wait' }> {
    if (typeof session === 'string') return outcomeOf({ kind: 'ended' });
    const need = this.#need(order, session);
    if (need.kind === 'wait') throw this.#unavailable(order, need.forMs);
    return need;
  }

  #release(lease: Lease, outcome: LockOutcome): void {
    const releasing = lease.release(outcome).finally(() => this.#releasing.delete(releasing));
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

interface Kept {
  readonly answer: RefreshAnswer;
  readonly after: TokenSet;
  readonly replaced: TokenReplacementResult;
}

/** The lock of the refresh token that a session has now: what is noted there concerns no other token. */
function lockOf({ ticket, provider }: TokenOrder, session: Session | string): string {
  const token = typeof session === 'string' ? undefined : session.tokenSets.get(provider)?.refreshToken;
  return refreshLock(ticket, provider, token ?? '');
}

function eventOf(answer: Exclude<RefreshAnswer, { kind: 'refreshed' }>): LogEvent {
  if (answer.kind === 'refused') return 'token.refused';
  return answer.isOurs ? 'token.misconfigured' : 'token.refresh_failed';
}

/** An unambiguous tuple. */
function flightName(sessionId: string, provider: string): string {
  return JSON.stringify([sessionId, provider]);
}
