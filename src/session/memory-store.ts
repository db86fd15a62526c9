import { ExpiringMap } from './expiring-map.ts';
import { recordPrefix } from './record-header.ts';
import {
  type ExtendResult,
  epochLifetimeMs,
  type IndexEntry,
  type LockOutcome,
  type LockResult,
  type LockTerm,
  type ReadResult,
  type ReplaceResult,
  type SessionStore,
  type StoredRecord,
} from './store.ts';

/** Options of {@link createMemoryStore}. */
export interface MemoryStoreOptions {
  /** The clock, Unix ms. Default `Date.now`. */
  readonly now?: () => number;
}

/**
 * Sessions in this process: for tests, and for a single replica that may forget everyone when it stops.
 * What has expired goes bit by bit, at each write, without a timer (see {@link ExpiringMap}).
 */
export function createMemoryStore(options: MemoryStoreOptions = {}): SessionStore {
  return new MemoryStore(options.now ?? Date.now);
}

interface Lock {
  /** Absent where it is only remembered. */
  readonly owner?: string;
  readonly unfinished: number;
  readonly hasBegun: boolean;
  readonly heldUntilMs: number;
  /** Beyond the holding. */
  readonly memoryMs: number;
}

class MemoryStore implements SessionStore {
  readonly #now: () => number;
  readonly #sessions: ExpiringMap<StoredRecord>;
  readonly #once: ExpiringMap<Buffer>;
  readonly #locks: ExpiringMap<Lock>;
  readonly #indexes: ExpiringMap<Map<string, number>>;
  readonly #epochs: ExpiringMap<number>;

  constructor(now: () => number) {
    this.#now = now;
    this.#sessions = new ExpiringMap(now);
    this.#once = new ExpiringMap(now);
    this.#locks = new ExpiringMap(now);
    this.#indexes = new ExpiringMap(now);
    this.#epochs = new ExpiringMap(now);
  }

  async read(sessionId: string): Promise<ReadResult> {
    const record = this.#sessions.get(sessionId);
    return record ? { kind: 'found', record: copy(record) } : { kind: 'miss' };
  }

  async create(sessionId: string, record: Omit<StoredRecord, 'generation'>): Promise<boolean> {
    if (this.#sessions.get(sessionId)) return false;
    this.#write(sessionId, { ...record, generation: 1 });
    return true;
  }

  async replace(
    sessionId: string,
    expectedGeneration: number,
    record: Omit<StoredRecord, 'generation'>,
  ): Promise<ReplaceResult> {
    const current = this.#sessions.get(sessionId);
    if (!current) return { kind: 'gone' };
    if (current.generation !== expectedGeneration) return { kind: 'conflict' };
    const generation = expectedGeneration + 1;
    const idleDeadlineMs = Math.max(current.idleDeadlineMs, record.idleDeadlineMs);
    this.#write(sessionId, { ...record, generation, idleDeadlineMs });
    return { kind: 'replaced', generation };
  }

  async extend(sessionId: string, idleDeadlineMs: number, minimumGainMs: number): Promise<ExtendResult> {
    const current = this.#sessions.get(sessionId);
    if (!current) return { kind: 'gone' };
    const wanted = Math.min(idleDeadlineMs, current.absoluteDeadlineMs);
    if (wanted - current.idleDeadlineMs < Math.max(minimumGainMs, 1)) {
      return { kind: 'fresh', idleDeadlineMs: current.idleDeadlineMs };
    }
    this.#write(sessionId, { ...current, idleDeadlineMs: wanted });
    return { kind: 'extended', idleDeadlineMs: wanted };
  }

  async destroy(sessionId: string): Promise<boolean> {
    return this.#sessions.delete(sessionId);
  }

  async putOnce(id: string, value: Buffer, ttlMs: number): Promise<boolean> {
    if (this.#once.get(id)) return false;
    this.#once.set(id, Buffer.from(value), this.#now() + ttlMs);
    return true;
  }

  async takeOnce(id: string): Promise<Buffer | undefined> {
    const value = this.#once.get(id);
    this.#once.delete(id);
    return value;
  }

  async lock(name: string, owner: string, ttlMs: number): Promise<LockResult> {
    const last = this.#locks.get(name);
    const isAnother = last !== undefined && last.owner !== owner;
    const forMs = isAnother ? last.heldUntilMs - this.#now() : 0;
    if (forMs > 0) return { kind: 'held', forMs };
    const { unfinished: before = 0, hasBegun = false, memoryMs = 0, heldUntilMs = 0 } = last ?? {};
    const unfinished = before + (isAnother && hasBegun ? 1 : 0);
    this.#hold(name, {
      owner,
      unfinished,
      hasBegun: hasBegun && !isAnother,
      heldUntilMs: this.#now() + ttlMs,
      // What is remembered is so to its first end.
      memoryMs: !isAnother ? memoryMs : unfinished > 0 ? heldUntilMs + memoryMs - this.#now() : 0,
    });
    return { kind: 'taken', unfinished };
  }

