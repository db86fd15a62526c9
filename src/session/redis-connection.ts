import { ErrorReply, type RedisArgument } from '@redis/client';
import { CoatcheckError } from '../errors.ts';
import { type Deadline, DeadlineQueue } from './deadline-queue.ts';
import { parseRedisAddress, type RedisAddress } from './redis-address.ts';
import { newClient, type RedisClient, retryDelayMs } from './redis-client.ts';

/** Options of {@link createRedisConnection}. */
export interface RedisConnectionOptions {
  /** `rediss://[user[:password]@]host[:port][/database]`; `redis://` on loopback only. */
  readonly url: string;
  /** Time limit of every command, in ms. Default 250. */
  readonly deadlineMs?: number;
  /** Certificate authorities (PEM) to trust instead of the system's. */
  readonly ca?: string | Buffer;
  /** Told when the connection comes up and when it is lost. */
  readonly onStateChange?: (connected: boolean) => void;
  /** Told once per answer of a server whether it tells of changes. */
  readonly onTracking?: (tracking: boolean) => void;
}

/** One live connection, lent for the time of a {@link RedisConnection.run}. */
export interface Redis {
  /** Sends one command; strings come back as Buffers. Throws `store_unavailable` on any fault. */
  send(command: readonly RedisArgument[]): Promise<unknown>;
  /** Gives this connection up for a new one, because a reply was not what was asked: later ones cannot be trusted. */
  discard(): void;
}

/** Who wants to know of changes to what was read. */
export interface KeyWatch {
  /** A key has changed or is gone; `null` for all of them. */
  readonly onInvalidate: (key: string | null) => void;
  /** Changes may have been missed: the connection that would have told is lost. */
  readonly onLost: () => void;
}

/** The way to Redis, which outlives every single connection. */
export interface RedisConnection {
  /** Whether a command sent now would go out. */
  readonly connected: boolean;
  /** Whether what is read now is watched: every later change will be told, or the loss of the connection. */
  readonly tracking: boolean;
  /** Asks the server, where it can (`CLIENT TRACKING`), to tell of every change to what is read. To be called before `start`. */
  watch(watch: KeyWatch): void;
  /** Connects. Resolves once connected or after the deadline; keeps trying in the background, for ever. */
  start(): Promise<void>;
  /** Resolves once connected; throws `store_unavailable` after the deadline. */
  whenConnected(): Promise<void>;
  /**
   * Lends a connection to `use`, within the deadline. `key` is the one key that is touched, by which a cluster is routed.
   * Throws `store_unavailable`: at once when there is no connection.
   */
  run<Result>(key: string | undefined, use: (redis: Redis) => Promise<Result>): Promise<Result>;
  /** Waits for what is in flight (at most the deadline), then disconnects for good. */
  close(): Promise<void>;
}

/** The code of the error reply behind a fault (its first word, e.g. `NOSCRIPT`), if there is one. */
export function replyCode(fault: unknown): string | undefined {
  const cause = CoatcheckError.is(fault) ? fault.cause : fault;
  return cause instanceof ErrorReply ? cause.message.split(' ', 1)[0] : undefined;
}

/** A connection to one node. Throws `config_invalid` where the URL is malformed or not safe to use. */
export function createRedisConnection(options: RedisConnectionOptions): RedisConnection {
  return new NodeConnection(options);
}

/** How often a connection that tells of changes is asked whether it is still there. */
const pingIntervalMs = 1000;
/** The oldest command in flight, or a handshake, of this age means that the other end is gone: TCP alone would not notice. */
const stallMs = 1000;
/** This node is not, or no longer, the one to ask: look the address up again. */
const wrongNode: ReadonlySet<string> = new Set(['READONLY', 'LOADING', 'CLUSTERDOWN', 'MASTERDOWN']);
/** Discards within this time of each other are one incident, and are spaced out. */
const incidentMs = 5000;

/** A client of the library, with what we know about it. */
interface Link extends Redis {
  readonly client: RedisClient;
  handshake: Deadline | undefined;
}

class NodeConnection implements RedisConnection {
  readonly #options: RedisConnectionOptions;
  readonly #address: RedisAddress;
  readonly #deadlineMs: number;
  readonly #deadlines: DeadlineQueue;
  readonly #stalls = new DeadlineQueue(stallMs);
  readonly #running = new Set<Promise<unknown>>();
  readonly #waiting = new Set<() => void>();
  #link: Link | undefined;
  #connected = false;
  #closed = false;
  #reopening: NodeJS.Timeout | undefined;
  #discards = 0;
  #discardedAtMs = Number.NEGATIVE_INFINITY;
  #lastError: unknown;
  /** What the server has said to `CLIENT TRACKING`; asked anew where a tracked handshake fails. */
  #canTrack: boolean | undefined;
  #ping: NodeJS.Timeout | undefined;
  #watch: KeyWatch | undefined;

  constructor(options: RedisConnectionOptions) {
    this.#options = options;
    this.#address = parseRedisAddress(options.url);
    this.#deadlineMs = options.deadlineMs ?? 250;
    this.#deadlines = new DeadlineQueue(this.#deadlineMs);
  }

  get connected(): boolean {
    return this.#connected;
  }

  get tracking(): boolean {
    return this.#connected && this.#canTrack === true;
  }

  watch(watch: KeyWatch): void {
    this.#watch = watch;
  }

  start(): Promise<void> {
    this.#open();
    return new Promise((resolve) => {
      this.#waiting.add(resolve);
      this.#deadlines.add(resolve);
    });
  }

