import { CoatcheckError } from '../errors.ts';
import type { CredentialRenewal } from './credential-renewal.ts';
import { DeadlineQueue } from './deadline-queue.ts';
import { Incident } from './incident.ts';
import { NodeConnection } from './node-connection.ts';
import type { NodeConnectionOptions } from './node-connection-options.ts';
import { errorReply, type KeyWatch, type Redis, type RedisConnection } from './redis.ts';
import { siblingAddress } from './redis-address.ts';
import { type RedisTarget, retryDelayMs } from './redis-client.ts';
import {
  type ClusterNode,
  nodeName,
  type Redirection,
  readRedirection,
  readSlots,
  slotOf,
} from './slot-map.ts';

/** Options of {@link ClusterConnection}. */
export interface ClusterConnectionOptions {
  /** Any node, or a name that leads to one, and how to come in; the others are found through it. */
  readonly target: () => Promise<RedisTarget>;
  /** Time limit of every operation, in ms, redirections included. */
  readonly deadlineMs: number;
  /** How a live connection gets new credentials. Default: it needs none. */
  readonly renewal?: CredentialRenewal;
  /** Told when all slots can be reached, and when some no longer can. */
  readonly onStateChange?: (connected: boolean) => void;
  /** Told when it is known whether the nodes tell of changes, and when that differs. */
  readonly onTracking?: (tracking: boolean) => void;
}

/** A cluster that says nothing may still have changed: a primary that was demoted in peace, for one. */
const reviewIntervalMs = 15_000;
/** The first connection may take longer than any command. */
const seedDeadlineMs = 1000;

interface Member {
  readonly node: ClusterNode;
  readonly connection: NodeConnection;
}

/**
 * The way to a Redis Cluster: one connection to each primary, and the map of slots that says which. Redirections are followed
 * once; whatever hints at another map (a redirection, a lost connection, a node that knows of no cluster) has it read again.
 */
export class ClusterConnection implements RedisConnection {
  readonly #options: ClusterConnectionOptions;
  readonly #deadlines: DeadlineQueue;
  readonly #members = new Map<string, Member>();
  readonly #waiting = new Set<() => void>();
  readonly #incident = new Incident();
  #owners: (ClusterNode | undefined)[] = [];
  #watch: KeyWatch | undefined;
  #connected = false;
  #closed = false;
  #tracking: boolean | undefined;
  #discovering: Promise<void> | undefined;
  #next: NodeJS.Timeout | undefined;
  #nextIsSoon = false;
  #lastFault: unknown;

  constructor(options: ClusterConnectionOptions) {
    this.#options = options;
    this.#deadlines = new DeadlineQueue(options.deadlineMs);
  }

  get connected(): boolean {
    return this.#connected;
  }

