import { randomUUID } from 'node:crypto';
import type { RedisArgument } from '@redis/client';
import type { DurableConnection } from './durable-connection.ts';
import { decodeRecord, encodeRecord, oncePrefix, recordPrefix } from './record-header.ts';
import type { Redis, RedisConnection } from './redis.ts';
import { type RedisScript, redisScripts, runScript, type ScriptResult, strayReply } from './redis-scripts.ts';
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
  type StoreChange,
  type StoreChanges,
  type StoredRecord,
} from './store.ts';

/** Options of {@link createRedisStore}. */
export interface RedisStoreOptions {
  /** The connection to use; the store closes it. */
  readonly connection: RedisConnection;
  /** Where sessions are written so that a failover does not lose them; the store closes it. Default: as everything else. */
  readonly durable?: DurableConnection;
  /** What every key begins with. Default `cc:`. */
  readonly keyPrefix?: string;
  /** The clock, Unix ms. Default `Date.now`. */
  readonly now?: () => number;
}

/** Sessions in Redis or Valkey: one command or script per verb, one key each, every key with a time to live. */
export function createRedisStore(options: RedisStoreOptions): SessionStore {
  return new RedisStore(options);
}

class RedisStore implements SessionStore {
  readonly #connection: RedisConnection;
  readonly #durable: DurableConnection | undefined;
  readonly #keyPrefix: string;
  readonly #now: () => number;
  readonly changes: StoreChanges;
  #listener: ((change: StoreChange) => void) | undefined;

  constructor({ connection, durable, keyPrefix = 'cc:', now = Date.now }: RedisStoreOptions) {
    this.#connection = connection;
    this.#durable = durable;
    this.#keyPrefix = keyPrefix;
    this.#now = now;
    this.changes = {
      watching: () => connection.tracking,
      listen: (listener) => this.#listen(listener),
    };
  }

  async read(sessionId: string): Promise<ReadResult> {
    const first = await this.#readOnce(sessionId);
    if (first.kind !== 'unreadable' || first.why !== 'foreign') return first;
    // Either replies have come to the wrong commands, or the store holds it so. A stored record must not cost everyone
    // the connection, so it is given up only where it proves to be out of step.
    await this.#connection.whenConnected();
    await this.#connection.run(this.#key('s', sessionId), giveUpIfOutOfStep);
    await this.#connection.whenConnected();
    return this.#readOnce(sessionId);
  }

  async create(sessionId: string, record: Omit<StoredRecord, 'generation'>): Promise<boolean> {
    const stored = encodeRecord(sessionId, { ...record, generation: 1 });
    const deadlineMs = Math.min(record.idleDeadlineMs, record.absoluteDeadlineMs);
    const set = setOnce(this.#key('s', sessionId), stored, ['PXAT', String(deadlineMs)]);
    return this.#write(sessionId, set, (created) => created);
  }

  async replace(
    sessionId: string,
    expectedGeneration: number,
    record: Omit<StoredRecord, 'generation'>,
  ): Promise<ReplaceResult> {
    const generation = expectedGeneration + 1;
    const key = this.#key('s', sessionId);
    const values = {
      now: this.#now(),
      expected: expectedGeneration,
      record: encodeRecord(sessionId, { ...record, generation }),
    };
    const { result } = await this.#write(
      sessionId,
      (redis) => runScript(redis, redisScripts.replace, { key, values }),
      (answer) => answer.result === 'replaced',
    );
    return result === 'replaced' ? { kind: result, generation } : { kind: result };
  }

