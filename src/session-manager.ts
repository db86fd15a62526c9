import { CoatcheckError } from './errors.ts';
import { type LoginProgress, PersonSessions } from './person-sessions.ts';
import type { NearCache, Verified } from './session/near-cache.ts';
import type { Keyring } from './session/seal.ts';
import {
  extensionIntervalMs,
  isLive,
  type Session,
  signedInBefore,
  type TokenSet,
  tokenState,
  type User,
  userIndex,
} from './session/session.ts';
import { type OpenResult, openRecord, reopenRecord, sealRecord } from './session/session-record.ts';
import type { SessionStore, StoredRecord } from './session/store.ts';
import { issueTicket, readTicket, type Ticket } from './session/ticket.ts';
import type { Telemetry } from './telemetry.ts';

/** What a finished login hands over. */
export interface NewSession {
  readonly user: User;
  readonly tokenSets: ReadonlyMap<string, TokenSet>;
  /** The cookie value that the browser had until now; that session ends. */
  readonly previousTicket?: string | undefined;
  /** Of the login that ends here. Without it nothing that was ended meanwhile counts against it. */
  readonly login?: LoginProgress;
}

/** The answer to `load`. A store fault is thrown, never answered as `none`. */
export type LoadResult =
  | { readonly kind: 'session'; readonly session: Session }
  | { readonly kind: 'none'; readonly why: 'malformed' | 'unknown' | 'unreadable' };

/** The answer to `accessToken`. */
export type AccessTokenResult =
  | { readonly kind: 'token'; readonly accessToken: string }
  /** The session lives, but this provider must be asked again. */
  | { readonly kind: 'needs-login'; readonly provider: string };

/** Parts and settings of a {@link SessionManager}. */
export interface SessionManagerOptions {
  readonly store: SessionStore;
  readonly keyring: Keyring;
  readonly telemetry: Telemetry;
  /** A session ends after this long without a request. */
  readonly idleTimeoutMs: number;
  /** A session ends this long after sign-in, whatever happens. */
  readonly absoluteTimeoutMs: number;
  /** Remembers opened sessions in this process. Default: every load asks the store, and no outage can be bridged. */
  readonly nearCache?: NearCache;
  /**
   * Whether loads are answered from the near cache: where the store tells of changes, also where it does not, or never (it
   * then only bridges outages). Default `tracked`.
   */
  readonly cacheMode?: 'tracked' | 'dangerously-untracked' | 'off';
  /** Most sessions of one person at a time; at one more the oldest ends. Default 0: no limit. */
  readonly limit?: number;
  /** Sessions from before this moment (Unix time in ms) have ended, once it has come. Asked at each load. Default: none. */
  readonly validFromMs?: () => number | undefined;
  /** Unix time in ms. Default `Date.now`. */
  readonly now?: () => number;
}

/**
 * Sessions, from ticket to token: joins ticket, record and store. Every method throws `store_unavailable` where the
 * store does not answer; nothing here takes that for "not signed in".
 */
export class SessionManager {
  /** All sessions of one person. */
  readonly people: PersonSessions;
  readonly #options: SessionManagerOptions;
  readonly #now: () => number;

  constructor(options: SessionManagerOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
    this.people = new PersonSessions(options);
    const { nearCache, cacheMode, store } = options;
    if (nearCache !== undefined && cacheMode !== 'off') follow(nearCache, store);
  }

