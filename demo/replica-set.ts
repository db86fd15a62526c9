/** The gateway processes of a fleet: started, killed, started again. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Balancer, BalancerTarget } from './balancer.ts';
import { type Child, type ChildEnd, logTail, startChild } from './child.ts';
import type { ReplicaAddress } from './gateway-config.ts';
import type { ReplicaState } from './workbench.ts';

/** How to run them. */
export interface ReplicaSetOptions {
  readonly addresses: readonly ReplicaAddress[];
  /** Configuration files and logs go here. */
  readonly directory: string;
  /** YAML of one replica; holds secrets. */
  readonly config: (replica: ReplicaAddress) => string;
  /** A replica that ended is started again after this long. */
  readonly restartAfterMs: number;
  /** Hears what people should know, in one line. */
  readonly report: (line: string) => void;
}

interface Replica {
  readonly address: ReplicaAddress;
  readonly configFile: string;
  child: Child | undefined;
  /** Killed on purpose: nothing to report as a fault. */
  killed: boolean;
}

/** How a process ended, with the last words of its log. */
export function obituary(child: Child, { code, signal }: ChildEnd): string {
  return `${child.name} ended by itself (${signal ?? `exit code ${code}`}): ${logTail(child.logFile).join(' | ')}`;
}

/** The gateway processes of a fleet. */
export class ReplicaSet {
  readonly #options: ReplicaSetOptions;
  readonly #replicas: readonly Replica[];
  readonly #closing: AbortController = new AbortController();

  private constructor(options: ReplicaSetOptions) {
    this.#options = options;
    this.#replicas = options.addresses.map((address) => ({
      address,
      configFile: join(options.directory, `${address.name}.yaml`),
      child: undefined,
      killed: false,
    }));
  }

  /** Writes the configuration files, readable by us alone, and starts every process. */
  static async start(options: ReplicaSetOptions): Promise<ReplicaSet> {
    const set = new ReplicaSet(options);
    for (const replica of set.#replicas) {
      await writeFile(replica.configFile, options.config(replica.address), { mode: 0o600 });
      set.#run(replica);
    }
    return set;
  }

  /** For a balancer. */
  get targets(): BalancerTarget[] {
    return this.#replicas.map(({ address: { name, port, adminPort } }) => ({
      name,
      url: `http://127.0.0.1:${port}`,
      adminUrl: `http://127.0.0.1:${adminPort}`,
    }));
  }

  /** For people; `ready` are the names that get requests. */
  states(ready: readonly string[]): ReplicaState[] {
    return this.#replicas.map(({ address: { name }, child }) => {
      if (child === undefined) return { name, state: 'killed' };
      return { name, state: ready.includes(name) ? 'ready' : 'starting' };
    });
  }

  /** Resolves when the balancer sees all of them ready; throws when one ends before. */
  async allReady(balancer: Balancer): Promise<void> {
    const children = this.#replicas.flatMap(({ child }) => child ?? []);
    const ended = Promise.race(
      children.map(async (child) => {
        throw new Error(obituary(child, await child.ended));
      }),
    );
    const ready = async (): Promise<void> => {
      const deadlineMs = Date.now() + 60_000;
      while (balancer.ready().length < children.length) {
        if (Date.now() > deadlineMs)
          throw new Error(`not all replicas became ready: see the logs in ${this.#options.directory}`);
        await delay(25);
      }
    };
    await Promise.race([ended, ready()]);
    ended.catch(() => {});
  }

  /** Sends a signal on purpose; false where no such replica runs. */
  signal(name: string, signal: 'SIGKILL' | 'SIGTERM'): boolean {
    const replica = this.#replicas.find(({ address }) => address.name === name);
    if (replica?.child === undefined) return false;
    replica.killed = true;
    replica.child.signal(signal);
    // People who ask right after a SIGKILL are told the truth, even before the operating system is done.
    if (signal === 'SIGKILL') replica.child = undefined;
    return true;
  }

  /** Drains and ends all. */
  async close(): Promise<void> {
    this.#closing.abort();
    await Promise.all(this.#replicas.map(({ child }) => child?.stop()));
  }

  #run(replica: Replica): void {
    const { name } = replica.address;
    const child = startChild({
      name,
      command: [process.execPath, 'dist/cli.js', 'serve', '--config', replica.configFile],
      logFile: join(this.#options.directory, `${name}.log`),
    });
    replica.child = child;
    void child.ended.then((end) => this.#ended(replica, child, end));
  }

  async #ended(replica: Replica, child: Child, end: ChildEnd): Promise<void> {
    if (end.asked || this.#closing.signal.aborted) return;
    replica.child = undefined;
    const { restartAfterMs, report } = this.#options;
    const what = replica.killed ? `${child.name} was killed` : obituary(child, end);
    replica.killed = false;
    report(`${what}; it is started again in ${restartAfterMs / 1000} s`);
    await delay(restartAfterMs, undefined, { signal: this.#closing.signal }).then(
      () => this.#run(replica),
      () => {}, // closing: it stays dead
    );
  }
}
