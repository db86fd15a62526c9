/** A TCP proxy before Redis with weather of its own. Within a connection nothing overtakes, except where replies are mixed up on purpose. */
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { replySplitter } from '../../reply-proxy.ts';
import { nowMs } from './operation.ts';
import type { WeatherKind } from './weather.ts';

/** A running proxy. */
export interface ChaosProxy {
  readonly url: string;
  /** How many connections there have been. */
  readonly connections: number;
  /** How often each kind of weather came. */
  readonly counts: Readonly<Record<WeatherKind, number>>;
  /** How long clients kept connections on which a reply had come twice, in ms. */
  readonly noticedAfterMs: readonly number[];
  /** Connections on which a reply has come twice, and which are still in use. */
  readonly unnoticed: number;
  /** With `delayMs` every connection has that delay, both ways; otherwise each one of its own. */
  begin(weather: WeatherKind, delayMs?: number): void;
  /** The end of the weather: what was held back passes. */
  calm(): void;
  close(): Promise<void>;
}

/** Replies at the beginning of a connection that are never mixed up: the client ends a handshake that makes no sense. */
const handshakeReplies = 8;
const cutIntervalMs = 60;
const mostDelayMs = 120;
const duplicateShare = 0.004;
const holdShare = 0.004;

/** One direction of a connection: what is sent comes out in that order, when the weather lets it. */
class Flow {
  readonly #write: (bytes: Buffer) => void;
  #queue: { readonly bytes: Buffer; readonly dueMs: number }[] = [];
  #timer: NodeJS.Timeout | undefined;
  delayMs = 0;
  blocked = false;

  constructor(write: (bytes: Buffer) => void) {
    this.#write = write;
  }

  send(bytes: Buffer): void {
    if (this.blocked || this.delayMs > 0 || this.#queue.length > 0) {
      this.#queue.push({ bytes, dueMs: nowMs() + this.delayMs });
      this.#pump();
    } else this.#write(bytes);
  }

  /** Everything that waits goes out now. */
  release(): void {
    this.blocked = false;
    this.delayMs = 0;
    this.end();
  }

  /** Like `release`, for a connection that is ending. */
  end(): void {
    clearTimeout(this.#timer);
    const waiting = this.#queue;
    this.#queue = [];
    for (const { bytes } of waiting) this.#write(bytes);
  }

  #pump(): void {
    clearTimeout(this.#timer);
    if (this.blocked) return;
    while (this.#queue[0] !== undefined && this.#queue[0].dueMs <= nowMs()) {
      const next = this.#queue.shift();
      if (next !== undefined) this.#write(next.bytes);
    }
    const next = this.#queue[0];
    if (next !== undefined) this.#timer = setTimeout(() => this.#pump(), Math.max(1, next.dueMs - nowMs()));
  }
}

class Connection {
  readonly #client: Socket;
  readonly #upstream: Socket;
  readonly #chance: (share: number) => boolean;
  readonly toServer: Flow;
  readonly toClient: Flow;
  readonly #split: (bytes: Buffer) => Buffer[] = replySplitter();
  #held: Buffer[] = [];
  #replies = 0;
  weather: WeatherKind | undefined;
  /** When a reply first came twice. */
  misledAtMs: number | undefined;

  constructor(client: Socket, upstream: Socket, chance: (share: number) => boolean) {
    this.#client = client.setNoDelay(true);
    this.#upstream = upstream.setNoDelay(true);
    this.#chance = chance;
    this.toServer = new Flow((bytes) => upstream.writable && upstream.write(bytes));
    this.toClient = new Flow((bytes) => client.writable && client.write(bytes));
    client.on('data', (bytes) => this.toServer.send(bytes));
    upstream.on('data', (bytes) => {
      for (const reply of this.#split(bytes)) this.#pass(reply);
    });
    // What was on its way when a client gave up may still reach the server, however late, or be lost.
    client.on('close', () => {
      if (this.#chance(0.5)) this.toServer.end();
      upstream.end();
      setTimeout(() => upstream.destroy(), 100).unref();
    });
    upstream.on('close', () => client.destroy());
    for (const socket of [client, upstream]) socket.on('error', () => socket.destroy());
  }

  cut(): void {
    this.#client.destroy();
  }

  calm(): void {
    this.weather = undefined;
    for (const reply of this.#held.splice(0)) this.toClient.send(reply);
    this.toServer.release();
    this.toClient.release();
  }

  #pass(reply: Buffer): void {
    const pushed = reply[0] === '>'.charCodeAt(0);
    if (!pushed) this.#replies += 1;
    if (pushed && this.weather === 'deaf') return;
    const mixing = this.weather === 'mix' && this.#replies > handshakeReplies;
    if (mixing && this.#chance(holdShare)) {
      this.#held.push(reply);
      return;
    }
    this.toClient.send(reply);
    if (!mixing) return;
    if (!pushed && this.#chance(duplicateShare)) {
      this.misledAtMs ??= nowMs();
      this.toClient.send(reply);
    }
    for (const held of this.#held.splice(0)) this.toClient.send(held);
  }

  destroy(): void {
    this.#client.destroy();
    this.#upstream.destroy();
  }
}

/** Starts a proxy before the server on `port`. */
export async function startChaosProxy(port: number, random: () => number): Promise<ChaosProxy> {
  const connections = new Set<Connection>();
  const counts = { cut: 0, delay: 0, blackhole: 0, mix: 0, deaf: 0 };
  const noticedAfterMs: number[] = [];
  const chance = (share: number): boolean => random() < share;
  let weather: WeatherKind | undefined;
  let cutting: NodeJS.Timeout | undefined;
  let total = 0;
  let fixedDelayMs: number | undefined;
  const delayMs = (): number => fixedDelayMs ?? (chance(0.5) ? random() * mostDelayMs : 0);
  const expose = (connection: Connection): void => {
    connection.weather = weather;
    if (weather === 'delay') {
      connection.toServer.delayMs = delayMs();
      connection.toClient.delayMs = delayMs();
    }
    if (weather === 'blackhole' && chance(0.7)) {
      // Both ways, or only one of them.
      connection.toServer.blocked = chance(0.8);
      connection.toClient.blocked = !connection.toServer.blocked || chance(0.8);
    }
  };
  const server = createServer((client) => {
    total += 1;
    const connection = new Connection(client, connect(port, '127.0.0.1'), chance);
    connections.add(connection);
    client.on('close', () => {
      connections.delete(connection);
      if (connection.misledAtMs !== undefined) noticedAfterMs.push(nowMs() - connection.misledAtMs);
    });
    expose(connection);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('No port was given');
  return {
    url: `redis://127.0.0.1:${address.port}`,
    get connections() {
      return total;
    },
    counts,
    noticedAfterMs,
    get unnoticed() {
      return [...connections].filter(({ misledAtMs }) => misledAtMs !== undefined).length;
    },
    begin(next, everyDelayMs) {
      weather = next;
      fixedDelayMs = everyDelayMs;
      counts[next] += 1;
      const cut = (): void => {
        for (const connection of connections) if (chance(0.3)) connection.cut();
      };
      if (next === 'cut') {
        cut();
        cutting = setInterval(cut, cutIntervalMs);
      }
      for (const connection of connections) expose(connection);
    },
    calm() {
      weather = undefined;
      clearInterval(cutting);
      for (const connection of connections) connection.calm();
    },
    async close() {
      clearInterval(cutting);
      server.close();
      for (const connection of connections) connection.destroy();
      await once(server, 'close');
    },
  };
}
