import { ErrorReply, type RedisArgument } from '@redis/client';
import { CoatcheckError } from '../errors.ts';
import { Breaker } from './breaker.ts';
import { startRenewal } from './credential-renewal.ts';
import { type Deadline, DeadlineQueue } from './deadline-queue.ts';
import { Grace } from './grace.ts';
import { Incident } from './incident.ts';
import type { NodeConnectionOptions } from './node-connection-options.ts';
import { type KeyWatch, type Redis, type RedisConnection, replyCode } from './redis.ts';
import { newClient, type RedisClient, type RedisTarget, retryDelayMs } from './redis-client.ts';
import { askReplica, askTracking, notPrimaryCodes } from './redis-greeting.ts';

/** How often a connection is asked whether it is still there: one that is hardly used would be found dead only when it is needed. */
const pingIntervalMs = 1000;
/** The oldest command in flight of this age means that the other end is gone: TCP alone would not notice. */
const stallMs = 1000;
/** A handshake of this age, too. With the longest delay between attempts, less than a second. */
const handshakeMs = 400;
/** Address and credentials may have to come from elsewhere. */
const targetLimitMs = 10_000;
/** What may be sent again when nobody knows whether it arrived. */
const harmless: ReadonlySet<RedisArgument | undefined> = new Set(['GET', 'PING']);

/** A client of the library, with what we know about it. */
interface Link extends Redis {
  readonly client: RedisClient;
  handshake: Deadline | undefined;
  stopRenewal: (() => void) | undefined;
}

/** The connection to one node, or to whichever node `target` names at the time. */
export class NodeConnection implements RedisConnection {
  readonly #options: NodeConnectionOptions;
  readonly #deadlines: DeadlineQueue;
  readonly #stalls = new DeadlineQueue(stallMs);
  readonly #targets = new DeadlineQueue(targetLimitMs);
  /** While the first attempt to replace a connection that the other end has closed is under way, requests wait for it. */
  readonly #grace: Grace;
  readonly #incident = new Incident();
  readonly #handshakes = new DeadlineQueue(handshakeMs);
  readonly #breaker = new Breaker(() => this.#tell());
  readonly #running = new Set<Promise<unknown>>();
  readonly #waiting = new Set<() => void>();
  /** Faults of harmless commands that were under way when the connection was lost. */
  readonly #repeatable = new WeakSet<object>();
  #link: Link | undefined;
  #connected = false;
  #told = false;
  #closed = false;
  #reopening: NodeJS.Timeout | undefined;
  #lastError: unknown;
  /** What the server has said to `CLIENT TRACKING`; asked anew where a tracked handshake fails. */
  #canTrack: boolean | undefined;
  #ping: NodeJS.Timeout | undefined;
  #watch: KeyWatch | undefined;

  constructor(options: NodeConnectionOptions) {
    this.#options = options;
    this.#deadlines = new DeadlineQueue(options.deadlineMs);
    this.#grace = new Grace(options.deadlineMs);
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
    const goOn = (): void => undefined;
    return this.whenConnected().then(goOn, goOn);
  }

