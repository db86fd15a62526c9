/**
 * A fleet as an orchestrator runs it: replicas are whole processes that are started and ended one by one, and one that has
 * ended never comes back; another takes its place. Everything else that they need runs beside them.
 */
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { parse, stringify } from 'yaml';
import { type Balancer, type BalancerTarget, startBalancer } from '../../demo/balancer.ts';
import { type Child, type ChildEnd, rootDirectory, startChild, typescriptCommand } from '../../demo/child.ts';
import { startEmbeddedStore } from '../../demo/embedded-store.ts';
import { freePorts } from '../../demo/free-ports.ts';
import { gatewayConfig, type ReplicaAddress } from '../../demo/gateway-config.ts';
import { obituary } from '../../demo/replica-set.ts';
import type { SimulatorFacts, SimulatorsOptions } from '../../sim/simulators.ts';

/** Top-level keys of a gateway's configuration as YAML gives them. */
export type ConfigChange = Readonly<Record<string, unknown>>;

/** What a fleet begins with. */
export interface OrchestratorOptions {
  /** Default 3. */
  readonly replicas?: number;
  readonly simulators?: Omit<SimulatorsOptions, 'publicUrls'>;
  /** Arguments to Node itself, for each replica. Default: none. */
  readonly nodeArguments?: readonly string[];
  /** What differs from the usual configuration. Default: nothing. */
  readonly config?: (simulators: SimulatorFacts) => ConfigChange | Promise<ConfigChange>;
}

interface Replica {
  readonly target: BalancerTarget;
  readonly file: string;
  readonly config: ConfigChange;
  readonly child: Child;
  ended: boolean;
}

type Closers = (() => Promise<unknown>)[];

interface Parts {
  readonly directory: string;
  readonly url: string;
  readonly storeUrl: string;
  readonly simulators: SimulatorFacts;
  readonly balancer: Balancer;
  readonly config: (replica: ReplicaAddress) => ConfigChange;
  readonly nodeArguments: readonly string[];
}

/** The balancer asks each replica this often whether it is ready. */
const checkIntervalMs = 100;

/** A replica that is told to end takes requests for ten more checks, so that the balancer is sure to have noticed. */
const limits = { drainDelay: `${10 * checkIntervalMs}ms` };

/** A running fleet behind a balancer that never sticks. */
export class Orchestrator {
  /** Origin for browsers. */
  readonly url: string;
  readonly storeUrl: string;
  readonly simulators: SimulatorFacts;
  readonly #parts: Parts;
  readonly #closers: Closers;
  readonly #replicas = new Map<string, Replica>();
  #started = 0;

