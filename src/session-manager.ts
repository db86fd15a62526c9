import { CoatcheckError } from './errors.ts';
import { type Reauthorization, reauthorize } from './oauth/reauthorization.ts';
import { Refresh } from './oauth/refresh.ts';
import { type LoginProgress, PersonSessions } from './person-sessions.ts';
import type { Verified } from './session/near-cache.ts';
import {
  extensionIntervalMs,
  indexesOf,
  isLive,
  isRefreshable,
  isUsable,
  type Session,
  signedInBefore,
  type TokenSet,
  type TokenState,
  tokenState,
  type User,
  usableUntilMs,
  userIndex,
} from './session/session.ts';
import { sealRecord } from './session/session-record.ts';
import { endSession, SessionRecords } from './session/session-records.ts';
import { issueTicket, readTicket, type Ticket } from './session/ticket.ts';
import type { SessionManagerOptions } from './session-manager-options.ts';

/** What a finished login hands over. */
export interface NewSession {
  readonly user: User;
  readonly tokenSets: ReadonlyMap<string, TokenSet>;
  /** The cookie value that the browser had until now; that session ends. */
  readonly previousTicket?: string | undefined;
  /** Of the login that ends here. Without it nothing that was ended meanwhile counts against it. */
  readonly login?: LoginProgress;
}

/** A session and the ticket that opens it. The ticket is a secret; the session alone can go where people look. */
export interface SignedIn {
  readonly ticket: Ticket;
  readonly session: Session;
}

/** The answer to `load`. A store fault is thrown, never answered as `none`. */
export type LoadResult =
  | ({ readonly kind: 'session' } & SignedIn)
  | { readonly kind: 'none'; readonly why: 'malformed' | 'unknown' | 'unreadable' };

/** The answer to `accessToken`. */
export type AccessTokenResult =
  | { readonly kind: 'token'; readonly accessToken: string }
  /** The session lives, but this provider must be asked again. */
  | { readonly kind: 'needs-login'; readonly provider: string }
  /** The session has ended meanwhile. */
  | { readonly kind: 'ended' };

/**
 * Sessions, from ticket to token: joins ticket, record and store. Every method throws `store_unavailable` where the
 * store does not answer; nothing here takes that for "not signed in".
 */
export class SessionManager {
  /** All sessions of one person. */
  readonly people: PersonSessions;
  readonly #options: SessionManagerOptions;
  readonly #now: () => number;
  readonly #records: SessionRecords;
  readonly #refresh: Refresh;

