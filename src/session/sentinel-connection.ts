import { CoatcheckError } from '../errors.ts';
import { NodeConnection } from './node-connection.ts';
import type { NodeConnectionOptions } from './node-connection-options.ts';
import type { KeyWatch, Redis, RedisConnection } from './redis.ts';
import { siblingAddress } from './redis-address.ts';
import type { RedisTarget } from './redis-client.ts';

/** Sentinels that know where the primary is. */
export interface SentinelOptions {
  /** The name by which the sentinels know the primary. */
  readonly name: string;
  /** The sentinels, each `host:port`. At least one. */
  readonly nodes: readonly string[];
  /** Of the sentinels themselves. */
  readonly password?: string;
}

/** Options of {@link SentinelConnection}: what is said of the node holds for whichever is the primary. */
export interface SentinelConnectionOptions
  extends Pick<NodeConnectionOptions, 'onStateChange' | 'onTracking' | 'renewal'> {
  readonly sentinel: SentinelOptions;
  /** How to come in; its host is replaced. */
  readonly target: () => Promise<RedisTarget>;
  readonly deadlineMs: number;
}

/** A sentinel that takes longer than this is passed over. */
const answerTimeoutMs = 500;
/** How often they are asked whether it is still the one: a primary demoted in peace takes writes for seconds, and loses them. */
const reviewIntervalMs = 1000;

/** The connection to the primary that most sentinels name, and which does not say itself that it is a replica. */
export class SentinelConnection implements RedisConnection {
  readonly #options: SentinelConnectionOptions;
  readonly #sentinels: readonly NodeConnection[];
  readonly #primary: NodeConnection;
  #named: string | undefined;
  #reviewing: NodeJS.Timeout | undefined;

  constructor(options: SentinelConnectionOptions) {
    this.#options = options;
    const { sentinel, target, deadlineMs, onStateChange, onTracking, renewal } = options;
    this.#sentinels = sentinel.nodes.map((node) => sentinelConnection(node, options));
    this.#primary = new NodeConnection({
      name: `${sentinel.name} (named by sentinels)`,
      target: async () => {
        this.#named = await this.#askAll();
        const { host, port } = readNode(this.#named);
        const how = await target();
        return { ...how, ...siblingAddress(how, host, port) };
      },
      deadlineMs,
      primaryOnly: true,
      ...(onStateChange && { onStateChange }),
      ...(onTracking && { onTracking }),
      ...(renewal && { renewal }),
    });
  }

  get connected(): boolean {
    return this.#primary.connected;
  }

  get tracking(): boolean {
    return this.#primary.tracking;
  }

  watch(watch: KeyWatch): void {
    this.#primary.watch(watch);
  }

  start(): Promise<void> {
    for (const sentinel of this.#sentinels) void sentinel.start();
    this.#reviewing = setInterval(() => void this.#review(), reviewIntervalMs).unref();
    return this.#primary.start();
  }

  whenConnected(): Promise<void> {
    return this.#primary.whenConnected();
  }

  run<Result>(key: string | undefined, use: (redis: Redis) => Promise<Result>): Promise<Result> {
    return this.#primary.run(key, use);
  }

  async close(): Promise<void> {
    clearInterval(this.#reviewing);
    await this.#primary.close();
    await Promise.all(this.#sentinels.map((sentinel) => sentinel.close()));
  }

  async #review(): Promise<void> {
    // While none answers, the primary that is connected is the best there is.
    const named = await this.#askAll().catch((fault: unknown) => {
      if (!CoatcheckError.is(fault) || fault.code !== 'store_unavailable') throw fault;
      return this.#named;
    });
    if (named !== this.#named) this.#primary.reconnect();
  }

  /** The primary, `host:port`, that most of those who answer name. */
  async #askAll(): Promise<string> {
    const { name } = this.#options.sentinel;
    const unknown = (cause?: unknown): CoatcheckError =>
      new CoatcheckError('store_unavailable', {
        detail: `Redis: no sentinel knows the primary ${name}`,
        cause,
      });
    if (!this.#sentinels.some(({ connected }) => connected))
      await Promise.any(this.#sentinels.map((sentinel) => sentinel.whenConnected())).catch(
        (error: unknown) => {
          throw unknown(error instanceof AggregateError ? error.errors[0] : error);
        },
      );
    const answers = await Promise.allSettled(
      this.#sentinels.map((sentinel) => sentinel.run(undefined, (redis) => askPrimary(redis, name))),
    );
    const votes = new Map<string, number>();
    for (const answer of answers) {
      if (answer.status === 'fulfilled' && answer.value !== undefined)
        votes.set(answer.value, (votes.get(answer.value) ?? 0) + 1);
    }
    const [first] = [...votes].sort(([, one], [, other]) => other - one);
    if (first === undefined) throw unknown();
    return first[0];
  }
}

async function askPrimary(redis: Redis, name: string): Promise<string | undefined> {
  const reply = await redis.send(['SENTINEL', 'GET-MASTER-ADDR-BY-NAME', name]);
  return Array.isArray(reply) ? reply.map(String).join(':') : undefined;
}

function sentinelConnection(
  node: string,
  { target, sentinel: { password = '' } }: SentinelConnectionOptions,
): NodeConnection {
  const { host, port } = readNode(node);
  return new NodeConnection({
    name: `${node} (sentinel)`,
    target: async () => {
      const how = await target();
      return { ...how, ...siblingAddress(how, host, port), username: '', password, database: 0 };
    },
    deadlineMs: answerTimeoutMs,
  });
}

/** `host:port`, also of an IPv6 address, in brackets or (as sentinels write it) not. */
function readNode(node: string): { readonly host: string; readonly port: number } {
  const [, host = node, port = '26379'] = /^(.*):(\d+)$/.exec(node) ?? [];
  return { host: host.replace(/^\[(.*)\]$/, '$1'), port: Number(port) };
}
