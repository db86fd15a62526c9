/**
 * A small HTTP balancer that never sticks: each request goes to the next live replica, whoever sent it. For the
 * demonstration and the load tests; it does what a real one does and nothing more.
 *
 * - Everything streams. End-to-end headers, `Host` among them, pass unchanged (RFC 9110 §7.6.1).
 * - A replica gets requests while its `/readyz` answers 200, asked every 250 ms.
 * - A request that met a broken connection is tried once on another replica if that is safe: it never reached one, or
 *   it is a GET or HEAD and no answer has begun (RFC 9110 §9.2.2).
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type Dispatcher, Pool, request } from 'undici';

/** One replica. */
export interface BalancerTarget {
  readonly name: string;
  /** Origin that takes requests. */
  readonly url: string;
  /** Origin that answers `/readyz`. */
  readonly adminUrl: string;
}

/** What to balance. */
export interface BalancerOptions {
  /** 0 is any free port. */
  readonly port: number;
  /** Default 127.0.0.1 */
  readonly host?: string;
  readonly targets: readonly BalancerTarget[];
  /** Default 250. */
  readonly checkIntervalMs?: number;
}

/** A running balancer. */
export interface Balancer {
  readonly url: string;
  readonly port: number;
  /** Names of the replicas that get requests now. */
  ready(): string[];
  /** Exchanges the replicas; resolves when each has been checked. Requests on removed ones are completed. */
  setTargets(targets: readonly BalancerTarget[]): Promise<void>;
  /** Ends connections, also those in use. */
  close(): Promise<void>;
}

interface Replica {
  readonly target: BalancerTarget;
  readonly pool: Pool;
  readonly admin: Pool;
  ready: boolean;
  /** Checks in a row that got no answer in time. A busy machine is no reason to stop using a replica at once. */
  silentChecks: number;
}

const bufferedBodyBytes = 64 * 1024;
const silentChecksAllowed = 3;
const hopByHop = new Set([
  'connection',
  'expect',
  'keep-alive',
  'proxy-connection',
  'te',
  'transfer-encoding',
  'upgrade',
]);
const neverReached = new Set(['ECONNREFUSED', 'UND_ERR_CONNECT_TIMEOUT']);
const connectionBroke = new Set([...neverReached, 'ECONNRESET', 'EPIPE', 'UND_ERR_SOCKET']);

const codeOf = (error: unknown): string =>
  error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : '';

/** Flat name-value pairs without those that belong to one connection only. */
function endToEnd(pairs: readonly string[]): string[] {
  const kept: string[] = [];
  const named = new Set<string>();
  for (let i = 0; i < pairs.length; i += 2) {
    if (pairs[i]?.toLowerCase() !== 'connection') continue;
    for (const name of pairs[i + 1]?.split(',') ?? []) named.add(name.trim().toLowerCase());
  }
  for (let i = 0; i < pairs.length; i += 2) {
    const name = pairs[i] ?? '';
    if (!hopByHop.has(name.toLowerCase()) && !named.has(name.toLowerCase()))
      kept.push(name, pairs[i + 1] ?? '');
  }
  return kept;
}

/** Flat name-value pairs of an answer, as they came. */
function answerPairs(controller: Dispatcher.DispatchController): string[] {
  const raw = controller.rawHeaders;
  return Array.isArray(raw)
    ? raw.map((part) => (typeof part === 'string' ? part : part.toString('latin1')))
    : [];
}

/** None, all of it where it is small (so that it can be sent again), or the stream. */
async function bodyOf(incoming: IncomingMessage): Promise<Buffer | IncomingMessage | null> {
  if (incoming.headers['transfer-encoding'] !== undefined) return incoming;
  const length = Number(incoming.headers['content-length'] ?? 0);
  if (length === 0) return null;
  if (length > bufferedBodyBytes) return incoming;
  const chunks: Buffer[] = [];
  for await (const chunk of incoming) chunks.push(chunk);
  return Buffer.concat(chunks);
}

function answerPlainly(response: ServerResponse, status: number, text: string): void {
  if (response.headersSent) response.destroy();
  else response.writeHead(status, { 'content-type': 'text/plain', 'retry-after': '1' }).end(`${text}\n`);
}

/** One request sent to one replica. `begun` tells whether an answer had begun when it failed. */
type Attempt = { kind: 'answered' } | { kind: 'failed'; error: Error; begun: boolean };

/** Passes an answer on as it comes, at the pace at which the client reads. */
class Relay implements Dispatcher.DispatchHandler {
  readonly #response: ServerResponse;
  readonly #finish: (attempt: Attempt) => void;
  #controller: Dispatcher.DispatchController | undefined;
  #begun = false;

