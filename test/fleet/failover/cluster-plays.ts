/** Three primaries with a replica each. */
import { setTimeout as delay } from 'node:timers/promises';
import { slotOf } from '../../../src/session/slot-map.ts';
import { type RedisCluster, startRedisCluster } from '../../redis-cluster.ts';
import { ask, type RedisServer, until } from '../../redis-server.ts';
import { askBarely, type BareAddress, missingAt, probeBarely } from './bare-client.ts';
import type { Play, Scenario } from './play.ts';

/** What happens to a cluster, of which `victim` is a primary; gives back how to mend it. */
type Mishap = (cluster: RedisCluster, victim: RedisServer) => Promise<() => Promise<void>>;

interface ClusterMishap {
  readonly mishap: Mishap;
  /** How many replicas each primary must have to serve writes that last: where an operator sees to it that it has. Default 0. */
  readonly replicas?: number;
}

const slots = 16_384;
/** A key in the middle of each third of the slots. */
const keys = [0, 1, 2].map((third) => {
  for (let number = 0; ; number += 1) {
    const key = `cc:probe:{${number}}`;
    if (Math.floor((3 * slotOf(key)) / slots) === third) return key;
  }
});

type SlotRange = readonly [number, number, readonly [string, number]];

async function start({ mishap, replicas = 0 }: ClusterMishap): Promise<Play> {
  const cluster = await startRedisCluster();
  let mend = async (): Promise<void> => undefined;
  let runs = 0;
  return {
    store: { url: cluster.url, cluster: true },
    async probe() {
      const map = await askMap(cluster);
      await Promise.all(keys.map((key) => probeBarely(ownerIn(map, key), { key, replicas })));
    },
    async missing(sessionIds) {
      const map = await askMap(cluster);
      const portOf = (sessionId: string): number => ownerIn(map, `cc:s:{${sessionId}}`).port;
      const ports = [...new Set(sessionIds.map(portOf))];
      const missing = ports.map((port) =>
        missingAt(
          { port },
          sessionIds.filter((sessionId) => portOf(sessionId) === port),
        ),
      );
      return (await Promise.all(missing)).flat();
    },
    async strike() {
      runs += 1;
      const victim = await cluster.ownerOf(slotOf(keys[runs % keys.length] ?? ''));
      mend = await mishap(cluster, victim);
    },
    async mend() {
      await mend();
      await cluster.untilWhole();
    },
    stop: () => cluster.stop(),
  };
}

/** The map of one of the nodes that live. */
async function askMap(cluster: RedisCluster): Promise<readonly SlotRange[]> {
  const live = cluster.servers.filter(
    ({ process }) => process.exitCode === null && process.signalCode === null,
  );
  const asked = live[Math.floor(Math.random() * live.length)];
  if (asked === undefined) throw new Error('no node lives');
  const [reply] = await askBarely(asked, ['CLUSTER', 'SLOTS']);
  return reply as readonly SlotRange[];
}

function ownerIn(map: readonly SlotRange[], key: string): BareAddress {
  const slot = slotOf(key);
  const port = map.find(([from, to]) => from <= slot && slot <= to)?.[2][1];
  if (port === undefined) throw new Error(`nobody serves slot ${slot}`);
  return { port };
}

const kill: Mishap = async (_cluster, victim) => {
  await victim.kill('SIGKILL');
  return () => victim.restart();
};

const stop: Mishap = async (_cluster, victim) => {
  await victim.kill('SIGSTOP');
  return () => victim.kill('SIGCONT');
};

async function isReplica(server: RedisServer): Promise<boolean> {
  const role = (await ask(server, 'ROLE')) as readonly unknown[];
  return role[0] === 'slave' && role[3] === 'connected';
}

const roll: Mishap = async (cluster) => {
  const rest = async (): Promise<void> => {
    // At leisure: asking them all is work for the machine that is being measured.
    await delay(1000);
    await cluster.untilWhole();
  };
  for (const server of cluster.servers) {
    if (!(await isReplica(server))) {
      const id = await cluster.idOf(server);
      const nodes = String(await ask(server, 'CLUSTER', 'NODES')).split('\n');
      const port = Number(/:(\d+)@/.exec(nodes.find((line) => line.includes(`slave ${id}`)) ?? '')?.[1]);
      const replica = cluster.servers.find((each) => each.port === port);
      if (replica === undefined) throw new Error('a primary has no replica');
      await ask(replica, 'CLUSTER', 'FAILOVER');
      await until('the replica has taken over', () => isReplica(server));
      await rest();
    }
    await server.kill('SIGTERM');
    await server.restart();
    await until('it is back as a replica', () => isReplica(server));
    await rest();
  }
  return async () => undefined;
};

/** Every one of them. */
export const clusterScenarios: readonly Scenario[] = [
  {
    name: 'cluster-kill',
    topology: 'Cluster',
    what: 'SIGKILL of one of the three primaries',
    start: () => start({ mishap: kill }),
  },
  {
    name: 'cluster-stop',
    topology: 'Cluster',
    what: 'SIGSTOP of one of the three primaries: silent, every socket stays open',
    start: () => start({ mishap: stop }),
  },
  {
    name: 'cluster-rolling',
    topology: 'Cluster',
    what: 'Rolling restart of all six nodes, primaries after a planned failover',
    start: () => start({ mishap: roll, replicas: 1 }),
  },
];