  /**
   * Writes a session under a new ticket, once, and ends the one before it. At most five store commands, and those of the limit.
   * Throws `login_expired` where everything of the person was ended while the login was under way.
   */
  async create(signIn: NewSession): Promise<{ readonly ticket: Ticket; readonly session: Session }> {
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

    await this.people.admit({ id: ticket.sessionId, user }, record, login);
    const previous = previousTicket === undefined ? undefined : readTicket(previousTicket);
    if (previous !== undefined && (await store.destroy(previous.sessionId))) {
      // Where the person changed, the old entry stays in the other index until it expires; it leads to nothing.
      await store.indexRemove(userIndex(user), previous.sessionId);
    }
    await this.people.enforceLimit(user, ticket.sessionId);
    telemetry.log('session.created', { session: telemetry.sessionReference(ticket.sessionId) });
    return { ticket, session: { ...content, id: ticket.sessionId, generation: 1 } };
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

  /** The access token of one provider, for the upstream that it belongs to. */
  async accessToken(session: Session, provider: string): Promise<AccessTokenResult> {
    const tokens = session.tokenSets.get(provider);
    if (tokens === undefined || tokenState(session, provider, this.#now()) !== 'ok')
      return { kind: 'needs-login', provider };
    return { kind: 'token', accessToken: tokens.accessToken };
  }

  /** Ends the session of a cookie value, everywhere and at once. True if there was one. At most three commands. */
  async destroy(cookieValue: string): Promise<boolean> {
    const { store, telemetry, nearCache } = this.#options;
    const ticket = readTicket(cookieValue);
    if (ticket === undefined) return false;
    const session = nearCache?.get(ticket.sessionId) ?? (await this.#read(ticket));
    // Before: from now on nobody here is served from memory. After: nor by a read that was under way.
    nearCache?.invalidate(ticket.sessionId);
    const existed = await store.destroy(ticket.sessionId);
    nearCache?.invalidate(ticket.sessionId);
    if (typeof session !== 'string') await store.indexRemove(userIndex(session.user), ticket.sessionId);
    if (existed)
      telemetry.log('session.destroyed', { session: telemetry.sessionReference(ticket.sessionId) });
    return existed;
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
    const session = this.#cached(ticket);
    return session === undefined || this.#extension(session) !== undefined
      ? undefined
      : { kind: 'session', session };
  }

  #ask(ticket: Ticket): Promise<LoadResult> {
    return this.#options.telemetry.span('coatcheck.session.load', {}, async () => {
      const found = this.#cached(ticket) ?? (await this.#fetch(ticket));
      if (typeof found === 'string') return { kind: 'none', why: found };
      const session = await this.#extend(found);
      return session === undefined ? { kind: 'none', why: 'unknown' } : { kind: 'session', session };
    });
  }

  #cached(ticket: Ticket): Session | undefined {
    const session = this.#options.nearCache?.get(ticket.sessionId);
    return session !== undefined && this.#isValid(session) ? session : undefined;
  }

  #isValid(session: Session): boolean {
    const nowMs = this.#now();
    return isLive(session, nowMs) && !signedInBefore(session, this.#options.validFromMs?.(), nowMs);
  }

  /** Reads, and keeps what was read. */
  async #fetch(ticket: Ticket): Promise<Session | 'unknown' | 'unreadable'> {
    const { nearCache } = this.#options;
    const filling = nearCache?.begin(ticket.sessionId, this.#mayAnswer());
    try {
      const found = await this.#read(ticket);
      if (typeof found === 'string') filling?.drop();
      else filling?.keep(found);
      return found;
    } finally {
      filling?.abandon();
    }
  }

  /** Whether what is read now may answer later loads. */
  #mayAnswer(): boolean {
    const { cacheMode = 'tracked', store } = this.#options;
    return (
      cacheMode === 'dangerously-untracked' || (cacheMode === 'tracked' && store.changes?.watching() === true)
    );
  }

  /** One command: what the store has under this ticket, opened. */
  async #read(ticket: Ticket): Promise<Session | 'unknown' | 'unreadable'> {
    const { store, telemetry } = this.#options;
    const stored = await store.read(ticket.sessionId);
    if (stored.kind === 'miss') return 'unknown';
    const opened = stored.kind === 'found' ? this.#open(stored.record, ticket) : stored;
    if (opened.kind === 'unreadable') {
      const why = stored.kind === 'unreadable' ? stored.why : 'sealed';
      telemetry.log('session.unreadable', { session: telemetry.sessionReference(ticket.sessionId), why });
      return 'unreadable';
    }
    return this.#isValid(opened.session) ? opened.session : 'unknown';
  }

  #open(record: StoredRecord, ticket: Ticket): OpenResult {
    const { keyring, nearCache } = this.#options;
    const known = nearCache?.lastVerified(ticket.sessionId)?.session;
    const session = known === undefined ? undefined : reopenRecord(record, known);
    return session === undefined ? openRecord(record, ticket, keyring) : { kind: 'opened', session };
  }

  /** Where the idle deadline is to be moved, if that is worth a write. */
  #extension({ absoluteDeadlineMs, idleDeadlineMs }: Session): number | undefined {
    const { idleTimeoutMs } = this.#options;
    const dueMs = Math.min(this.#now() + idleTimeoutMs, absoluteDeadlineMs);
    return dueMs - idleDeadlineMs < extensionIntervalMs(idleTimeoutMs) ? undefined : dueMs;
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

/** Lets the cache hear of every change that the store tells. */
function follow(nearCache: NearCache, store: SessionStore): void {
  store.changes?.listen((change) => {
    if (change.kind === 'changed') nearCache.invalidate(change.sessionId);
    else if (change.kind === 'cleared') nearCache.clear();
    else nearCache.doubt();
  });
}