  constructor(response: ServerResponse, finish: (attempt: Attempt) => void) {
    this.#response = response;
    this.#finish = finish;
    response.on('close', this.#clientLeft);
    response.on('drain', this.#clientReads);
  }

  readonly #clientLeft = (): void => {
    if (!this.#response.writableFinished) this.#controller?.abort(new Error('the client left'));
  };

  readonly #clientReads = (): void => this.#controller?.resume();

  #end(attempt: Attempt): void {
    this.#response.off('close', this.#clientLeft);
    this.#response.off('drain', this.#clientReads);
    this.#finish(attempt);
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    if (this.#response.destroyed) this.#clientLeft();
  }

  onResponseStart(controller: Dispatcher.DispatchController, status: number): void {
    if (status < 200) return;
    this.#begun = true;
    this.#response.writeHead(status, endToEnd(answerPairs(controller)));
    this.#response.flushHeaders();
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (!this.#response.write(chunk)) controller.pause();
  }

  onResponseEnd(): void {
    this.#response.end();
    this.#end({ kind: 'answered' });
  }

  onResponseError(_: unknown, error: Error): void {
    this.#end({ kind: 'failed', error, begun: this.#begun });
  }
}

class RoundRobin {
  #replicas: Replica[] = [];
  #turn = 0;

  ready(): string[] {
    return this.#replicas.filter((replica) => replica.ready).map((replica) => replica.target.name);
  }

  async setTargets(targets: readonly BalancerTarget[]): Promise<void> {
    const left = this.#replicas.filter((replica) => !targets.includes(replica.target));
    this.#replicas = targets.map(
      (target) =>
        this.#replicas.find((replica) => replica.target === target) ?? {
          target,
          pool: new Pool(target.url, { headersTimeout: 60_000, bodyTimeout: 0 }),
          admin: new Pool(target.adminUrl, { connections: 1, headersTimeout: 1_000, bodyTimeout: 1_000 }),
          ready: false,
          silentChecks: 0,
        },
    );
    for (const replica of left) void Promise.all([replica.pool.close(), replica.admin.close()]);
    await this.check();
  }

  async check(): Promise<void> {
    await Promise.all(this.#replicas.map(checkReadiness));
  }

  /** The next live replica in turn that has not been tried. */
  #next(tried: readonly Replica[]): Replica | undefined {
    for (let step = 0; step < this.#replicas.length; step += 1) {
      const replica = this.#replicas[this.#turn % this.#replicas.length];
      this.#turn += 1;
      if (replica?.ready && !tried.includes(replica)) return replica;
    }
    return undefined;
  }

  async serve(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await bodyOf(incoming);
    const tried: Replica[] = [];
    for (;;) {
      const replica = this.#next(tried);
      if (replica === undefined) return answerPlainly(response, 503, 'no replica is ready');
      const attempt = await this.#attempt(replica, incoming, { body, response });
      if (attempt.kind === 'answered' || response.destroyed) return;
      tried.push(replica);
      const code = codeOf(attempt.error);
      if (neverReached.has(code)) replica.ready = false;
      if (code === 'UND_ERR_HEADERS_TIMEOUT')
        return answerPlainly(response, 504, `${replica.target.name} did not answer`);
      const safe = neverReached.has(code) || ['GET', 'HEAD'].includes(incoming.method ?? '');
      const again =
        tried.length === 1 && !attempt.begun && connectionBroke.has(code) && safe && body !== incoming;
      if (!again) return answerPlainly(response, 502, `the connection to ${replica.target.name} failed`);
    }
  }

  #attempt(
    replica: Replica,
    incoming: IncomingMessage,
    exchange: { body: Buffer | IncomingMessage | null; response: ServerResponse },
  ): Promise<Attempt> {
    return new Promise((finish) => {
      const options: Dispatcher.DispatchOptions = {
        path: incoming.url ?? '/',
        method: incoming.method as Dispatcher.HttpMethod,
        headers: endToEnd(incoming.rawHeaders),
        body: exchange.body,
      };
      replica.pool.dispatch(options, new Relay(exchange.response, finish));
    });
  }

  async close(): Promise<void> {
    await Promise.all(this.#replicas.flatMap(({ pool, admin }) => [pool.destroy(), admin.destroy()]));
  }
}

/** Not ready (draining) or not there counts at once; silence only when repeated. */
async function checkReadiness(replica: Replica): Promise<void> {
  const url = `${replica.target.adminUrl}/readyz`;
  await request(url, { dispatcher: replica.admin }).then(
    async ({ statusCode, body }) => {
      await body.dump();
      replica.ready = statusCode === 200;
      replica.silentChecks = 0;
    },
    (error: unknown) => {
      replica.silentChecks += 1;
      const silent = codeOf(error).endsWith('_TIMEOUT');
      if (!silent || replica.silentChecks >= silentChecksAllowed) replica.ready = false;
    },
  );
}

function listen(server: Server, port: number, host: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, resolve);
  });
}

/** Starts to balance; resolves when it listens and has checked every replica once. */
export async function startBalancer(options: BalancerOptions): Promise<Balancer> {
  const replicas = new RoundRobin();
  const server = createServer(
    { keepAliveTimeout: 65_000, requestTimeout: 0, noDelay: true },
    (incoming, response) => {
      // The client broke off while we read its body: nobody is left to answer.
      replicas.serve(incoming, response).catch(() => response.destroy());
    },
  );
  await replicas.setTargets(options.targets);
  await listen(server, options.port, options.host ?? '127.0.0.1');
  const checks = setInterval(() => void replicas.check(), options.checkIntervalMs ?? 250);
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://localhost:${port}`,
    port,
    ready: () => replicas.ready(),
    setTargets: (targets) => replicas.setTargets(targets),
    close: async () => {
      clearInterval(checks);
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await replicas.close();
      await closed;
    },
  };
}
