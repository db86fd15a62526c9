import { CoatcheckError } from './errors.ts';
import type { NearCache } from './session/near-cache.ts';
import type { Keyring } from './session/seal.ts';
import {
  indexesOf,
  providerSessionIndex,
  type Session,
  signedInBefore,
  type User,
  userIndex,
} from './session/session.ts';
import { openMetadata, type SessionMetadata } from './session/session-record.ts';
import { endSession } from './session/session-records.ts';
import { epochLifetimeMs, type IndexEntry, type SessionStore, type StoredRecord } from './session/store.ts';
import type { Telemetry } from './telemetry.ts';

/** By what a person is known: never by an e-mail address. */
export type Person = Pick<User, 'issuer' | 'subject'>;

/** One of a person's sessions, as far as it can be told without its ticket; never a token. */
export interface PersonSession extends Omit<SessionMetadata, 'id'> {
  /** Names the session here and in the log. Opens nothing. */
  readonly reference: string;
}

/** What a login knew of the person on its way; it must hold at its end. */
export interface LoginProgress {
  /** When the browser was sent to the first provider, Unix time in ms. */
  readonly startedAtMs: number;
  /** The epoch when it turned out who the person is; absent where no other provider was asked after that. */
  readonly personEpoch?: number;
}

/** What a provider says is over: one session of its own, or else all of one person. */
export interface ProviderLogout {
  readonly issuer: string;
  readonly subject?: string;
  readonly sid?: string;
}

/** Options of {@link PersonSessions}. */
export interface PersonSessionsOptions {
  readonly store: SessionStore;
  readonly keyring: Keyring;
  readonly telemetry: Telemetry;
  readonly nearCache?: NearCache;
  /** Takes the tokens of sessions that end, where this process has them in memory; nobody else can open them. Default: nothing. */
  readonly discard?: (tokenSets: Session['tokenSets']) => void;
  /** Most sessions of one person at a time; at one more the oldest ends. Default 0: no limit. */
  readonly limit?: number;
  /** Sessions from before this moment (Unix time in ms) have ended, once it has come. Default: none. */
  readonly validFromMs?: () => number | undefined;
  /** Unix time in ms. Default `Date.now`. */
  readonly now?: () => number;
}

/** A login that takes longer begins anew; well within the time for which a store remembers an epoch. */
const longestLoginMs = epochLifetimeMs / 2;

/** An entry stands for this long before its session is there; whoever dies in between leaves nothing behind. */
const pendingMs = 30_000;

/** Nobody gets new tickets this often at one moment. */
const mostRounds = 10;

/** So many commands are under way at a time. */
const batchSize = 64;

/**
 * All sessions of one person: listed, ended, limited. Every method throws `store_unavailable` where the store does not
 * answer. What was ended before that stays ended, and the same call may be made again.
 */
export class PersonSessions {
  readonly #options: PersonSessionsOptions;
  readonly #now: () => number;

  constructor(options: PersonSessionsOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
  }