  whenConnected(): Promise<void> {
    if (this.#connected) return Promise.resolve();
    return this.#withinDeadline(new Promise<void>((resolve) => this.#waiting.add(resolve)));
  }

  run<Result>(_key: string | undefined, use: (redis: Redis) => Promise<Result>): Promise<Result> {
    if (!this.#link || !this.#connected || this.#closed) {
      return Promise.reject(this.#fault('not connected', this.#lastError));
    }
    const running = this.#withinDeadline(use(this.#link));
    this.#running.add(running);
    const done = (): boolean => this.#running.delete(running);
    running.then(done, done);
    return running;
  }

  async close(): Promise<void> {
    this.#closed = true;
    await Promise.allSettled(this.#running);
    clearTimeout(this.#reopening);
    clearInterval(this.#ping);
    this.#abandon();
  }

  #open(): void {
    const client = newClient(this.#address, { ca: this.#options.ca, tracking: this.#canTrack === true });
    const link: Link = {
      client,
      handshake: undefined,
      send: (command) => this.#send(link, command),
      discard: () => this.#discard(link),
    };
    this.#link = link;
    client.on('connect', () => {
      // A client destroyed while it connects finishes connecting; only now can it be told again.
      if (link !== this.#link) return client.destroy();
      link.handshake?.settle();
      link.handshake = this.#stalls.add(() => this.#discard(link));
    });
    client.on('ready', () => void this.#onReady(link));
    client.on('invalidate', (key: Buffer | null) => {
      if (link === this.#link) this.#watch?.onInvalidate(key === null ? null : key.toString());
    });
    client.on('error', (error) => this.#onError(link, error));
    // The same error has gone to the listener above.
    client.connect().catch((error: unknown) => this.#onError(link, error));
  }

  async #onReady(link: Link): Promise<void> {
    if (this.#watch !== undefined && this.#canTrack === undefined && (await this.#askTracking(link))) return;
    link.handshake?.settle();
    if (link !== this.#link) return;
    this.#setConnected(true);
    if (this.tracking) this.#ping ??= setInterval(() => this.#check(), pingIntervalMs).unref();
  }

  /** Asks on a plain connection; a refusal would end the handshake of a tracked one. True where a tracked one is on its way. */
  async #askTracking(link: Link): Promise<boolean> {
    try {
      await link.client.sendCommand(['CLIENT', 'TRACKING', 'ON']);
      this.#canTrack = true;
    } catch (error) {
      if (!(error instanceof ErrorReply)) return false;
      this.#canTrack = false;
    }
    this.#options.onTracking?.(this.#canTrack);
    if (!this.#canTrack || link !== this.#link) return false;
    link.handshake?.settle();
    link.client.destroy();
    this.#open();
    return true;
  }

  /** A connection that no longer answers no longer tells of changes either; the watch on its replies gives it up. */
  #check(): void {
    const link = this.#link;
    if (link !== undefined && this.#connected) this.#send(link, ['PING']).catch(() => undefined);
  }

  #onError(link: Link, error: unknown): void {
    if (link !== this.#link) return;
    this.#lastError = error;
    if (error instanceof ErrorReply) this.#canTrack = undefined;
    // An error on a socket that stays up means a reply that nobody asked for.
    if (link.client.isReady) this.#discard(link);
    else this.#setConnected(false);
  }

  async #send(link: Link, command: readonly RedisArgument[]): Promise<unknown> {
    const stall = this.#stalls.add(() => this.#discard(link));
    try {
      return await link.client.sendCommand(command);
    } catch (error) {
      const code = replyCode(error);
      if (code !== undefined && wrongNode.has(code)) this.#discard(link);
      throw this.#fault(code === undefined ? 'the connection was lost' : `it answered ${code}`, error);
    } finally {
      stall.settle();
    }
  }

  #discard(link: Link): void {
    if (link !== this.#link || this.#closed) return;
    this.#abandon();
    const nowMs = performance.now();
    if (nowMs - this.#discardedAtMs > incidentMs) this.#discards = 0;
    this.#discardedAtMs = nowMs;
    if (this.#discards++ === 0) this.#open();
    else this.#reopening = setTimeout(() => this.#open(), retryDelayMs(this.#discards));
  }

  #abandon(): void {
    const link = this.#link;
    this.#link = undefined;
    this.#setConnected(false);
    link?.handshake?.settle();
    link?.client.destroy();
  }

  #setConnected(connected: boolean): void {
    if (connected === this.#connected) return;
    this.#connected = connected;
    if (connected) {
      for (const resolve of this.#waiting) resolve();
      this.#waiting.clear();
    }
    if (!connected) this.#watch?.onLost();
    this.#options.onStateChange?.(connected);
  }

  #withinDeadline<Result>(work: Promise<Result>): Promise<Result> {
    return new Promise((resolve, reject) => {
      const deadline = this.#deadlines.add(() =>
        reject(this.#fault(`no answer within ${this.#deadlineMs} ms`)),
      );
      const settling =
        <Value>(settle: (value: Value) => void) =>
        (value: Value): void => {
          deadline.settle();
          settle(value);
        };
      work.then(settling(resolve), settling(reject));
    });
  }

  #fault(what: string, cause?: unknown): CoatcheckError {
    const { host, port } = this.#address;
    return new CoatcheckError('store_unavailable', { detail: `Redis at ${host}:${port}: ${what}`, cause });
  }
}