  whenConnected(): Promise<void> {
    if (this.#connected) return Promise.resolve();
    const connected = new Promise<void>((resolve) => this.#waiting.add(resolve));
    return this.#deadlines.within(connected, () => this.#lateFault());
  }

  run<Result>(_key: string | undefined, use: (redis: Redis) => Promise<Result>): Promise<Result> {
    const mark = this.#breaker.admit();
    if (mark === undefined) return Promise.reject(this.#fault('it does not answer', this.#lastError));
    const running = this.#deadlines
      .within(this.#lend(use), () => this.#lateFault(mark))
      .finally(() => this.#running.delete(running));
    this.#running.add(running);
    return running;
  }

  async #lend<Result>(use: (redis: Redis) => Promise<Result>): Promise<Result> {
    try {
      return await use(this.#live() ?? (await this.#liveSoon()));
    } catch (fault) {
      if (!this.#repeatable.has(Object(fault))) throw fault;
      return use(this.#live() ?? (await this.#liveSoon()));
    }
  }

  #live(): Link | undefined {
    return this.#connected && !this.#closed ? this.#link : undefined;
  }

  async #liveSoon(): Promise<Link> {
    await this.#grace.passed();
    const link = this.#live();
    if (link !== undefined) return link;
    throw this.#fault('not connected', this.#lastError);
  }

  /** Gives the connection up and asks `target` anew. */
  reconnect = (): void => this.#link?.discard();

  async close(): Promise<void> {
    this.#closed = true;
    this.#grace.end();
    await Promise.allSettled(this.#running);
    clearTimeout(this.#reopening);
    clearInterval(this.#ping);
    this.#abandon();
  }

  async #open(): Promise<void> {
    try {
      const target = await this.#targets.within(this.#options.target(), () =>
        this.#fault(`address and credentials did not come within ${targetLimitMs} ms`),
      );
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
      stopRenewal: undefined,
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
    if (!(await this.#isWanted(link))) return this.#discard(link, false);
    if (await this.#shouldTrack(link)) {
      link.handshake?.settle();
      link.client.destroy();
      return this.#connect(target);
    }
    link.handshake?.settle();
    if (link !== this.#link) return;
    const { renewal } = this.#options;
    link.stopRenewal = renewal && startRenewal(renewal, { shown: target, redis: link });
    this.#breaker.showedLife();
    this.#setConnected(true);
    this.#ping ??= setInterval(() => void this.#check(), pingIntervalMs).unref();
  }

  /** Whether the other end answers, and is not a replica where only a primary will do. */
  async #isWanted({ client, discard }: Link): Promise<boolean> {
    const stall = this.#stalls.add(discard);
    try {
      if (!(await askReplica(client)) || this.#options.primaryOnly !== true) return true;
      this.#lastError = this.#fault('it is not the primary');
    } catch (error) {
      this.#lastError = error;
    } finally {
      stall.settle();
    }
    return false;
  }

  /** True where a tracked connection is to follow. */
  async #shouldTrack(link: Link): Promise<boolean> {
    if (this.#watch === undefined || this.#canTrack !== undefined) return false;
    this.#canTrack = await askTracking(link.client);
    if (this.#canTrack !== undefined) this.#options.onTracking?.(this.#canTrack);
    return this.#canTrack === true && link === this.#link;
  }

  /** Who no longer answers no longer tells of changes either, and who was demoted in peace says so only when asked. */
  async #check(): Promise<void> {
    const link = this.#live();
    if (link === undefined) return;
    if (await this.#isWanted(link)) this.#breaker.showedLife();
    else this.#discard(link);
  }

  #onError(link: Link, error: unknown): void {
    if (link !== this.#link) return;
    this.#lastError = error;
    if (error instanceof ErrorReply) this.#canTrack = undefined;
    // An error on a socket that stays up means a reply that nobody asked for.
    this.#discard(link, link.client.isReady);
  }

  async #send(link: Link, command: readonly RedisArgument[]): Promise<unknown> {
    const stall = this.#stalls.add(() => this.#discard(link));
    try {
      const reply = await link.client.sendCommand(command);
      this.#breaker.replied();
      return reply;
    } catch (error) {
      const code = replyCode(error);
      const fault = this.#fault(
        code === undefined ? 'the connection was lost' : `it answered ${code}`,
        error,
      );
      if (code === undefined) {
        if (harmless.has(command[0])) this.#repeatable.add(fault);
      } else if ((this.#options.wrongNode ?? notPrimaryCodes).has(code)) {
        this.#breaker.trip();
        this.#discard(link);
      } else this.#breaker.replied();
      throw fault;
    } finally {
      stall.settle();
    }
  }

  #discard(link: Link, atOnce = true): void {
    if (link !== this.#link || this.#closed) return;
    this.#abandon();
    this.#reopen(atOnce);
  }

  #abandon(): void {
    const link = this.#link;
    this.#link = undefined;
    this.#setConnected(false);
    link?.handshake?.settle();
    link?.stopRenewal?.();
    link?.client.destroy();
  }

  /** `atOnce` where it was we who gave up: for the first failure of an incident, the other end need not be away. */
  #reopen(atOnce: boolean): void {
    if (this.#closed) return;
    const failures = this.#incident.next();
    if (failures === 0 && !atOnce) this.#grace.begin();
    else this.#grace.end();
    const delayMs = failures > 0 ? retryDelayMs(failures) : atOnce ? 0 : 30 * Math.random();
    clearTimeout(this.#reopening);
    this.#reopening = setTimeout(() => void this.#open(), delayMs);
  }

  #setConnected(connected: boolean): void {
    if (connected === this.#connected) return;
    this.#connected = connected;
    if (!connected) this.#watch?.onLost();
    else {
      for (const resolve of this.#waiting) resolve();
      this.#waiting.clear();
      this.#grace.end();
    }
    this.#tell();
  }

  #tell(): void {
    if (this.connected === this.#told) return;
    this.#told = this.connected;
    this.#options.onStateChange?.(this.#told);
  }

  #lateFault(mark?: number): CoatcheckError {
    if (mark !== undefined) this.#breaker.late(mark);
    const late = `no answer within ${this.#options.deadlineMs} ms`;
    return this.#fault(late, this.#connected ? undefined : this.#lastError);
  }

  #fault(what: string, cause?: unknown): CoatcheckError {
    const detail = `Redis at ${this.#options.name}: ${what}`;
    return new CoatcheckError('store_unavailable', { detail, cause });
  }
}
