/** A primary, two replicas, three sentinels. */
import { setTimeout as delay } from 'node:timers/promises';
import { type RedisSentinels, startRedisSentinels } from '../../redis-sentinel.ts';
import { ask, type RedisServer, until } from '../../redis-server.ts';
import { askBarely, type BareAddress, missingAt, probeBarely } from './bare-client.ts';
import type { Play, Scenario } from './play.ts';

/** What happens to a set; gives back how to mend it. */
type Mishap = (set: RedisSentinels) => Promise<() => Promise<void>>;

interface SentinelMishap {
  readonly mishap: Mishap;
  /** How many replicas each primary must have to serve writes that last: where an operator sees to it that it has. Default 0. */
  readonly replicas?: number;
}

async function start({ mishap, replicas = 0 }: SentinelMishap): Promise<Play> {
  const set = await startRedisSentinels({ replicas: 2 });
  const key = 'cc:probe';
  let mend = async (): Promise<void> => undefined;
  return {
    store: { url: 'redis://localhost', sentinel: { name: set.name, nodes: set.nodes } },
    probe: async () => probeBarely(await namedPrimary(set), { key, replicas }),
    missing: async (sessionIds) => missingAt(await namedPrimary(set), sessionIds),
    async strike() {
      mend = await mishap(set);
    },
    async mend() {
      await mend();
      await set.untilWhole();
    },
    stop: () => set.stop(),
  };
}

/** The primary that the first sentinel to answer names. */
async function namedPrimary(set: RedisSentinels): Promise<BareAddress> {
  const question = ['SENTINEL', 'GET-MASTER-ADDR-BY-NAME', set.name];
  const live = set.sentinels.filter(
    ({ process }) => process.exitCode === null && process.signalCode === null,
  );
  const [reply] = await Promise.any(live.map((sentinel) => askBarely(sentinel, question)));
  return { port: Number((reply as [string, string])[1]) };
}

/** A server that comes back on its own is taken for a primary for some seconds; an operator tells it better. */
async function returnHome(set: RedisSentinels, server: RedisServer): Promise<void> {
  await server.restart();
  const primary = await set.primary();
  if (primary !== server) await ask(server, 'REPLICAOF', '127.0.0.1', String(primary.port));
}

const kill: Mishap = async (set) => {
  const victim = await set.primary();
  await victim.kill('SIGKILL');
  return () => returnHome(set, victim);
};

const stop: Mishap = async (set) => {
  const victim = await set.primary();
  await victim.kill('SIGSTOP');
  return async () => {
    await victim.kill('SIGCONT');
    const { port } = await set.primary();
    await ask(victim, 'REPLICAOF', '127.0.0.1', String(port));
  };
};

const roll: Mishap = async (set) => {
  const rest = async (): Promise<void> => {
    // At leisure: asking them all is work for the machine that is being measured.
    await delay(1000);
    await set.untilWhole();
  };
  const restart = async (server: RedisServer): Promise<void> => {
    await server.kill('SIGTERM');
    await returnHome(set, server);
    await rest();
  };
  const former = await set.primary();
  for (const server of set.servers) if (server !== former) await restart(server);
  const [sentinel] = set.sentinels;
  if (sentinel === undefined) throw new Error('no sentinel');
  await ask(sentinel, 'SENTINEL', 'FAILOVER', set.name);
  await until('another is the primary', async () => (await set.primary()) !== former);
  await rest();
  await restart(former);
  for (const each of set.sentinels) {
    await each.kill('SIGTERM');
    await each.restart();
    await rest();
  }
  return async () => undefined;
};

/** Every one of them. */
export const sentinelScenarios: readonly Scenario[] = [
  {
    name: 'sentinel-kill',
    topology: 'Sentinel',
    what: 'SIGKILL of the primary',
    start: () => start({ mishap: kill }),
  },
  {
    name: 'sentinel-stop',
    topology: 'Sentinel',
    what: 'SIGSTOP of the primary: silent, every socket stays open',
    start: () => start({ mishap: stop }),
  },
  {
    name: 'sentinel-rolling',
    topology: 'Sentinel',
    what: 'Rolling restart: replicas, a planned failover, the former primary, the sentinels',
    start: () => start({ mishap: roll, replicas: 2 }),
  },
];