  async extend(sessionId: string, idleDeadlineMs: number, minimumGainMs: number): Promise<ExtendResult> {
    const { result, value } = await this.#run(redisScripts.extend, this.#key('s', sessionId), {
      now: this.#now(),
      prefix: recordPrefix(sessionId),
      idle: idleDeadlineMs,
      minimum: minimumGainMs,
    });
    return result === 'gone' ? { kind: result } : { kind: result, idleDeadlineMs: Number(value) };
  }

  async destroy(sessionId: string): Promise<boolean> {
    const key = this.#key('s', sessionId);
    const remove = async (redis: Redis): Promise<boolean> => {
      const removed = await redis.send(['DEL', key]);
      if (typeof removed !== 'number') throw strayReply(redis);
      return removed > 0;
    };
    return this.#write(sessionId, remove, (removed) => removed);
  }

  async putOnce(id: string, value: Buffer, ttlMs: number): Promise<boolean> {
    const key = this.#key('o', id);
    const stored = Buffer.concat([oncePrefix(id), value]);
    return this.#connection.run(key, setOnce(key, stored, ['PX', String(ttlMs)]));
  }

  async takeOnce(id: string): Promise<Buffer | undefined> {
    const key = this.#key('o', id);
    return this.#connection.run(key, async (redis) => {
      const stored = await redis.send(['GETDEL', key]);
      if (stored === null) return undefined;
      const prefix = oncePrefix(id);
      if (!Buffer.isBuffer(stored) || !prefix.equals(stored.subarray(0, prefix.length)))
        throw strayReply(redis);
      return stored.subarray(prefix.length);
    });
  }

  async lock(name: string, owner: string, ttlMs: number): Promise<LockResult> {
    const values = { owner, time: ttlMs };
    const { result, value } = await this.#run(redisScripts.lock, this.#key('l', name), values);
    return result === 'taken'
      ? { kind: result, unfinished: Number(value) }
      : { kind: result, forMs: Number(value) };
  }

  async renewLock(name: string, owner: string, { ttlMs, begunForMs = 0 }: LockTerm): Promise<boolean> {
    const values = { owner, time: ttlMs, memory: begunForMs };
    const { result } = await this.#run(redisScripts.renewLock, this.#key('l', name), values);
    return result === 'renewed';
  }

  async unlock(name: string, owner: string, outcome: LockOutcome): Promise<boolean> {
    const { result } = await this.#run(redisScripts.unlock, this.#key('l', name), { owner, outcome });
    return result === 'unlocked';
  }

  async indexAdd(index: string, entry: IndexEntry): Promise<number> {
    const values = { now: this.#now(), end: entry.expiresAtMs, member: entry.member };
    return epochOf((await this.#runDurably(redisScripts.indexAdd, this.#key('i', index), values)).value);
  }

  async indexEpoch(index: string): Promise<number> {
    const values = { now: this.#now() };
    return epochOf((await this.#run(redisScripts.indexEpoch, this.#key('i', index), values)).value);
  }

  async indexClose(index: string): Promise<readonly IndexEntry[]> {
    const values = { now: this.#now(), lifetime: epochLifetimeMs };
    return entriesOf((await this.#runDurably(redisScripts.indexClose, this.#key('i', index), values)).value);
  }

  async indexRemove(index: string, member: string, expiresAtMs?: number): Promise<void> {
    await this.#run(redisScripts.indexRemove, this.#key('i', index), { member, end: expiresAtMs ?? '' });
  }

  async indexList(index: string): Promise<readonly IndexEntry[]> {
    const values = { now: this.#now() };
    return entriesOf((await this.#run(redisScripts.indexList, this.#key('i', index), values)).value);
  }

  async ping(): Promise<void> {
    await this.#connection.run(undefined, async (redis) => {
      if ((await redis.send(['PING'])) !== 'PONG') throw strayReply(redis);
    });
  }

  async close(): Promise<void> {
    await Promise.all([this.#connection.close(), this.#durable?.close()]);
  }

  #listen(listener: (change: StoreChange) => void): void {
    this.#listener = listener;
    const before = `${this.#keyPrefix}s:{`;
    this.#connection.watch({
      onInvalidate(key) {
        if (key === null) listener({ kind: 'cleared' });
        else if (key.startsWith(before))
          listener({ kind: 'changed', sessionId: key.slice(before.length, -1) });
      },
      onLost: () => listener({ kind: 'doubt' }),
    });
  }

  /** What stands before a colon decides about the slot. */
  #key(kind: 's' | 'o' | 'l' | 'i', id: string): string {
    const [tag = '', ...rest] = id.split(':');
    return [`${this.#keyPrefix}${kind}:{${tag}}`, ...rest].join(':');
  }

  #readOnce(sessionId: string): Promise<ReadResult> {
    const key = this.#key('s', sessionId);
    return this.#connection.run(key, async (redis): Promise<ReadResult> => {
      const stored = await redis.send(['GET', key]);
      if (stored === null) return { kind: 'miss' };
      if (!Buffer.isBuffer(stored)) throw strayReply(redis);
      const answer = decodeRecord(sessionId, stored);
      return answer.kind === 'found' && this.#isPast(answer.record) ? { kind: 'miss' } : answer;
    });
  }

  /** One write of a session; where configured, so that it outlives its primary. */
  async #write<Result>(
    sessionId: string,
    write: (redis: Redis) => Promise<Result>,
    written: (result: Result) => boolean,
  ): Promise<Result> {
    const key = this.#key('s', sessionId);
    if (this.#durable === undefined) return this.#connection.run(key, write);
    try {
      return await this.#durable.run(key, write, written);
    } finally {
      // The server tells of it on the other connection, perhaps after this answer.
      this.#listener?.({ kind: 'changed', sessionId });
    }
  }

  #run<Argument extends string, Result extends string>(
    script: RedisScript<Argument, Result>,
    key: string,
    values: Readonly<Record<Argument, RedisArgument | number>>,
  ): Promise<ScriptResult<Result>> {
    return this.#connection.run(key, (redis) => runScript(redis, script, { key, values }));
  }

  /** The same, where configured, so that what it writes outlives its primary. */
  #runDurably<Argument extends string, Result extends string>(
    script: RedisScript<Argument, Result>,
    key: string,
    values: Readonly<Record<Argument, RedisArgument | number>>,
  ): Promise<ScriptResult<Result>> {
    if (this.#durable === undefined) return this.#run(script, key, values);
    return this.#durable.run(
      key,
      (redis) => runScript(redis, script, { key, values }),
      () => true,
    );
  }

  #isPast(record: StoredRecord): boolean {
    return this.#now() >= Math.min(record.idleDeadlineMs, record.absoluteDeadlineMs);
  }
}

/** The member of an index that stands for its epoch; its end is when that is forgotten. No session id has this form. */
const epochMember = '#epoch';

/** A script's word for the epoch: when it is forgotten, or nothing. */
function epochOf(forgottenAtMs: unknown): number {
  return forgottenAtMs === null ? 0 : Number(forgottenAtMs) - epochLifetimeMs;
}

/** Members and ends, as a script lists them. */
function entriesOf(value: unknown): IndexEntry[] {
  const flat = Array.isArray(value) ? value.map(String) : [];
  return Array.from({ length: flat.length / 2 }, (_, at) => ({
    member: flat[2 * at] ?? '',
    expiresAtMs: Number(flat[2 * at + 1]),
  })).filter(({ member }) => member !== epochMember);
}

/** Writes where nothing is yet. */
function setOnce(
  key: string,
  value: Buffer,
  expiry: readonly RedisArgument[],
): (redis: Redis) => Promise<boolean> {
  return async (redis) => {
    const reply = await redis.send(['SET', key, value, 'NX', ...expiry]);
    if (reply !== 'OK' && reply !== null) throw strayReply(redis);
    return reply === 'OK';
  };
}

async function giveUpIfOutOfStep(redis: Redis): Promise<void> {
  const question = randomUUID();
  if (String(await redis.send(['ECHO', question])) !== question) redis.discard();
}
