import { ErrorReply, type RedisArgument } from '@redis/client';
import { CoatcheckError } from '../errors.ts';
import { Breaker } from './breaker.ts';
import { type Deadline, DeadlineQueue } from './deadline-queue.ts';
import { type KeyWatch, type Redis, type RedisConnection, replyCode } from './redis.ts';
import { newClient, type RedisClient, type RedisTarget, retryDelayMs } from './redis-client.ts';

/** Options of {@link NodeConnection}. */
export interface NodeConnectionOptions {
  /** Where this leads, for faults: `host:port`. */
  readonly name: string;
  /** Asked before each connection is made. A fault is one more failed attempt. */
  readonly target: () => Promise<RedisTarget>;
  /** Time limit of every command, in ms. */
  readonly deadlineMs: number;
  /** Whether only a primary will do (`ROLE`), for what `target` was told may be out of date. */
  readonly primaryOnly?: boolean;
  /** Replies after which the address is looked up again. Default: those of a node that is not, or no longer, the one to ask. */
  readonly wrongNode?: ReadonlySet<string>;
  /** Told when it begins to answer, and when it is lost or falls silent. */
  readonly onStateChange?: (connected: boolean) => void;
  /** Told once per answer of a server whether it tells of changes. */
  readonly onTracking?: (tracking: boolean) => void;
}

/** How often a connection is asked whether it is still there: one that is hardly used would be found dead only when it is needed. */
const pingIntervalMs = 1000;
/** The oldest command in flight of this age means that the other end is gone: TCP alone would not notice. */
const stallMs = 1000;
/** A handshake of this age, too. With the longest delay between attempts, less than a second. */
const handshakeMs = 400;
const notPrimary: ReadonlySet<string> = new Set(['READONLY', 'LOADING', 'CLUSTERDOWN', 'MASTERDOWN']);
/** Failures within this time of each other are one incident, and are spaced out. */
const incidentMs = 5000;

/** A client of the library, with what we know about it. */
interface Link extends Redis {
  readonly client: RedisClient;
  handshake: Deadline | undefined;
}

/** The connection to one node, or to whichever node `target` names at the time. */
export class NodeConnection implements RedisConnection {
  readonly #options: NodeConnectionOptions;
  readonly #deadlines: DeadlineQueue;
  readonly #stalls = new DeadlineQueue(stallMs);
  readonly #handshakes = new DeadlineQueue(handshakeMs);
  readonly #breaker = new Breaker(() => this.#tell());
  readonly #running = new Set<Promise<unknown>>();
  readonly #waiting = new Set<() => void>();
  #link: Link | undefined;
  #connected = false;
  #told = false;
  #closed = false;
  #reopening: NodeJS.Timeout | undefined;
  #failures = 0;
  #failedAtMs = Number.NEGATIVE_INFINITY;
  #lastError: unknown;
  /** What the server has said to `CLIENT TRACKING`; asked anew where a tracked handshake fails. */
  #canTrack: boolean | undefined;
  #ping: NodeJS.Timeout | undefined;
  #watch: KeyWatch | undefined;

  constructor(options: NodeConnectionOptions) {
    this.#options = options;
    this.#deadlines = new DeadlineQueue(options.deadlineMs);
  }

  get connected(): boolean {
    return this.#connected && !this.#breaker.isOpen;
  }

  get tracking(): boolean {
    return this.#connected && this.#canTrack === true;
  }

  watch(watch: KeyWatch): void {
    this.#watch = watch;
  }

  start(): Promise<void> {
    void this.#open();
    return new Promise((resolve) => {
      this.#waiting.add(resolve);
      this.#deadlines.add(resolve);
    });
  }

