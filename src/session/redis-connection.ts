import { isIPv4 } from 'node:net';
import { createClient, ErrorReply, RESP_TYPES, type RedisArgument } from '@redis/client';
import { CoatcheckError } from '../errors.ts';
import { type Deadline, DeadlineQueue } from './deadline-queue.ts';

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
}

/** One live connection, lent for the time of a {@link RedisConnection.run}. */
export interface Redis {
  /** Sends one command; strings come back as Buffers. Throws `store_unavailable` on any fault. */
  send(command: readonly RedisArgument[]): Promise<unknown>;
  /** Gives this connection up for a new one, because a reply was not what was asked: later ones cannot be trusted. */
  discard(): void;
}

/** The way to Redis, which outlives every single connection. */
export interface RedisConnection {
  /** Whether a command sent now would go out. */
  readonly connected: boolean;
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

const connectTimeoutMs = 1000;
/** The oldest command in flight, or a handshake, of this age means that the other end is gone: TCP alone would not notice. */
const stallMs = 1000;
/** This node is not, or no longer, the one to ask: look the address up again. */
const wrongNode: ReadonlySet<string> = new Set(['READONLY', 'LOADING', 'CLUSTERDOWN', 'MASTERDOWN']);
/** Discards within this time of each other are one incident, and are spaced out. */
const incidentMs = 5000;

interface Address {
  readonly host: string;
  readonly port: number;
  readonly tls: boolean;
  readonly username: string;
  readonly password: string;
  readonly database: number;
}

/** A client of the library, with what we know about it. */
interface Link extends Redis {
  readonly client: ReturnType<typeof newClient>;
  handshake: Deadline | undefined;
}

class NodeConnection implements RedisConnection {
  readonly #options: RedisConnectionOptions;
  readonly #address: Address;
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

  constructor(options: RedisConnectionOptions) {
    this.#options = options;
    this.#address = parseAddress(options.url);
    this.#deadlineMs = options.deadlineMs ?? 250;
    this.#deadlines = new DeadlineQueue(this.#deadlineMs);
  }

  get connected(): boolean {
    return this.#connected;
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
    this.#abandon();
  }

  #open(): void {
    const client = newClient(this.#address, this.#options.ca);
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
    client.on('ready', () => {
      link.handshake?.settle();
      if (link === this.#link) this.#setConnected(true);
    });
    client.on('error', (error) => this.#onError(link, error));
    // The same error has gone to the listener above.
    client.connect().catch((error: unknown) => this.#onError(link, error));
  }

  #onError(link: Link, error: unknown): void {
    if (link !== this.#link) return;
    this.#lastError = error;
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
    this.#options.onStateChange?.(connected);
  }

  #withinDeadline<Result>(work: Promise<Result>): Promise<Result> {
    return new Promise((resolve, reject) => {
      const deadline = this.#deadlines.add(() =>
        reject(this.#fault(`no answer within ${this.#deadlineMs} ms`)),
      );
      work.then(resolve, reject).finally(() => deadline.settle());
    });
  }

  #fault(what: string, cause?: unknown): CoatcheckError {
    const { host, port } = this.#address;
    return new CoatcheckError('store_unavailable', { detail: `Redis at ${host}:${port}: ${what}`, cause });
  }
}

/** Full jitter, from 50 ms to a bound that doubles up to 2 s. */
function retryDelayMs(retries: number): number {
  return Math.round(50 + Math.random() * (Math.min(2000, 100 * 2 ** retries) - 50));
}

const newClient = (address: Address, ca: string | Buffer | undefined) => {
  const { host, port, tls, username, password, database } = address;
  return createClient({
    // An empty user name would be sent as such; left out, it is the default user.
    ...(username && { username }),
    ...(password && { password }),
    database,
    RESP: 3,
    // The library's own timeout costs up to half of the throughput and does not cover what is in flight.
    commandOptions: { timeout: 0, typeMapping: { [RESP_TYPES.BLOB_STRING]: Buffer } },
    disableOfflineQueue: true,
    maintNotifications: 'disabled',
    socket: {
      host,
      port,
      connectTimeout: connectTimeoutMs,
      keepAliveInitialDelay: 5000,
      reconnectStrategy: retryDelayMs,
      ...(tls && { tls, rejectUnauthorized: true, ...(ca !== undefined && { ca }) }),
    },
  });
};

/** Taken apart by hand: the library's and Node's own errors quote the URL, password included. */
function parseAddress(text: string): Address {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const tls = url?.protocol === 'rediss:';
  const [, database] = /^\/?(\d{0,4})$/.exec(url?.pathname ?? '') ?? [];
  if (
    !url?.hostname ||
    (!tls && url.protocol !== 'redis:') ||
    database === undefined ||
    url.search ||
    url.hash
  ) {
    throw invalid('expected rediss://[user[:password]@]host[:port][/database]');
  }
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1').toLowerCase();
  if (!tls && !isLoopback(host)) throw invalid(`redis:// is for loopback only; use rediss:// for ${host}`);
  return {
    host,
    port: Number(url.port || 6379),
    tls,
    username: decoded(url.username),
    password: decoded(url.password),
    database: Number(database),
  };
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIPv4(host) && host.startsWith('127.'));
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch (error) {
    throw new CoatcheckError('config_invalid', {
      detail: 'store.url: user or password is not percent-encoded',
      cause: error,
    });
  }
}

function invalid(detail: string): CoatcheckError {
  return new CoatcheckError('config_invalid', { detail: `store.url: ${detail}` });
}
