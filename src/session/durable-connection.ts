import { CoatcheckError } from '../errors.ts';
import { type Redis, type RedisConnection, replyCode } from './redis.ts';

/** Options of {@link DurableConnection}. */
export interface DurableConnectionOptions {
  /** A connection for nothing else: everything sent behind a `WAIT` waits with it. */
  readonly connection: RedisConnection;
  /** How many replicas must have each write. Default: all that there are or were a moment ago. */
  readonly acknowledgedBy?: number;
  /** Longest wait for them, in ms; less than the deadline of the connection. */
  readonly timeoutMs: number;
  /** Told once where the server refuses to say what replicas have. With `acknowledgedBy` that is a fault instead. */
  readonly onRefused?: () => void;
  /** A clock in ms that only moves forward. Default `performance.now`. */
  readonly now?: () => number;
}

/** Replicas are counted again after this long without sign of one. */
const countIntervalMs = 5000;
/**
 * A primary that has lost a replica may be one that has been replaced by it and does not know yet, so for this long all its replicas
 * stay needed: those that are left follow the new one soon, and forget what only they were given. A replica that has been
 * silent for so long is none any more (the server's own measure too).
 */
const graceMs = 10_000;

/** What one connection has told of the replicas behind it. Times are in ms. */
interface Replicas {
  countedAtMs: number;
  /** The most there were of late. */
  most: number;
  mostAtMs: number;
  refused: boolean;
}

/** Writes that a failover does not lose: they count only once replicas have them. */
export class DurableConnection {
  readonly #options: DurableConnectionOptions;
  readonly #now: () => number;
  readonly #replicas = new WeakMap<Redis, Replicas>();
  #told = false;

  constructor(options: DurableConnectionOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
  }

  /** Connects, like the connection beneath. */
  start(): Promise<void> {
    return this.#options.connection.start();
  }

  close(): Promise<void> {
    return this.#options.connection.close();
  }

  /**
   * Lends the connection to `write`; where its result says that something was `written`, waits for the replicas. Throws
   * `store_unavailable` where they have not told in time: the write may last, but nobody may rely on it.
   */
  run<Result>(
    key: string,
    write: (redis: Redis) => Promise<Result>,
    written: (result: Result) => boolean,
  ): Promise<Result> {
    return this.#options.connection.run(key, async (redis) => {
      const result = await write(redis);
      if (written(result)) await this.#acknowledge(redis);
      return result;
    });
  }

  async #acknowledge(redis: Redis): Promise<void> {
    const { timeoutMs } = this.#options;
    const needed = this.#options.acknowledgedBy ?? (await this.#neededBehind(redis));
    if (needed === 0) return;
    const had = await this.#ask(redis, ['WAIT', String(needed), String(timeoutMs)]);
    if (had === undefined) return;
    if (!(Number(had) >= needed)) {
      const detail = `Redis: ${had} of ${needed} replicas had a write within ${timeoutMs} ms`;
      throw new CoatcheckError('store_unavailable', { detail });
    }
    this.#count(redis, Number(had));
  }

  async #neededBehind(redis: Redis): Promise<number> {
    const replicas = this.#behind(redis);
    if (this.#now() - replicas.countedAtMs >= countIntervalMs) {
      const told = await this.#ask(redis, ['INFO', 'replication']);
      this.#count(redis, countReplicas(String(told)));
    }
    return replicas.refused ? 0 : replicas.most;
  }

  #count(redis: Redis, count: number): void {
    const replicas = this.#behind(redis);
    const nowMs = this.#now();
    replicas.countedAtMs = nowMs;
    if (count < replicas.most && nowMs - replicas.mostAtMs < graceMs) return;
    replicas.most = count;
    replicas.mostAtMs = nowMs;
  }

  /** The reply; undefined where the server refuses and nobody has insisted. */
  async #ask(redis: Redis, command: readonly string[]): Promise<unknown> {
    try {
      return await redis.send(command);
    } catch (fault) {
      if (replyCode(fault) === undefined || this.#options.acknowledgedBy !== undefined) throw fault;
      this.#behind(redis).refused = true;
      if (!this.#told) this.#options.onRefused?.();
      this.#told = true;
      return undefined;
    }
  }

  #behind(redis: Redis): Replicas {
    const known = this.#replicas.get(redis);
    if (known !== undefined) return known;
    const never = Number.NEGATIVE_INFINITY;
    const replicas = { countedAtMs: never, most: 0, mostAtMs: never, refused: false };
    this.#replicas.set(redis, replicas);
    return replicas;
  }
}

/**
 * How many replicas `INFO replication` tells of that can acknowledge: heard lately, and more than once, for one that has
 * just come counts as online while it still loads.
 */
function countReplicas(told: string): number {
  return [...told.matchAll(/^slave\d+:.*\bstate=online,offset=[1-9]\d*,lag=(\d+)/gm)].filter(
    ([, lagSeconds]) => Number(lagSeconds) * 1000 < graceMs,
  ).length;
}
