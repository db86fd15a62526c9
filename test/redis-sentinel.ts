/** A real primary with replicas and sentinels for tests. */
import { ask, type RedisServer, startRedisServer, until } from './redis-server.ts';

/** A running set. */
export interface RedisSentinels {
  /** The name by which the sentinels know the primary. */
  readonly name: string;
  /** Each `host:port`. */
  readonly nodes: readonly string[];
  readonly sentinels: readonly RedisServer[];
  /** Primary and replicas; which is which may change. */
  readonly servers: readonly RedisServer[];
  /** The server that the sentinels name now. */
  primary(): Promise<RedisServer>;
  /** Waits until the primary has its replicas, and every sentinel knows of all. */
  untilWhole(): Promise<void>;
  stop(): Promise<void>;
}

/** Options of {@link startRedisSentinels}. */
export interface RedisSentinelsOptions {
  /** What the sentinels themselves ask for. Default: none. */
  readonly password?: string;
  /** Default 1. */
  readonly replicas?: number;
}

const name = 'sessions';

/** Starts one primary, its replicas and three sentinels; a failover takes a second or two. */
export async function startRedisSentinels(options: RedisSentinelsOptions = {}): Promise<RedisSentinels> {
  const { password, replicas = 1 } = options;
  const args = ['--repl-diskless-sync-delay', '0'];
  const first = await startRedisServer({ args });
  const others = await Promise.all(
    Array.from({ length: replicas }, () =>
      startRedisServer({ args: [...args, '--replicaof', `127.0.0.1 ${first.port}`] }),
    ),
  );
  const servers = [first, ...others];
  const config = [
    `sentinel monitor ${name} 127.0.0.1 ${first.port} 2`,
    `sentinel down-after-milliseconds ${name} 500`,
    `sentinel failover-timeout ${name} 3000`,
    // Sentinels of one set share their password.
    ...(password === undefined ? [] : [`requirepass ${password}`, `sentinel sentinel-pass ${password}`]),
  ].join('\n');
  const sentinels = await Promise.all(
    Array.from({ length: 3 }, () => startRedisServer({ config, args: ['--sentinel'] })),
  );
  const urlOf = (sentinel: RedisServer): { readonly url: string } => ({
    url: password === undefined ? sentinel.url : sentinel.url.replace('//', `//:${password}@`),
  });
  const primary = async (): Promise<RedisServer> => {
    const live = sentinels.find(isLive);
    if (live === undefined) throw new Error('No sentinel lives');
    const reply = (await ask(urlOf(live), 'SENTINEL', 'GET-MASTER-ADDR-BY-NAME', name)) as [string, string];
    const found = servers.find(({ port }) => port === Number(reply[1]));
    if (found === undefined) throw new Error('The sentinels name a server that is not ours');
    return found;
  };
  const untilWhole = (): Promise<void> =>
    until('primary, replicas and sentinels know each other', async () => {
      const [, , attached] = (await ask(await primary(), 'ROLE')) as [string, number, unknown[]];
      const views = await Promise.all(
        sentinels.map(async (sentinel) => {
          const view = (await ask(urlOf(sentinel), 'SENTINEL', 'MASTER', name)) as
            | Record<string, string>
            | string[];
          const known = new Map(Array.isArray(view) ? pairs(view) : Object.entries(view));
          return (
            known.get('num-slaves') === String(replicas) &&
            known.get('num-other-sentinels') === '2' &&
            known.get('flags') === 'master'
          );
        }),
      );
      return attached.length === replicas && views.every(Boolean);
    });
  await untilWhole();
  return {
    name,
    nodes: sentinels.map(({ port }) => `127.0.0.1:${port}`),
    sentinels,
    servers,
    primary,
    untilWhole,
    async stop() {
      await Promise.all([...sentinels, ...servers].map((server) => server.stop()));
    },
  };
}

function isLive({ process }: RedisServer): boolean {
  return process.exitCode === null && process.signalCode === null;
}

function pairs(flat: readonly string[]): [string, string][] {
  return Array.from({ length: flat.length / 2 }, (_, at) => [flat[2 * at] ?? '', flat[2 * at + 1] ?? '']);
}