  private constructor(parts: Parts, closers: Closers) {
    this.url = parts.url;
    this.storeUrl = parts.storeUrl;
    this.simulators = parts.simulators;
    this.#parts = parts;
    this.#closers = closers;
    closers.push(() => this.#endAll());
  }

  /** Starts a fleet; resolves when every replica gets requests. Nothing is left running when it throws. */
  static async start(options: OrchestratorOptions = {}): Promise<Orchestrator> {
    if (!existsSync(join(rootDirectory, 'dist', 'cli.js'))) throw new Error('first `npm run build`');
    const closers: Closers = [];
    try {
      const fleet = new Orchestrator(await startParts(options, closers), closers);
      await Promise.all(Array.from({ length: options.replicas ?? 3 }, () => fleet.start()));
      return fleet;
    } catch (error) {
      await closeAll(closers);
      throw error;
    }
  }

  /** Names of the replicas that run, oldest first. */
  get names(): string[] {
    return [...this.#replicas].flatMap(([name, { ended }]) => (ended ? [] : [name]));
  }

  /** One replica's own origin, behind the balancer's back. */
  urlOf(name: string): string {
    return this.#replica(name).target.url;
  }

  /** One replica's metrics, as Prometheus reads them: `name` or `name{label="value"}` → number. */
  async metricsOf(name: string): Promise<Map<string, number>> {
    const answer = await fetch(`${this.#replica(name).target.adminUrl}/metrics`);
    const lines = (await answer.text()).split('\n').filter((line) => line !== '' && !line.startsWith('#'));
    return new Map(
      lines.map((line) => {
        const at = line.lastIndexOf(' ');
        return [line.slice(0, at), Number(line.slice(at + 1))];
      }),
    );
  }

  /** Starts one more replica; resolves with its name when it gets requests. */
  async start(change: ConfigChange = {}): Promise<string> {
    this.#started += 1;
    const name = `replica-${this.#started}`;
    const [port = 0, adminPort = 0] = await freePorts(2);
    const file = join(this.#parts.directory, `${name}.yaml`);
    const config = { ...this.#parts.config({ name, port, adminPort }), ...change };
    await writeFile(file, stringify(config), { mode: 0o600 });
    const child = startChild({
      name,
      command: [process.execPath, ...this.#parts.nodeArguments, 'dist/cli.js', 'serve', '--config', file],
      logFile: join(this.#parts.directory, `${name}.log`),
    });
    const target = { name, url: `http://127.0.0.1:${port}`, adminUrl: `http://127.0.0.1:${adminPort}` };
    const replica: Replica = { target, file, config, child, ended: false };
    void child.ended.then(() => {
      replica.ended = true;
    });
    this.#replicas.set(name, replica);
    await this.#showBalancer();
    await this.#untilReady(name);
    return name;
  }

  /** Sends a signal and waits for the end. The balancer is not told: it must find out. */
  async end(name: string, signal: 'SIGTERM' | 'SIGKILL'): Promise<ChildEnd> {
    const { child } = this.#replica(name);
    child.signal(signal);
    return await child.ended;
  }

  /** Changes a running replica's configuration by SIGHUP; resolves when it says that it has read it. */
  async reload(name: string, change: ConfigChange): Promise<void> {
    const { file, config, child } = this.#replica(name);
    const log = join(this.#parts.directory, `${name}.log`);
    const countReloads = async (): Promise<number> =>
      (await readFile(log, 'utf8')).split('"config.reloaded"').length;
    const before = await countReloads();
    await writeFile(file, stringify({ ...config, ...change }), { mode: 0o600 });
    child.signal('SIGHUP');
    const deadlineMs = Date.now() + 30_000;
    while ((await countReloads()) === before) {
      if (Date.now() > deadlineMs) throw new Error(`${name} does not read its configuration again`);
      await delay(10);
    }
  }

  /** Sends a signal and does not wait. */
  signal(name: string, signal: NodeJS.Signals): void {
    this.#replica(name).child.signal(signal);
  }

  /** Rolling update: for each replica a new one first, with the changes, and then SIGTERM. The new names. */
  async replaceAll(change: ConfigChange = {}): Promise<string[]> {
    const former = this.names;
    for (const name of former) {
      await this.start(change);
      await this.end(name, 'SIGTERM');
    }
    return this.names;
  }

  /** Ends every process, by force after 5 s, and removes configuration and logs. */
  async close(): Promise<void> {
    await closeAll(this.#closers);
  }

  #replica(name: string): Replica {
    const replica = this.#replicas.get(name);
    if (replica === undefined) throw new RangeError(`no replica is called ${name}`);
    return replica;
  }

  #showBalancer(): Promise<void> {
    const live = [...this.#replicas.values()].filter(({ ended }) => !ended);
    return this.#parts.balancer.setTargets(live.map(({ target }) => target));
  }

  async #untilReady(name: string): Promise<void> {
    const { balancer } = this.#parts;
    const replica = this.#replica(name);
    const deadlineMs = Date.now() + 30_000;
    while (!balancer.ready().includes(name)) {
      if (replica.ended) throw new Error(obituary(replica.child, await replica.child.ended));
      if (Date.now() > deadlineMs) throw new Error(`${name} does not become ready`);
      await delay(10);
    }
  }

  async #endAll(): Promise<void> {
    // One that was stopped hears nothing but SIGKILL until it is continued.
    for (const { child } of this.#replicas.values()) child.signal('SIGCONT');
    await Promise.all([...this.#replicas.values()].map(({ child, ended }) => ended || child.stop()));
  }
}

async function startParts(options: OrchestratorOptions, closers: Closers): Promise<Parts> {
  const directory = await mkdtemp(join(tmpdir(), 'coatcheck-fleet-'));
  closers.push(() => rm(directory, { recursive: true, force: true }));
  const [port = 0] = await freePorts(1);
  const publicUrl = `http://localhost:${port}`;
  const simulatorsChild = startChild({
    name: 'simulators',
    command: typescriptCommand(
      'sim/main.ts',
      JSON.stringify({ ...options.simulators, publicUrls: [publicUrl] }),
    ),
    logFile: join(directory, 'simulators.log'),
    announces: true,
  });
  closers.push(() => simulatorsChild.stop());
  const store = await startEmbeddedStore({ directory });
  closers.push(() => store.close());
  const simulators = JSON.parse(await simulatorsChild.announcement) as SimulatorFacts;
  const balancer = await startBalancer({ port, targets: [], checkIntervalMs });
  closers.push(() => balancer.close());
  const usual = gatewayConfig({ publicUrl, storeUrl: store.url, appUrl: publicUrl, simulators });
  // Two cores run all of it: a process may wait longer for its turn than a store should take to answer.
  const patience = { store: { url: store.url, deadline: '5s' } };
  const change = {
    ...patience,
    limits,
    log: { level: 'warn' },
    app: undefined,
    ...(await options.config?.(simulators)),
  };
  return {
    nodeArguments: options.nodeArguments ?? [],
    directory,
    url: balancer.url,
    storeUrl: store.url,
    simulators,
    balancer,
    config: (replica) => ({ ...(parse(usual(replica)) as ConfigChange), ...change }),
  };
}

async function closeAll(closers: Closers): Promise<void> {
  for (let close = closers.pop(); close !== undefined; close = closers.pop()) await close();
}