  async renewLock(name: string, owner: string, { ttlMs, begunForMs }: LockTerm): Promise<boolean> {
    const last = this.#locks.get(name);
    if (last?.owner !== owner) return false;
    const begun = begunForMs === undefined ? {} : { hasBegun: true, memoryMs: begunForMs };
    this.#hold(name, { ...last, ...begun, heldUntilMs: this.#now() + ttlMs });
    return true;
  }

  async unlock(name: string, owner: string, outcome: LockOutcome): Promise<boolean> {
    const last = this.#locks.get(name);
    if (last?.owner !== owner) return false;
    const unfinished = last.unfinished + (outcome === 'unsure' && last.hasBegun ? 1 : 0);
    this.#locks.delete(name);
    const heldUntilMs = Math.min(last.heldUntilMs, this.#now());
    if (outcome !== 'settled' && unfinished > 0)
      this.#hold(name, { unfinished, hasBegun: false, heldUntilMs, memoryMs: last.memoryMs });
    return true;
  }

  async indexAdd(index: string, entry: IndexEntry): Promise<number> {
    const members = this.#live(index).set(entry.member, entry.expiresAtMs);
    this.#indexes.set(index, members, Math.max(...members.values()));
    return this.#epochs.get(index) ?? 0;
  }

  async indexEpoch(index: string): Promise<number> {
    return this.#epochs.get(index) ?? 0;
  }

  async indexClose(index: string): Promise<readonly IndexEntry[]> {
    const epoch = Math.max(this.#now(), (this.#epochs.get(index) ?? 0) + 1);
    this.#epochs.set(index, epoch, epoch + epochLifetimeMs);
    return this.indexList(index);
  }

  async indexRemove(index: string, member: string, expiresAtMs?: number): Promise<void> {
    const members = this.#live(index);
    if (expiresAtMs !== undefined && members.get(member) !== expiresAtMs) return;
    members.delete(member);
    if (members.size === 0) this.#indexes.delete(index);
    else this.#indexes.set(index, members, Math.max(...members.values()));
  }

  async indexList(index: string): Promise<readonly IndexEntry[]> {
    return Array.from(this.#live(index), ([member, expiresAtMs]) => ({ member, expiresAtMs })).sort(
      (a, b) => a.expiresAtMs - b.expiresAtMs || (a.member < b.member ? -1 : 1),
    );
  }

  async ping(): Promise<void> {}

  async close(): Promise<void> {
    for (const map of [this.#sessions, this.#once, this.#locks, this.#indexes, this.#epochs]) map.clear();
  }

  #hold(name: string, lock: Lock): void {
    this.#locks.set(name, lock, lock.heldUntilMs + lock.memoryMs);
  }

  #write(sessionId: string, record: StoredRecord): void {
    recordPrefix(sessionId); // Refuses what the Redis store would refuse.
    const endsAtMs = Math.min(record.idleDeadlineMs, record.absoluteDeadlineMs);
    this.#sessions.set(sessionId, copy(record), endsAtMs);
  }

  /** The members of an index that have not ended. */
  #live(index: string): Map<string, number> {
    const nowMs = this.#now();
    return new Map([...(this.#indexes.get(index) ?? [])].filter(([, endsAtMs]) => nowMs < endsAtMs));
  }
}

/** Nobody can change what is stored through a buffer that he gave or got. */
function copy(record: StoredRecord): StoredRecord {
  return { ...record, body: Buffer.from(record.body) };
}
