/**
 * Everything on one machine: simulated providers and systems, a store, several replicas of the gateway, an app behind
 * them and a balancer that never sticks in front. For `npm start`, browser tests and load tests.
 */
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { SimulatorFacts, SimulatorsOptions } from '../sim/simulators.ts';
import { type Balancer, startBalancer } from './balancer.ts';
import { type Child, startChild, typescriptCommand } from './child.ts';
import { type EmbeddedStore, startEmbeddedStore } from './embedded-store.ts';
import { freePorts } from './free-ports.ts';
import { gatewayConfig } from './gateway-config.ts';
import { obituary, ReplicaSet } from './replica-set.ts';
import { type ReplicaState, startWorkbench, type Workbench } from './workbench.ts';

/** How many, and where. */
export interface FleetOptions {
  /** The public port, which must be free. Default: any free one. */
  readonly port?: number | undefined;
  /** Default 3. */
  readonly replicas?: number | undefined;
  /** `redis://…` or `rediss://…`. Default: a private store that ends with the fleet. */
  readonly storeUrl?: string | undefined;
  /** How the simulators issue tokens. Default: theirs. */
  readonly simulators?: Omit<SimulatorsOptions, 'publicUrls'>;
  /** A replica that ended is started again after this long. Default 8,000. */
  readonly restartAfterMs?: number;
  /** Hears, in one line, what people should know. Default: nobody does. */
  readonly report?: (line: string) => void;
}

/** A running fleet. */
export interface Fleet {
  /** Origin for browsers. */
  readonly url: string;
  /** One log file per process: `<name>.log`. Gone when the fleet is closed. */
  readonly directory: string;
  /** Where the store is, and which it is. */
  readonly store: { readonly url: string; readonly kind: string };
  readonly simulators: SimulatorFacts;
  replicas(): ReplicaState[];
  /** SIGKILL by default. False where no replica of that name runs. */
  kill(replica: string, signal?: 'SIGKILL' | 'SIGTERM'): boolean;
  /** Ends every process, by force after 5 s, and removes the directory. */
  close(): Promise<void>;
}

/** What has been started so far, to be closed in reverse. */
type Closers = (() => Promise<unknown>)[];

async function closeAll(closers: Closers): Promise<void> {
  for (let close = closers.pop(); close !== undefined; close = closers.pop()) await close();
}

function startSimulatorProcess(options: SimulatorsOptions, directory: string): Child {
  return startChild({
    name: 'simulators',
    command: typescriptCommand('sim/main.ts', JSON.stringify(options)),
    logFile: join(directory, 'simulators.log'),
    announces: true,
  });
}

/** A private store, or none where there is one already. A wrong address is found here, not at the first sign-in. */
async function startStore(options: FleetOptions, directory: string): Promise<EmbeddedStore | undefined> {
  if (options.storeUrl === undefined) return await startEmbeddedStore({ directory });
  const { hostname, port, host } = new URL(options.storeUrl);
  const socket = connect({
    host: hostname.replace(/^\[|\]$/g, ''),
    port: Number(port || 6379),
    timeout: 5_000,
  });
  socket.once('timeout', () => socket.destroy(new Error('timeout')));
  await once(socket, 'connect').catch((error: unknown) => {
    throw new Error(`nothing answers at the store's address ${host}`, { cause: error });
  });
  socket.destroy();
  return undefined;
}

/** Starts a fleet; resolves when every replica is ready. Nothing is left running when it throws. */
export async function startFleet(options: FleetOptions = {}): Promise<Fleet> {
  const directory = await mkdtemp(join(tmpdir(), 'coatcheck-'));
  const closers: Closers = [];
  try {
    return await startParts(options, directory, closers);
  } catch (error) {
    // The directory stays: its logs tell why.
    await closeAll(closers);
    throw error;
  }
}

async function startParts(options: FleetOptions, directory: string, closers: Closers): Promise<Fleet> {
  const { report = () => {}, restartAfterMs = 8_000 } = options;
  const watch = (child: Child): void => {
    closers.push(() => child.stop());
    void child.ended.then((end) => end.asked || report(obituary(child, end)));
  };
  const [port = 0, ...ports] = await freePorts(1 + 2 * (options.replicas ?? 3));
  const publicPort = options.port ?? port;
  const publicUrl = `http://localhost:${publicPort}`;
  const store = await startStore(options, directory);
  if (store !== undefined) watch(store.child);
  const simulatorsChild = startSimulatorProcess(
    { ...options.simulators, publicUrls: [publicUrl] },
    directory,
  );
  watch(simulatorsChild);
  const simulators = JSON.parse(await simulatorsChild.announcement) as SimulatorFacts;
  const storeUrl = store?.url ?? options.storeUrl ?? '';

  let balancer: Balancer | undefined;
  let set: ReplicaSet | undefined;
  const states = (): ReplicaState[] => set?.states(balancer?.ready() ?? []) ?? [];
  const kill = (replica: string, signal: 'SIGKILL' | 'SIGTERM' = 'SIGKILL'): boolean =>
    set?.signal(replica, signal) ?? false;
  const workbench: Workbench = await startWorkbench({ replicas: states, kill });
  closers.push(workbench.close);
  set = await ReplicaSet.start({
    addresses: Array.from({ length: ports.length / 2 }, (_, index) => ({
      name: `replica-${index + 1}`,
      port: ports[2 * index] ?? 0,
      adminPort: ports[2 * index + 1] ?? 0,
    })),
    directory,
    config: gatewayConfig({ publicUrl, storeUrl, appUrl: workbench.url, simulators }),
    restartAfterMs,
    report,
  });
  const { targets } = set;
  closers.push(() => set.close());
  balancer = await startBalancer({ port: publicPort, targets });
  closers.push(balancer.close);
  await set.allReady(balancer);
  return {
    url: publicUrl,
    directory,
    store: { url: storeUrl, kind: store?.kind ?? 'yours' },
    simulators,
    replicas: states,
    kill,
    close: async () => {
      await closeAll(closers);
      await rm(directory, { recursive: true, force: true });
    },
  };
}
