import type { Session } from './session.ts';

/** Options of {@link NearCache}. */
export interface NearCacheOptions {
  /** Most sessions kept; the least recently used one goes first. Default 10,000. */
  readonly maximumEntries?: number;
  /** An entry is read again after this long, in ms, also without any sign of change. Default 30,000. */
  readonly maximumAgeMs?: number;
  /** Unix time in ms. Default `Date.now`. */
  readonly now?: () => number;
}

/** A session that this process has read from the store, and when. */
export interface Verified {
  readonly session: Session;
  /** Unix time in ms. */
  readonly verifiedAtMs: number;
}

/** A read under way; made before the read is sent, so that no change can slip in between. */
export interface Filling {
  /** Keeps what was read, unless it has changed meanwhile. */
  keep(session: Session): void;
  /** The store has no such session. */
  drop(): void;
  /** The read failed: what was known stays as it is. */
  abandon(): void;
}

interface Entry extends Verified {
  /** False where changes are not told or may have been missed: the entry then answers no load, only an outage. */
  fresh: boolean;
}

/**
 * Opened sessions in this process, so that the usual request costs no store command. Correctness comes from the store, which
 * tells of every change to what was read; where that is in doubt, entries lose their freshness at once. Expiry is never
 * learned from the store: it tells seconds late, so callers check each session's own deadlines.
 */
export class NearCache {
  readonly #maximumEntries: number;
  readonly #maximumAgeMs: number;
  readonly #now: () => number;
  /** In order of use, least recent first. */
  readonly #entries = new Map<string, Entry>();
  readonly #fillings = new Map<string, Set<object>>();

  constructor({ maximumEntries = 10_000, maximumAgeMs = 30_000, now = Date.now }: NearCacheOptions = {}) {
    this.#maximumEntries = maximumEntries;
    this.#maximumAgeMs = maximumAgeMs;
    this.#now = now;
  }

  /** How many sessions are kept, fresh or not. */
  get size(): number {
    return this.#entries.size;
  }

  /** A session that is known to be what the store has. */
  get(sessionId: string): Session | undefined {
    const entry = this.#entries.get(sessionId);
    if (entry === undefined || !entry.fresh) return undefined;
    if (this.#now() - entry.verifiedAtMs >= this.#maximumAgeMs) return undefined;
    this.#entries.delete(sessionId);
    this.#entries.set(sessionId, entry);
    return entry.session;
  }

  /** What this process last read of a session, however long ago and whatever may have happened since. For outages only. */
  lastVerified(sessionId: string): Verified | undefined {
    return this.#entries.get(sessionId);
  }

  /**
   * Announces a read.
   *
   * @param watched whether changes from now on will be told; if not, what is kept serves only in an outage
   */
  begin(sessionId: string, watched: boolean): Filling {
    const filling = {};
    const underWay = this.#fillings.get(sessionId) ?? new Set();
    this.#fillings.set(sessionId, underWay.add(filling));
    const verifiedAtMs = this.#now();
    const finish = (): boolean => {
      const unspoiled = underWay.delete(filling);
      if (underWay.size === 0 && this.#fillings.get(sessionId) === underWay) this.#fillings.delete(sessionId);
      return unspoiled;
    };
    return {
      keep: (session) => {
        if (finish()) this.#put({ session, verifiedAtMs, fresh: watched });
      },
      drop: () => {
        if (finish()) this.#entries.delete(sessionId);
      },
      abandon: finish,
    };
  }

  /** A session has changed or ended: forgotten, and no read under way may bring back what it was. */
  invalidate(sessionId: string): void {
    this.#entries.delete(sessionId);
    this.#fillings.get(sessionId)?.clear();
    this.#fillings.delete(sessionId);
  }

  /** Everything may have changed or ended. */
  clear(): void {
    this.#entries.clear();
    this.#spoilFillings();
  }

  /** Changes may have been missed: nothing is fresh any more. Constant in memory, linear in entries, and rare. */
  doubt(): void {
    for (const entry of this.#entries.values()) entry.fresh = false;
    this.#spoilFillings();
  }

  #spoilFillings(): void {
    for (const fillings of this.#fillings.values()) fillings.clear();
    this.#fillings.clear();
  }

  #put(entry: Entry): void {
    this.#entries.delete(entry.session.id);
    this.#entries.set(entry.session.id, entry);
    if (this.#entries.size <= this.#maximumEntries) return;
    const oldest = this.#entries.keys().next().value;
    if (oldest !== undefined) this.#entries.delete(oldest);
  }
}