  whenConnected(): Promise<void> {
    if (this.#connected) return Promise.resolve();
    const connected = new Promise<void>((resolve) => this.#waiting.add(resolve));
    return this.#deadlines.within(connected, () => this.#lateFault());
  }

  run<Result>(_key: string | undefined, use: (redis: Redis) => Promise<Result>): Promise<Result> {
    if (!this.#link || !this.#connected || this.#closed) {
      return Promise.reject(this.#fault('not connected', this.#lastError));
    }
    const mark = this.#breaker.admit();
    if (mark === undefined) return Promise.reject(this.#fault('it does not answer', this.#lastError));
    const running = this.#deadlines.within(use(this.#link), () => {
      this.#breaker.late(mark);
      return this.#lateFault();
    });
    this.#running.add(running);
    const done = (): boolean => this.#running.delete(running);
    running.then(done, done);
    return running;
  }

  /** Gives the connection up and asks `target` anew. */
  reconnect(): void {
    this.#link?.discard();
  }

  async close(): Promise<void> {
    this.#closed = true;
    await Promise.allSettled(this.#running);
    clearTimeout(this.#reopening);
    clearInterval(this.#ping);
    this.#abandon();
  }

  async #open(): Promise<void> {
    try {
      const target = await this.#options.target();
      if (!this.#closed) this.#connect(target);
    } catch (error) {
      this.#lastError = error;
      this.#reopen(false);
    }
  }

  #connect(target: RedisTarget): void {
    const client = newClient(target, this.#canTrack === true);
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
      link.handshake = this.#handshakes.add(() => this.#discard(link));
    });
    client.on('ready', () => void this.#onReady(link, target));
    client.on('invalidate', (key: Buffer | null) => {
      if (link === this.#link) this.#watch?.onInvalidate(key === null ? null : key.toString());
    });
    client.on('error', (error) => this.#onError(link, error));
    // Where the same error has gone to the listener above, the link is already given up.
    client.connect().catch((error: unknown) => this.#onError(link, error));
  }

  async #onReady(link: Link, target: RedisTarget): Promise<void> {
    if (this.#options.primaryOnly === true && !(await this.#isPrimary(link))) return this.#discard(link);
    if (this.#watch !== undefined && this.#canTrack === undefined && (await this.#askTracking(link))) {
      link.handshake?.settle();
      link.client.destroy();
      return this.#connect(target);
    }
    link.handshake?.settle();
    if (link !== this.#link) return;
    this.#breaker.showedLife();
    this.#setConnected(true);
    this.#ping ??= setInterval(() => this.#check(), pingIntervalMs).unref();
  }

  async #isPrimary(link: Link): Promise<boolean> {
    try {
      const role = await link.client.sendCommand(['ROLE']);
      if (Array.isArray(role) && String(role[0]) === 'master') return true;
      this.#lastError = this.#fault('it is not the primary');
    } catch (error) {
      this.#lastError = error;
    }
    return false;
  }

  /** Asks on a plain connection; a refusal would end the handshake of a tracked one. True where a tracked one is to follow. */
  async #askTracking(link: Link): Promise<boolean> {
    try {
      await link.client.sendCommand(['CLIENT', 'TRACKING', 'ON']);
      this.#canTrack = true;
    } catch (error) {
      if (!(error instanceof ErrorReply)) return false;
      this.#canTrack = false;
    }
    this.#options.onTracking?.(this.#canTrack);
    return this.#canTrack && link === this.#link;
  }

  /** The watch on its replies gives it up. */
  #check(): void {
    const link = this.#link;
    if (link === undefined || !this.#connected) return;
    const stall = this.#stalls.add(() => this.#discard(link));
    const alive = (): void => {
      stall.settle();
      this.#breaker.showedLife();
    };
    link.client.sendCommand(['PING']).then(alive, () => stall.settle());
  }

  #onError(link: Link, error: unknown): void {
    if (link !== this.#link) return;
    this.#lastError = error;
    if (error instanceof ErrorReply) this.#canTrack = undefined;
    // An error on a socket that stays up means a reply that nobody asked for.
    const stillUp = link.client.isReady;
    this.#abandon();
    this.#reopen(stillUp);
  }

  async #send(link: Link, command: readonly RedisArgument[]): Promise<unknown> {
    const stall = this.#stalls.add(() => this.#discard(link));
    try {
      const reply = await link.client.sendCommand(command);
      this.#breaker.replied();
      return reply;
    } catch (error) {
      const code = replyCode(error);
      if (code !== undefined && (this.#options.wrongNode ?? notPrimary).has(code)) {
        this.#breaker.trip();
        this.#discard(link);
      } else if (code !== undefined) this.#breaker.replied();
      throw this.#fault(code === undefined ? 'the connection was lost' : `it answered ${code}`, error);
    } finally {
      stall.settle();
    }
  }

  #discard(link: Link): void {
    if (link !== this.#link || this.#closed) return;
    this.#abandon();
    this.#reopen(true);
  }

  #abandon(): void {
    const link = this.#link;
    this.#link = undefined;
    this.#setConnected(false);
    link?.handshake?.settle();
    link?.client.destroy();
  }

  /** `atOnce` for the first failure of an incident, where the other end need not be away. */
  #reopen(atOnce: boolean): void {
    if (this.#closed) return;
    const nowMs = performance.now();
    if (nowMs - this.#failedAtMs > incidentMs) this.#failures = 0;
    this.#failedAtMs = nowMs;
    const delayMs = atOnce && this.#failures === 0 ? 0 : retryDelayMs(this.#failures);
    this.#failures += 1;
    clearTimeout(this.#reopening);
    this.#reopening = setTimeout(() => void this.#open(), delayMs);
  }

  #setConnected(connected: boolean): void {
    if (connected === this.#connected) return;
    this.#connected = connected;
    if (connected) {
      for (const resolve of this.#waiting) resolve();
      this.#waiting.clear();
    }
    if (!connected) this.#watch?.onLost();
    this.#tell();
  }

  #tell(): void {
    const { connected } = this;
    if (connected === this.#told) return;
    this.#told = connected;
    this.#options.onStateChange?.(connected);
  }

  #lateFault(): CoatcheckError {
    return this.#fault(`no answer within ${this.#options.deadlineMs} ms`);
  }

  #fault(what: string, cause?: unknown): CoatcheckError {
    return new CoatcheckError('store_unavailable', {
      detail: `Redis at ${this.#options.name}: ${what}`,
      cause,
    });
  }
}
