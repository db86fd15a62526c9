/** A real Redis Cluster for tests: three primaries, each with a replica. */
import { freePort } from '../demo/free-ports.ts';
import { ask, type RedisServer, startRedisServer, until } from './redis-server.ts';

/** A running cluster. */
export interface RedisCluster {
  /** Of the first primary; any node leads to the others. */
  readonly url: string;
  readonly servers: readonly RedisServer[];
  /** The server that owns a slot now. */
  ownerOf(slot: number): Promise<RedisServer>;
  /** Its id in the cluster. */
  idOf(server: RedisServer): Promise<string>;
  /** Waits until all who live agree that all slots are served and every primary has its replica. */
  untilWhole(): Promise<void>;
  stop(): Promise<void>;
}

const primaries = 3;
const slots = 16_384;

/** Options of {@link startRedisCluster}. */
export interface RedisClusterOptions {
  /** Further arguments for each node; the first three are the primaries. Default: none. */
  readonly args?: (index: number) => readonly string[];
}

/** Starts one. `cluster-node-timeout` is a second, so a failover takes two or three. */
export async function startRedisCluster(options: RedisClusterOptions = {}): Promise<RedisCluster> {
  const { args = () => [] } = options;
  const servers = await Promise.all(
    Array.from({ length: 2 * primaries }, (_, index) => startNode(args(index))),
  );
  const byPort = (port: number): RedisServer => {
    const server = servers.find((each) => each.port === port);
    if (server === undefined) throw new Error(`No server on port ${port}`);
    return server;
  };
  const idOf = async (server: RedisServer): Promise<string> => String(await ask(server, 'CLUSTER', 'MYID'));
  const untilWhole = (): Promise<void> =>
    until('the cluster is whole', async () => {
      const live = servers.filter(isLive);
      const views = await Promise.all(live.map((server) => viewOf(server)));
      return views.every((view) => view.ok && view.primaries === primaries && view.replicas === primaries);
    });
  const [first, ...others] = servers;
  if (first === undefined) throw new Error('No server');
  for (const other of others) {
    const [bus, tls] = [await setting(other, 'cluster-port'), await setting(other, 'tls-port')];
    await ask(first, 'CLUSTER', 'MEET', '127.0.0.1', tls === '0' ? String(other.port) : tls, bus);
  }
  await until('all know all', async () => {
    const known = await Promise.all(
      servers.map(async (server) => String(await ask(server, 'CLUSTER', 'INFO'))),
    );
    return known.every((info) => info.includes(`cluster_known_nodes:${servers.length}`));
  });
  for (const [index, server] of servers.entries()) {
    const [from, to] = [index, index + 1].map((part) => Math.floor((part * slots) / primaries));
    if (index < primaries)
      await ask(server, 'CLUSTER', 'ADDSLOTSRANGE', String(from), String(Number(to) - 1));
    else await ask(server, 'CLUSTER', 'REPLICATE', await idOf(servers[index - primaries] ?? first));
  }
  await untilWhole();
  return {
    url: first.url,
    servers,
    idOf,
    untilWhole,
    async ownerOf(slot) {
      const asked = servers.find(isLive) ?? first;
      const ranges = (await ask(asked, 'CLUSTER', 'SLOTS')) as [number, number, [string, number]][];
      const port = ranges.find(([from, to]) => from <= slot && slot <= to)?.[2][1];
      return byPort(port ?? 0);
    },
    async stop() {
      await Promise.all(servers.map((server) => server.stop()));
    },
  };
}

function isLive({ process }: RedisServer): boolean {
  return process.exitCode === null && process.signalCode === null;
}

async function startNode(args: readonly string[]): Promise<RedisServer> {
  // The usual bus port, 10,000 above, need not exist.
  const bus = await freePort();
  return startRedisServer({
    args: [
      ...['--cluster-enabled', 'yes', '--cluster-port', String(bus), '--cluster-node-timeout', '1000'],
      ...['--cluster-replica-validity-factor', '0', '--repl-diskless-sync-delay', '0'],
      ...args,
    ],
  });
}

async function setting(server: RedisServer, name: string): Promise<string> {
  const reply = await ask(server, 'CONFIG', 'GET', name);
  return Object.values(reply as Record<string, string>)[0] ?? '0';
}

async function viewOf(server: RedisServer): Promise<{ ok: boolean; primaries: number; replicas: number }> {
  const info = String(await ask(server, 'CLUSTER', 'INFO'));
  const lines = String(await ask(server, 'CLUSTER', 'NODES'))
    .trim()
    .split('\n');
  const live = lines.filter(
    (line) => !/fail|handshake/.test(line.split(' ')[2] ?? '') && line.includes(' connected'),
  );
  const replicas = lines.filter(
    (line) => /slave/.test(line.split(' ')[2] ?? '') && live.includes(line),
  ).length;
  const serving = live.filter(
    (line) => /master/.test(line.split(' ')[2] ?? '') && line.split(' ').length > 8,
  ).length;
  return { ok: info.includes('cluster_state:ok'), primaries: serving, replicas };
}
