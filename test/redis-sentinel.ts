/** A real primary with replicas and sentinels for tests. */
import { freePort } from '../demo/free-ports.ts';
import type { Certificate } from './certificates.ts';
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
  /** By which all, sentinels too, speak TLS with each other, on one more port each. Default: plain text. */
  readonly tls?: Certificate & { readonly caFile: string };
  /** Further arguments for primary and replicas. */
  readonly args?: readonly string[];
}

const name = 'sessions';

/** Arguments for TLS on one more port. */
async function tlsArgs(
  tls: RedisSentinelsOptions['tls'],
): Promise<{ port: number | undefined; args: string[] }> {
  if (tls === undefined) return { port: undefined, args: [] };
  const port = await freePort();
  const files = ['--tls-cert-file', tls.certFile, '--tls-key-file', tls.keyFile];
  const authority = ['--tls-ca-cert-file', tls.caFile, '--tls-auth-clients', 'no'];
  const names = ['--tls-replication', 'yes', '--replica-announce-ip', 'localhost'];
  return { port, args: ['--tls-port', String(port), ...files, ...authority, ...names] };
}

/** Starts one primary, its replicas and three sentinels; a failover takes a second or two. */
export async function startRedisSentinels(options: RedisSentinelsOptions = {}): Promise<RedisSentinels> {
  const { password, replicas = 1, tls } = options;
  const host = tls === undefined ? '127.0.0.1' : 'localhost';
  const args = ['--repl-diskless-sync-delay', '0', ...(options.args ?? [])];
  const ports = new Map<number, RedisServer>();
  const start = async (...more: string[]): Promise<number> => {
    const { port, args: tlsPart } = await tlsArgs(tls);
    const server = await startRedisServer({ args: [...args, ...tlsPart, ...more] });
    ports.set(port ?? server.port, server);
    return port ?? server.port;
  };
  const firstPort = await start();
  for (let replica = 0; replica < replicas; replica += 1) await start('--replicaof', `${host} ${firstPort}`);
  const servers = [...ports.values()];
  const config = [
    ...(tls === undefined ? [] : ['sentinel resolve-hostnames yes', 'sentinel announce-hostnames yes']),
    `sentinel monitor ${name} ${host} ${firstPort} 2`,
    `sentinel down-after-milliseconds ${name} 500`,
    `sentinel failover-timeout ${name} 3000`,
    // Sentinels of one set share their password.
    ...(password === undefined ? [] : [`requirepass ${password}`, `sentinel sentinel-pass ${password}`]),
  ].join('\n');
  const listeners: { readonly sentinel: RedisServer; readonly port: number }[] = await Promise.all(
    Array.from({ length: 3 }, async () => {
      const { port, args: tlsPart } = await tlsArgs(tls);
      const sentinel = await startRedisServer({ config, args: [...tlsPart, '--sentinel'] });
      return { sentinel, port: port ?? sentinel.port };
    }),
  );
  const sentinels = listeners.map(({ sentinel }) => sentinel);
  const urlOf = (sentinel: RedisServer): { readonly url: string } => ({
    url: password === undefined ? sentinel.url : sentinel.url.replace('//', `//:${password}@`),
  });
  const primary = async (): Promise<RedisServer> => {
    const live = sentinels.find(isLive);
    if (live === undefined) throw new Error('No sentinel lives');
    const reply = (await ask(urlOf(live), 'SENTINEL', 'GET-MASTER-ADDR-BY-NAME', name)) as [string, string];
    const found = ports.get(Number(reply[1]));
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
    nodes: listeners.map(({ port }) => `${host}:${port}`),
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