  constructor(options: SessionManagerOptions) {
    const { now = Date.now, providers = new Map(), store, telemetry, discard } = options;
    this.#options = options;
    this.#now = now;
    this.people = new PersonSessions(options);
    this.#records = new SessionRecords({
      ...options,
      isValid: (session) => this.#isValid(session),
      now,
      onUnreadable: (sessionId, why) =>
        telemetry.log('session.unreadable', { session: telemetry.sessionReference(sessionId), why }),
    });
    this.#refresh = new Refresh({ store, records: this.#records, providers, telemetry, discard, now });
  }

  /**
   * Writes a session under a new ticket, once, and ends the one before it. At most five store commands, and those of the limit.
   * Throws `login_expired` where everything of the person was ended while the login was under way.
   */
  async create(signIn: NewSession): Promise<SignedIn> {
    const { store, keyring, telemetry, idleTimeoutMs, absoluteTimeoutMs } = this.#options;
    const { user, tokenSets, previousTicket, login } = signIn;
    const ticket = issueTicket();
    const createdAtMs = this.#now();
    const absoluteDeadlineMs = createdAtMs + absoluteTimeoutMs;
    const content = {
      user,
      tokenSets,
      createdAtMs,
      absoluteDeadlineMs,
      idleDeadlineMs: createdAtMs + idleTimeoutMs,
    };
    const record = sealRecord(content, ticket, keyring);

    await this.people.admit({ ...content, id: ticket.sessionId }, record, login);
    const previous = previousTicket === undefined ? undefined : readTicket(previousTicket);
    if (previous !== undefined && (await endSession(this.#options, previous.sessionId))) {
      // Where the person changed, the old entry stays in the other index until it expires; it leads to nothing.
      await store.indexRemove(userIndex(user), previous.sessionId);
    }
    await this.people.enforceLimit(user, ticket.sessionId);
    telemetry.log('session.created', { session: telemetry.sessionReference(ticket.sessionId) });
    return { ticket, session: { ...content, id: ticket.sessionId, generation: 1 } };
  }

  /** Gives a session new tokens of one provider, and a new ticket. Seven store commands, and three per other provider. */
  async reauthorize(request: Reauthorization & { readonly login: LoginProgress }): Promise<SignedIn> {
    const { store, telemetry, providers = new Map() } = this.#options;
    const moved = await reauthorize(
      {
        ...this.#options,
        ...{ providers, records: this.#records, now: this.#now },
        admit: (session, record) => this.people.admit(session, record, request.login),
        end: (id) => endSession(this.#options, id),
      },
      request,
    );
    const indexes = indexesOf(moved.session);
    await Promise.all(indexes.map((index) => store.indexRemove(index, request.sessionId)));
    telemetry.log('session.moved', { session: telemetry.sessionReference(moved.session.id) });
    return moved;
  }

  /**
   * The session that a cookie value stands for. No command for a value that we cannot have issued or that the near cache
   * answers, one otherwise, and a second when the idle timeout is due for extension.
   */
  async load(cookieValue: string): Promise<LoadResult> {
    const { telemetry } = this.#options;
    const ticket = readTicket(cookieValue);
    const result: LoadResult =
      ticket === undefined
        ? { kind: 'none', why: 'malformed' }
        : (this.#recall(ticket) ?? (await this.#ask(ticket)));
    telemetry.metrics.sessionLoads.inc({ outcome: result.kind === 'none' ? result.why : 'found' });
    return result;
  }

  /**
   * The access token of one provider, for the upstream that it belongs to. One that has ended is refreshed, once across the fleet,
   * which takes as long as the provider does; one that ends soon is refreshed in the background. Throws `provider_unavailable`
   * while that fails, with the time after which to try again.
   *
   * @param rejected the access token that an upstream has refused: another one is wanted. The same one is the answer where
   * there is no other, or where it is too new to be worth the question.
   */
  async accessToken(
    { ticket, session }: SignedIn,
    provider: string,
    rejected?: string,
  ): Promise<AccessTokenResult> {
    const newer = this.#records.cached(session.id);
    const latest = newer !== undefined && newer.generation > session.generation ? newer : session;
    const outcome = await this.#refresh.tokens({ ticket, provider, rejected }, latest);
    return outcome.kind === 'tokens'
      ? { kind: 'token', accessToken: outcome.tokens.accessToken }
      : outcome.kind === 'needs-login'
        ? { kind: 'needs-login', provider }
        : outcome;
  }

  /**
   * The access token of a session that could not be verified just now: nothing is refreshed. Throws `store_unavailable` where it
   * has ended and could be.
   */
  staleAccessToken(session: Session, provider: string): AccessTokenResult {
    const tokens = session.tokenSets.get(provider);
    if (tokens !== undefined && isUsable(tokens, this.#now()))
      return { kind: 'token', accessToken: tokens.accessToken };
    if (tokens !== undefined && isRefreshable(tokens, this.#now()))
      throw new CoatcheckError('store_unavailable', {
        detail: 'a token has ended while nothing can be refreshed',
      });
    return { kind: 'needs-login', provider };
  }

  /** How a provider stands in a session. `refreshing`: this process is at it. */
  providerState(session: Session, provider: string): TokenState | 'refreshing' {
    return this.#refresh.isUnderWay(session.id, provider)
      ? 'refreshing'
      : tokenState(session, provider, this.#now());
  }

  /** Begins no more refreshes and waits for those under way, as long as a provider may take. */
  async close(): Promise<void> {
    await this.#refresh.close();
  }

  /** Ends the session of a cookie value, everywhere and at once. True if there was one. Three commands, and one per further index. */
  async destroy(cookieValue: string): Promise<boolean> {
    return (await this.signOut(cookieValue)).existed;
  }

  /** The same, and the session as it was, if it could be opened. */
  async signOut(cookieValue: string): Promise<{ readonly existed: boolean; readonly session?: Session }> {
    const { store, telemetry, discard } = this.#options;
    const ticket = readTicket(cookieValue);
    if (ticket === undefined) return { existed: false };
    // From the store, not from memory: the latest tokens are those to be discarded.
    const session = await this.#records.read(ticket);
    const existed = await endSession(this.#options, ticket.sessionId);
    if (typeof session !== 'string') {
      if (existed) discard?.(session.tokenSets);
      await Promise.all(indexesOf(session).map((index) => store.indexRemove(index, ticket.sessionId)));
    }
    if (existed)
      telemetry.log('session.destroyed', { session: telemetry.sessionReference(ticket.sessionId) });
    return typeof session === 'string' ? { existed } : { existed, session };
  }

  /** What this replica last read of a session that is not past its own deadlines; for outages of the store. No command. */
  lastVerified(cookieValue: string): Verified | undefined {
    const ticket = readTicket(cookieValue);
    const verified =
      ticket === undefined ? undefined : this.#options.nearCache?.lastVerified(ticket.sessionId);
    return verified !== undefined && this.#isValid(verified.session) ? verified : undefined;
  }

  /** The answer without a word to the store. No span either: it would take as long as the look into memory. */
  #recall(ticket: Ticket): LoadResult | undefined {
    const session = this.#records.cached(ticket.sessionId);
    return session === undefined || this.#extension(session) !== undefined
      ? undefined
      : { kind: 'session', ticket, session };
  }

  #ask(ticket: Ticket): Promise<LoadResult> {
    return this.#options.telemetry.span('coatcheck.session.load', {}, async () => {
      const found = this.#records.cached(ticket.sessionId) ?? (await this.#records.read(ticket));
      if (typeof found === 'string') return { kind: 'none', why: found };
      const session = await this.#extend(found);
      return session === undefined ? { kind: 'none', why: 'unknown' } : { kind: 'session', ticket, session };
    });
  }

  #isValid(session: Session): boolean {
    const nowMs = this.#now();
    return isLive(session, nowMs) && !signedInBefore(session, this.#options.validFromMs?.(), nowMs);
  }

  /** Where the idle deadline is to be moved, if that is worth a write. */
  #extension(session: Session): number | undefined {
    const { idleTimeoutMs } = this.#options;
    const intervalMs = extensionIntervalMs(idleTimeoutMs);
    const wantedMs = this.#now() + idleTimeoutMs;
    if (wantedMs - session.idleDeadlineMs < intervalMs) return undefined;
    const dueMs = Math.min(wantedMs, usableUntilMs(session));
    return dueMs - session.idleDeadlineMs < intervalMs ? undefined : dueMs;
  }

  /** Moves the idle deadline when that is worth a write. `undefined` where the session has ended meanwhile. */
  async #extend(session: Session): Promise<Session | undefined> {
    const { store, telemetry, idleTimeoutMs, nearCache } = this.#options;
    const idleDeadlineMs = this.#extension(session);
    if (idleDeadlineMs === undefined) return session;
    try {
      const result = await store.extend(session.id, idleDeadlineMs, extensionIntervalMs(idleTimeoutMs));
      nearCache?.invalidate(session.id);
      return result.kind === 'gone' ? undefined : { ...session, idleDeadlineMs: result.idleDeadlineMs };
    } catch (error) {
      // The session was read a moment ago and is valid; that it could not be prolonged does not change that.
      if (!CoatcheckError.is(error) || error.code !== 'store_unavailable') throw error;
      telemetry.log('session.extend_failed', { session: telemetry.sessionReference(session.id), error });
      return session;
    }
  }
}