  /** While a node is away nothing is read through it, and its return spoils what is being read. */
  get tracking(): boolean {
    const live = [...this.#members.values()].filter(({ connection }) => connection.connected);
    return live.length > 0 && live.every(({ connection }) => connection.tracking);
  }

  watch(watch: KeyWatch): void {
    this.#watch = watch;
  }

  start(): Promise<void> {
    this.#discover();
    return new Promise((resolve) => {
      this.#waiting.add(resolve);
      this.#deadlines.add(resolve);
    });
  }

  whenConnected(): Promise<void> {
    if (this.#connected) return Promise.resolve();
    return this.#withinDeadline(new Promise<void>((resolve) => this.#waiting.add(resolve)));
  }

  run<Result>(key: string | undefined, use: (redis: Redis) => Promise<Result>): Promise<Result> {
    return this.#withinDeadline(this.#route(key, use));
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#next);
    await Promise.all([...this.#members.values()].map(({ connection }) => connection.close()));
    await this.#discovering;
    this.#settle();
  }

  async #route<Result>(key: string | undefined, use: (redis: Redis) => Promise<Result>): Promise<Result> {
    const member = key === undefined ? this.#anyMember() : this.#memberOf(key);
    if (member === undefined || this.#closed) {
      this.#discoverSoon();
      throw this.#fault('not connected', this.#lastFault);
    }
    try {
      return await member.connection.run(key, use);
    } catch (fault) {
      const redirection = readRedirection(errorReply(fault)?.message ?? '', member.node);
      if (redirection === undefined) {
        if (!member.connection.connected || errorReply(fault)?.message.startsWith('CLUSTERDOWN '))
          this.#discoverSoon();
        throw fault;
      }
      return this.#follow(redirection, key, use);
    }
  }

  /** Once: a second redirection is a fault. What was refused has had no effect, so it is safe to do again. */
  async #follow<Result>(
    redirection: Redirection,
    key: string | undefined,
    use: (redis: Redis) => Promise<Result>,
  ): Promise<Result> {
    const { connection } = this.#member(redirection);
    if (redirection.kind === 'MOVED') {
      this.#owners[redirection.slot] = redirection;
      this.#discoverSoon();
    }
    await connection.whenConnected();
    return connection.run(key, redirection.kind === 'ASK' ? (redis) => use(asking(redis)) : use);
  }

  #anyMember(): Member | undefined {
    const members = [...this.#members.values()];
    return members.find(({ connection }) => connection.connected) ?? members[0];
  }

  #memberOf(key: string): Member | undefined {
    const owner = this.#owners[slotOf(key)];
    return owner && this.#members.get(nodeName(owner));
  }

  #member(node: ClusterNode): Member {
    const name = nodeName(node);
    const known = this.#members.get(name);
    if (known !== undefined) return known;
    const connection = new NodeConnection(this.#nodeOptions(node, name));
    const member = { node: { host: node.host, port: node.port }, connection };
    this.#members.set(name, member);
    if (this.#watch !== undefined) connection.watch(this.#watch);
    void connection.start();
    return member;
  }

  #nodeOptions(node: ClusterNode, name: string): NodeConnectionOptions {
    return {
      name,
      target: async () => {
        const target = await this.#options.target();
        return { ...target, ...siblingAddress(target, node.host, node.port) };
      },
      deadlineMs: this.#options.deadlineMs,
      ...(this.#options.renewal && { renewal: this.#options.renewal }),
      // A node that refuses is no reason to drop its connection: it still tells of changes.
      wrongNode: new Set(),
      onStateChange: (connected) => this.#onMemberChange(name, connected),
      onTracking: (tracking) => {
        if (tracking === this.#tracking) return;
        this.#tracking = tracking;
        this.#options.onTracking?.(tracking);
      },
    };
  }

  #onMemberChange(name: string, connected: boolean): void {
    if (!this.#members.has(name)) return;
    if (connected) this.#watch?.onLost();
    else this.#discoverSoon();
    this.#settle();
  }

  /** Within a moment, however many ask; sooner or later by how often that was needed of late. */
  #discoverSoon(): void {
    if (this.#closed || this.#discovering !== undefined || this.#nextIsSoon) return;
    this.#nextIsSoon = true;
    this.#discoverAfter(retryDelayMs(this.#incident.next()));
  }

  #discoverAfter(delayMs: number): void {
    clearTimeout(this.#next);
    this.#next = setTimeout(() => this.#discover(), delayMs);
  }

  #discover(): void {
    this.#nextIsSoon = false;
    this.#discovering = this.#readMap()
      .catch((fault: unknown) => {
        this.#lastFault = fault;
      })
      .finally(() => {
        this.#discovering = undefined;
        if (this.#closed) return;
        this.#settle();
        if (!this.#connected) this.#discoverSoon();
        else this.#discoverAfter(reviewIntervalMs * (0.5 + Math.random()));
      });
  }

  /** Asks one of the nodes that are connected, another each time, or else the address that was configured. */
  async #readMap(): Promise<void> {
    const live = [...this.#members.values()].filter(({ connection }) => connection.connected);
    const first = Math.floor(Math.random() * live.length);
    for (const { node, connection } of [...live.slice(first), ...live.slice(0, first)]) {
      try {
        return this.#adopt(readSlots(await connection.run(undefined, askSlots), node));
      } catch (fault) {
        this.#lastFault = fault;
      }
    }
    const target = await this.#options.target();
    const seed = new NodeConnection({
      name: nodeName(target),
      target: async () => target,
      deadlineMs: Math.max(seedDeadlineMs, this.#options.deadlineMs),
    });
    try {
      await seed.start();
      this.#adopt(readSlots(await seed.run(undefined, askSlots), target));
    } finally {
      await seed.close();
    }
  }

  #adopt(owners: readonly (ClusterNode | undefined)[]): void {
    if (this.#closed) return;
    const before = this.#owners;
    this.#owners = [...owners];
    const primaries = new Map(owners.flatMap((owner) => (owner ? [[nodeName(owner), owner] as const] : [])));
    for (const owner of primaries.values()) this.#member(owner);
    for (const [name, { connection }] of this.#members) {
      if (primaries.has(name)) continue;
      this.#members.delete(name);
      void connection.close();
    }
    const same = (owner: ClusterNode | undefined, slot: number): boolean =>
      owner?.host === before[slot]?.host && owner?.port === before[slot]?.port;
    if (!owners.every(same)) this.#watch?.onLost();
  }

  #settle(): void {
    const connected =
      !this.#closed &&
      this.#owners.length > 0 &&
      [...this.#members.values()].every(({ connection }) => connection.connected);
    if (connected === this.#connected) return;
    this.#connected = connected;
    if (connected) {
      for (const resolve of this.#waiting) resolve();
      this.#waiting.clear();
    }
    this.#options.onStateChange?.(connected);
  }

  #withinDeadline<Result>(work: Promise<Result>): Promise<Result> {
    return this.#deadlines.within(work, () =>
      this.#fault(`no answer within ${this.#options.deadlineMs} ms`, this.#lastFault),
    );
  }

  #fault(what: string, cause?: unknown): CoatcheckError {
    return new CoatcheckError('store_unavailable', { detail: `Redis Cluster: ${what}`, cause });
  }
}

function askSlots(redis: Redis): Promise<unknown> {
  return redis.send(['CLUSTER', 'SLOTS']);
}

/** A connection to a node that a slot is on its way to: it serves only who says so, before each command. */
function asking(redis: Redis): Redis {
  return {
    async send(command) {
      const [, reply] = await Promise.all([redis.send(['ASKING']), redis.send(command)]);
      return reply;
    },
    discard: () => redis.discard(),
  };
}
