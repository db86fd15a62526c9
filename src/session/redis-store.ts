import { randomUUID } from 'node:crypto';
import type { RedisArgument } from '@redis/client';
import { decodeRecord, encodeRecord, oncePrefix, recordPrefix } from './record-header.ts';
import type { Redis, RedisConnection } from './redis.ts';
import { type RedisScript, redisScripts, runScript, type ScriptResult, strayReply } from './redis-scripts.ts';
import type {
  ExtendResult,
  IndexEntry,
  ReadResult,
  ReplaceResult,
  SessionStore,
  StoreChange,
  StoreChanges,
  StoredRecord,
} from './store.ts';

/** Options of {@link createRedisStore}. */
export interface RedisStoreOptions {
  /** The connection to use; the store closes it. */
  readonly connection: RedisConnection;
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
  readonly #keyPrefix: string;
  readonly #now: () => number;
  readonly changes: StoreChanges;

  constructor({ connection, keyPrefix = 'cc:', now = Date.now }: RedisStoreOptions) {
    this.#connection = connection;
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
    return this.#set(this.#key('s', sessionId), stored, ['PXAT', String(deadlineMs)]);
  }

  async replace(
    sessionId: string,
    expectedGeneration: number,
    record: Omit<StoredRecord, 'generation'>,
  ): Promise<ReplaceResult> {
    const generation = expectedGeneration + 1;
    const { result } = await this.#run(redisScripts.replace, this.#key('s', sessionId), {
      now: this.#now(),
      expected: expectedGeneration,
      record: encodeRecord(sessionId, { ...record, generation }),
    });
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
    return this.#connection.run(key, async (redis) => {
      const removed = await redis.send(['DEL', key]);
      if (typeof removed !== 'number') throw strayReply(redis);
      return removed > 0;
    });
  }

  async putOnce(id: string, value: Buffer, ttlMs: number): Promise<boolean> {
    return this.#set(this.#key('o', id), Buffer.concat([oncePrefix(id), value]), ['PX', String(ttlMs)]);
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

  async lock(name: string, owner: string, ttlMs: number): Promise<boolean> {
    const { result } = await this.#run(redisScripts.lock, this.#key('l', name), { owner, time: ttlMs });
    return result === 'locked';
  }

  async renewLock(name: string, owner: string, ttlMs: number): Promise<boolean> {
    const { result } = await this.#run(redisScripts.renewLock, this.#key('l', name), { owner, time: ttlMs });
    return result === 'renewed';
  }

  async unlock(name: string, owner: string): Promise<boolean> {
    const { result } = await this.#run(redisScripts.unlock, this.#key('l', name), { owner });
    return result === 'unlocked';
  }

  async indexAdd(index: string, entry: IndexEntry): Promise<void> {
    await this.#run(redisScripts.indexAdd, this.#key('i', index), {
      now: this.#now(),
      end: entry.expiresAtMs,
      member: entry.member,
    });
  }

  async indexRemove(index: string, member: string): Promise<void> {
    await this.#run(redisScripts.indexRemove, this.#key('i', index), { member });
  }

  async indexList(index: string): Promise<readonly IndexEntry[]> {
    const { value } = await this.#run(redisScripts.indexList, this.#key('i', index), { now: this.#now() });
    const flat = Array.isArray(value) ? value.map(String) : [];
    return Array.from({ length: flat.length / 2 }, (_, at) => ({
      member: flat[2 * at] ?? '',
      expiresAtMs: Number(flat[2 * at + 1]),
    }));
  }

  async ping(): Promise<void> {
    await this.#connection.run(undefined, async (redis) => {
      if ((await redis.send(['PING'])) !== 'PONG') throw strayReply(redis);
    });
  }

  close(): Promise<void> {
    return this.#connection.close();
  }

  #listen(listener: (change: StoreChange) => void): void {
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

  #key(kind: 's' | 'o' | 'l' | 'i', id: string): string {
    return `${this.#keyPrefix}${kind}:{${id}}`;
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

  /** Writes where nothing is yet. */
  #set(key: string, value: Buffer, expiry: readonly RedisArgument[]): Promise<boolean> {
    return this.#connection.run(key, async (redis: Redis) => {
      const reply = await redis.send(['SET', key, value, 'NX', ...expiry]);
      if (reply !== 'OK' && reply !== null) throw strayReply(redis);
      return reply === 'OK';
    });
  }

  #run<Argument extends string, Result extends string>(
    script: RedisScript<Argument, Result>,
    key: string,
    values: Readonly<Record<Argument, RedisArgument | number>>,
  ): Promise<ScriptResult<Result>> {
    return this.#connection.run(key, (redis) => runScript(redis, script, { key, values }));
  }

  #isPast(record: StoredRecord): boolean {
    return this.#now() >= Math.min(record.idleDeadlineMs, record.absoluteDeadlineMs);
  }
}

async function giveUpIfOutOfStep(redis: Redis): Promise<void> {
  const question = randomUUID();
  if (String(await redis.send(['ECHO', question])) !== question) redis.discard();
}
