/**
 * The store contract: bytes in, bytes out. A store knows when a record dies and which generation it is; it never sees
 * a ticket, a key or a token. `test/store-contract.ts` holds every store to what is written here.
 *
 * - Every write is conditional and atomic: one command or one script. Where replicas are to have what `create`, `replace`,
 *   `destroy`, `indexAdd` and `indexClose` write, one command more waits for them.
 * - Every key has a time to live, so nothing needs sweeping.
 * - A miss is an answer. A fault is thrown, as `store_unavailable`. Nothing ever turns the second into the first.
 */

/** What the store keeps beside the sealed bytes, readable by its scripts. */
export interface RecordHeader {
  /** Starts at 1; each replace adds 1. A write names the generation that it was based on. */
  readonly generation: number;
  /** End of the idle timeout, Unix time in ms. `extend` moves it. */
  readonly idleDeadlineMs: number;
  /** Nothing is kept beyond this moment, Unix time in ms: the earlier of absolute timeout and last use of any token. */
  readonly absoluteDeadlineMs: number;
}

/** One stored session. */
export interface StoredRecord extends RecordHeader {
  /** The sealed sections; opaque here. */
  readonly body: Buffer;
}

/** The answer to `read`. `unreadable`: there is something, but not a record of ours or of this format version. */
export type ReadResult =
  | { readonly kind: 'found'; readonly record: StoredRecord }
  | { readonly kind: 'miss' }
  | { readonly kind: 'unreadable'; readonly why: 'format' | 'foreign' };

/** The answer to `replace`. */
export type ReplaceResult =
  | { readonly kind: 'replaced'; readonly generation: number }
  /** Another writer was first: read again, merge, retry. */
  | { readonly kind: 'conflict' }
  /** Destroyed or expired: stays so. */
  | { readonly kind: 'gone' };

/** The answer to `extend`. */
export type ExtendResult =
  | { readonly kind: 'extended'; readonly idleDeadlineMs: number }
  /** Another replica has just done it. */
  | { readonly kind: 'fresh'; readonly idleDeadlineMs: number }
  | { readonly kind: 'gone' };

/** The answer to `lock`. */
export type LockResult =
  /**
   * `unfinished`: how many holders before this one have begun and let it run out without a word, or have unlocked it as
   * `unsure`, since the last who settled. What they did last nobody knows.
   */
  | { readonly kind: 'taken'; readonly unfinished: number }
  /** By another owner, for so long yet unless they renew or unlock it. */
  | { readonly kind: 'held'; readonly forMs: number };

/** For how long a lock is held. */
export interface LockTerm {
  /** From now on. */
  readonly ttlMs: number;
  /**
   * Given just before the holder does what cannot be repeated at will: unless they unlock, they count as unfinished from then on,
   * for this long beyond the holding. Default: as before.
   */
  readonly begunForMs?: number;
}

/**
 * What became of what a lock was held for. `settled`: it came to its end, and nothing unfinished matters any more. `unsent`: it was
 * not done. `unsure`: it may have been done; its holder counts as unfinished, if they had begun.
 */
export type LockOutcome = 'settled' | 'unsent' | 'unsure';

/** One member of an index: a session id and the moment (Unix time in ms) at which it is trimmed. */
export interface IndexEntry {
  readonly member: string;
  readonly expiresAtMs: number;
}

/**
 * How long an index remembers that it was closed: 2 h. Longer than any login may take, with room for clocks that differ.
 */
export const epochLifetimeMs: number = 7_200_000;

/** What a store tells of sessions that were read through it. */
export type StoreChange =
  /** Changed or removed by anyone, this process included. */
  | { readonly kind: 'changed'; readonly sessionId: string }
  /** Everything was removed at once. */
  | { readonly kind: 'cleared' }
  /** Changes may have been missed: nothing that was read before is certain. */
  | { readonly kind: 'doubt' };

/** A store that tells of changes to what was read. A near cache stands on it. */
export interface StoreChanges {
  /** Whether what is read now is watched. While it is not, nothing may be kept. */
  readonly watching: () => boolean;
  /** Tells from now on. One listener. */
  readonly listen: (listener: (change: StoreChange) => void) => void;
}

/** Where sessions, transactions, locks and indexes live. Ids are opaque and already hashed; times are Unix ms. */
export interface SessionStore {
  /** The record of a live session. One command. */
  read(sessionId: string): Promise<ReadResult>;

  /** Writes a new record with generation 1. False where the id exists: nothing was written. One command. */
  create(sessionId: string, record: Omit<StoredRecord, 'generation'>): Promise<boolean>;

  /**
   * Writes only if the session still lives and its generation is `expectedGeneration`. The later of the two idle
   * deadlines stays. One command.
   */
  replace(
    sessionId: string,
    expectedGeneration: number,
    record: Omit<StoredRecord, 'generation'>,
  ): Promise<ReplaceResult>;

  /**
   * Moves the idle deadline to `idleDeadlineMs`, never past the absolute deadline, and only where that gains at least
   * `minimumGainMs`. Does not change the generation. One command.
   */
  extend(sessionId: string, idleDeadlineMs: number, minimumGainMs: number): Promise<ExtendResult>;

  /** Removes the session. True if there was one. One command. */
  destroy(sessionId: string): Promise<boolean>;

  /** Keeps bytes for `ttlMs` under an id that is not taken; false if it is. One command. */
  putOnce(id: string, value: Buffer, ttlMs: number): Promise<boolean>;

  /** Hands the bytes to exactly one caller, ever. One command. */
  takeOnce(id: string): Promise<Buffer | undefined>;

  /**
   * Takes a lock for `ttlMs` in the name of `owner`, unless another holds it. A lock whose name begins with a session id and a
   * colon lives where that session does. One command.
   */
  lock(name: string, owner: string, ttlMs: number): Promise<LockResult>;

  /**
   * Prolongs the lock, and marks a beginning, if `owner` holds it, or has begun and nobody has taken it since. One command.
   */
  renewLock(name: string, owner: string, term: LockTerm): Promise<boolean>;

  /**
   * Releases the lock, if nobody has taken it since `owner` did; a no-op otherwise. Nothing is left of a lock without unfinished
   * holders. One command.
   */
  unlock(name: string, owner: string, outcome: LockOutcome): Promise<boolean>;

  /**
   * Adds to an index, or moves the end of a member; the index lives as long as its last entry. Trims what has expired. Answers
   * with the epoch: when the index was last closed (Unix ms, each greater than the one before), 0 where none is remembered.
   * One command.
   */
  indexAdd(index: string, entry: IndexEntry): Promise<number>;

  /** The epoch of an index. One command. */
  indexEpoch(index: string): Promise<number>;

  /**
   * Begins a new epoch, remembered for {@link epochLifetimeMs}, and answers with the live members, which stay. Whoever adds a
   * member is thus either among them or learns of the new epoch. One command.
   */
  indexClose(index: string): Promise<readonly IndexEntry[]>;

  /**
   * Removes from an index; a no-op where absent, or where the member has another end than `expiresAtMs`, if that is given.
   * One command.
   */
  indexRemove(index: string, member: string, expiresAtMs?: number): Promise<void>;

  /** The live members of an index, soonest to expire first. Trims what has expired. One command. */
  indexList(index: string): Promise<readonly IndexEntry[]>;

  /** Present where the store can tell of changes to what was read. */
  readonly changes?: StoreChanges;

  /** Throws `store_unavailable` unless the store answers. One command. */
  ping(): Promise<void>;

  /** Waits for what is in flight, then lets go of connections. */
  close(): Promise<void>;
}