  /** Their live sessions, newest first. One command, one per session, and one for each that is found dead. */
  async list(person: Person): Promise<readonly PersonSession[]> {
    const index = userIndex(person);
    const found = await this.#read(index, await this.#options.store.indexList(index));
    return found
      .filter(({ user }) => user.issuer === person.issuer && user.subject === person.subject)
      .sort(byAge)
      .reverse()
      .map(({ id, ...rest }) => ({ ...rest, reference: this.#referenceOf(id) }));
  }

  /** Ends one session. True if there was one. At most three commands. */
  async end(person: Person, reference: string): Promise<boolean> {
    const index = userIndex(person);
    const members = await this.#options.store.indexList(index);
    const own = members.filter(({ member }) => this.#referenceOf(member) === reference);
    return (await this.#endEach(index, own)) > 0;
  }

  /**
   * Ends all but one, and whatever login is under way; how many have ended. `undefined`, and nothing has ended, where the one
   * to be kept is none of theirs. Two commands, one more where others are found, and two per session.
   */
  async endOthers(person: Person, reference: string): Promise<number | undefined> {
    const { store } = this.#options;
    const index = userIndex(person);
    const isKept = ({ member }: IndexEntry): boolean => this.#referenceOf(member) === reference;
    if (!(await store.indexList(index)).some(isKept)) return undefined;
    return this.#endEvery(index, isKept);
  }

  /** Ends all, and whatever login is under way; how many have ended. One command, one more where any are found, and two per session. */
  async endAll(person: Person): Promise<number> {
    return this.#endEvery(userIndex(person), () => false);
  }

  /**
   * Ends what a provider says is over: all that came from one session there, or all of one person there; and whatever login of it is
   * under way. How many have ended. One command, and two per session.
   */
  async endByProvider({ issuer, subject = '', sid }: ProviderLogout): Promise<number> {
    const index = sid === undefined ? userIndex({ issuer, subject }) : providerSessionIndex(issuer, sid);
    return this.#endEach(index, await this.#options.store.indexClose(index));
  }

  /**
   * Writes a new session and lists it. Three commands, and two for each further index. Throws `login_expired` where everything of the person was ended after
   * the login had begun: then there is no session.
   */
  async admit(
    session: Pick<Session, 'id' | 'user' | 'tokenSets' | 'absoluteDeadlineMs'>,
    record: Omit<StoredRecord, 'generation'>,
    login: LoginProgress | undefined,
  ): Promise<void> {
    const { store } = this.#options;
    const { id: member, user } = session;
    // Refreshed tokens may prolong the record up to here.
    const { absoluteDeadlineMs: expiresAtMs } = session;
    const indexes = indexesOf(session);
    const addToEach = (endsAtMs: number): Promise<number[]> =>
      Promise.all(indexes.map((index) => store.indexAdd(index, { member, expiresAtMs: endsAtMs })));
    this.#refuseIf(login !== undefined && this.#hasLapsed(login.startedAtMs));
    // First for a moment, then for good: so the first end is never the one that a list has shown of a living session.
    const pendingUntilMs = Math.min(this.#now() + pendingMs, expiresAtMs - 1);
    const epochs = await addToEach(pendingUntilMs);
    this.#refuseIf(login !== undefined && login.startedAtMs <= Math.max(...epochs));
    const personEpoch = epochs[indexes.indexOf(userIndex(user))];
    this.#refuseIf(login?.personEpoch !== undefined && login.personEpoch !== personEpoch);
    if (!(await store.create(member, record))) {
      throw new CoatcheckError('internal', {
        detail: 'a new session id was taken already: the random source is broken',
      });
    }
    if (String(await addToEach(expiresAtMs)) === String(epochs)) return;
    await Promise.all(indexes.map((index) => this.#endEach(index, [{ member, expiresAtMs }])));
    this.#refuseIf(true);
  }

  /**
   * Ends the oldest sessions above the limit. No command without a limit, one below it. All replicas agree on what is oldest, so
   * those that do this at once end the same. Throws `login_expired` where it ended `ownId`, for others are newer.
   */
  async enforceLimit(person: Person, ownId: string): Promise<void> {
    const { store, limit = 0 } = this.#options;
    if (limit === 0) return;
    const index = userIndex(person);
    const members = await store.indexList(index);
    if (members.length <= limit) return;
    const found = await this.#read(index, members);
    const living = found.filter(({ user }) => userIndex(user) === index).sort(byAge);
    const ended = living.slice(0, -limit).map(({ id }) => id);
    await this.#endEach(
      index,
      members.filter(({ member }) => ended.includes(member)),
    );
    this.#refuseIf(ended.includes(ownId));
  }

  /** The metadata of those that live; an entry whose session is gone is removed, unless somebody is writing it just now. */
  async #read(index: string, members: readonly IndexEntry[]): Promise<SessionMetadata[]> {
    const { store, keyring, validFromMs } = this.#options;
    const found = await inBatches(members, async ({ member, expiresAtMs }) => {
      const stored = await store.read(member);
      if (stored.kind === 'miss') await store.indexRemove(index, member, expiresAtMs);
      return stored.kind === 'found' ? openMetadata(stored.record, member, keyring) : undefined;
    });
    const nowMs = this.#now();
    return found.filter(
      (metadata): metadata is SessionMetadata =>
        metadata !== undefined && !signedInBefore(metadata, validFromMs?.(), nowMs),
    );
  }

  /**
   * Until nobody is left: a session that gets a new ticket just now has its new one listed, and then finds its old one gone or, where
   * that was quicker than we, escapes this round but not the next.
   */
  async #endEvery(index: string, isKept: (entry: IndexEntry) => boolean): Promise<number> {
    let count = 0;
    for (let round = 0; round < mostRounds; round += 1) {
      const found = (await this.#options.store.indexClose(index)).filter((entry) => !isKept(entry));
      if (found.length === 0) break;
      count += await this.#endEach(index, found);
    }
    return count;
  }

  /** Session first, index last: what is interrupted can be done again. */
  async #endEach(index: string, members: readonly IndexEntry[]): Promise<number> {
    const { store, nearCache, telemetry, discard } = this.#options;
    const ended = await inBatches(members, async ({ member }) => {
      const known = nearCache?.lastVerified(member)?.session;
      const existed = await endSession(this.#options, member);
      await store.indexRemove(index, member);
      if (existed) telemetry.log('session.ended', { session: this.#referenceOf(member) });
      if (existed && known !== undefined) discard?.(known.tokenSets);
      return existed;
    });
    return ended.filter(Boolean).length;
  }

  #hasLapsed(startedAtMs: number): boolean {
    const nowMs = this.#now();
    const isTooEarly = signedInBefore({ createdAtMs: startedAtMs }, this.#options.validFromMs?.(), nowMs);
    return isTooEarly || nowMs - startedAtMs > longestLoginMs;
  }

  #refuseIf(refused: boolean): void {
    if (refused)
      throw new CoatcheckError('login_expired', {
        detail: 'sessions were ended while this login was under way',
      });
  }

  #referenceOf(sessionId: string): string {
    return this.#options.telemetry.sessionReference(sessionId);
  }
}

/** Oldest first; the same everywhere. */
function byAge(one: SessionMetadata, other: SessionMetadata): number {
  return one.createdAtMs - other.createdAtMs || (one.id < other.id ? -1 : 1);
}

async function inBatches<Item, Result>(
  items: readonly Item[],
  work: (item: Item) => Promise<Result>,
): Promise<Result[]> {
  const results: Result[] = [];
  for (let start = 0; start < items.length; start += batchSize) {
    results.push(...(await Promise.all(items.slice(start, start + batchSize).map(work))));
  }
  return results;
}
