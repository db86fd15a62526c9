import {
  Agent,
  createServer,
  type IncomingMessage,
  type RequestListener,
  request,
  type Server,
} from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { type Balancer, type BalancerTarget, startBalancer } from './balancer.ts';

/** A replica with a real socket; `/readyz` is on the same port here. */
class Replica {
  readonly server: Server;
  readonly target: BalancerTarget;
  ready = true;
  served = 0;

  static async start(name: string, handle: RequestListener, port = 0): Promise<Replica> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
    return new Replica(name, handle, server);
  }

  constructor(name: string, handle: RequestListener, server: Server) {
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    this.target = { name, url, adminUrl: url };
    this.server = server.on('request', (incoming, response) => {
      if (incoming.url === '/readyz') return void response.writeHead(this.ready ? 200 : 503).end();
      this.served += 1;
      response.setHeader('replica', name);
      handle(incoming, response);
    });
  }

  /** What SIGKILL does to its sockets. */
  die(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.server.close(() => resolve()));
    this.server.closeAllConnections();
    return closed;
  }
}

let handle: RequestListener;
let replicas: [Replica, Replica, Replica];
let balancer: Balancer;
const agent = new Agent({ keepAlive: true, maxSockets: 1 });

beforeEach(async () => {
  handle = (_, response) => response.end('ok');
  const start = (name: string) => Replica.start(name, (incoming, response) => handle(incoming, response));
  replicas = [await start('a'), await start('b'), await start('c')];
  balancer = await startBalancer({
    port: 0,
    targets: replicas.map(({ target }) => target),
    checkIntervalMs: 20,
  });
});
afterEach(async () => {
  await balancer.close();
  await Promise.all(replicas.map((replica) => replica.die()));
});

interface Sent {
  method?: string;
  path?: string;
  headers?: Record<string, string | string[]>;
  body?: string;
}

/** The answer's head, on one keep-alive connection. */
function head(sent: Sent = {}): Promise<IncomingMessage> {
  const { method = 'GET', path = '/', headers = {}, body } = sent;
  return new Promise((resolve, reject) => {
    request({ port: balancer.port, host: '127.0.0.1', agent, method, path, headers }, resolve)
      .once('error', reject)
      .end(body);
  });
}

async function send(
  sent: Sent = {},
): Promise<{ status: number; replica: string; text: string; raw: string[] }> {
  const answer = await head(sent);
  const replica = `${answer.headers.replica}`;
  return { status: answer.statusCode ?? 0, replica, text: await text(answer), raw: answer.rawHeaders };
}

const sendMany = async (count: number, sent: Sent = {}): Promise<Awaited<ReturnType<typeof send>>[]> => {
  const answers: Awaited<ReturnType<typeof send>>[] = [];
  while (answers.length < count) answers.push(await send(sent));
  return answers;
};

describe('the balancer', () => {
  test('gives each request of one connection to the next replica', async () => {
    const answers = await sendMany(9);
    expect(answers.map(({ replica }) => replica).join('')).toMatch(/^(abc|bca|cab)\1\1$/);
  });

  test('passes Host and repeated headers unchanged in both directions, and drops those of one connection', async () => {
    handle = (incoming, response) => {
      response.statusCode = 201;
      response.appendHeader('Set-Cookie', 'a=1').appendHeader('Set-Cookie', 'b=2');
      response.setHeader('X-Case', 'Kept').setHeader('Keep-Alive', 'timeout=9');
      response.end(JSON.stringify(incoming.rawHeaders));
    };
    const headers = {
      Host: 'apps.example.com',
      'X-Many': ['1', '2'],
      Connection: 'keep-alive, x-hop',
      'X-Hop': 'no',
    };
    const answer = await send({ headers });
    const received = (JSON.parse(answer.text) as string[]).join('|');
    expect(received.toLowerCase()).toContain('host|apps.example.com');
    expect(received).toContain('X-Many|1|X-Many|2');
    expect(received).not.toContain('X-Hop');
    expect(answer.status).toBe(201);
    expect(answer.raw.join('|')).toContain('Set-Cookie|a=1|Set-Cookie|b=2|X-Case|Kept');
    expect(answer.raw).not.toContain('timeout=9');
  });

  test('passes bodies of known and of unknown length', async () => {
    handle = (incoming, response) => incoming.pipe(response);
    const long = 'x'.repeat(1_000_000);
    expect((await send({ method: 'POST', body: 'short' })).text).toBe('short');
    expect(
      (await send({ method: 'PUT', body: long, headers: { 'transfer-encoding': 'chunked' } })).text,
    ).toBe(long);
    expect(
      (await send({ method: 'PUT', body: long, headers: { 'content-length': `${long.length}` } })).text,
    ).toBe(long);
  });

  test('streams: the first part of an answer arrives before the last is written', async () => {
    let finish = (): void => {};
    handle = (_, response) => {
      response.write('first');
      finish = () => response.end('last');
    };
    const answer = await head();
    const parts: string[] = [];
    answer.setEncoding('utf8').on('data', (part: string) => parts.push(part));
    await vi.waitFor(() => expect(parts).toEqual(['first']));
    finish();
    await vi.waitFor(() => expect(parts).toEqual(['first', 'last']));
  });

  test('tells the replica that the client has left', async () => {
    const left = vi.fn();
    handle = (_, response) => {
      response.once('close', left);
      response.write('begun');
    };
    const answer = await head();
    answer.destroy();
    await vi.waitFor(() => expect(left).toHaveBeenCalledOnce());
    expect(balancer.ready()).toHaveLength(3);
  });

  test('gives a draining replica no new request, and takes it back', async () => {
    replicas[1].ready = false;
    await vi.waitFor(() => expect(balancer.ready()).toEqual(['a', 'c']));
    const answers = await sendMany(6);
    expect(answers.filter(({ replica }) => replica === 'b')).toEqual([]);
    replicas[1].ready = true;
    await vi.waitFor(() => expect(balancer.ready()).toEqual(['a', 'b', 'c']));
  });

  test('completes the request of a replica that is removed meanwhile', async () => {
    let finish = (): void => {};
    handle = (_, response) => {
      response.write('begun, ');
      finish = () => response.end('completed');
    };
    const answer = await head();
    await balancer.setTargets(
      replicas.filter(({ target }) => target.name !== answer.headers.replica).map((one) => one.target),
    );
    expect(balancer.ready()).toHaveLength(2);
    finish();
    expect(await text(answer)).toBe('begun, completed');
  });
});

describe('when a replica dies, the balancer', () => {
  /** The replica that will be asked next dies with the next request in flight, which it has counted. */
  const dieOnce = (): void => {
    let died = false;
    handle = (incoming, response) => {
      if (died) return void response.end('ok');
      died = true;
      incoming.socket.destroy();
    };
  };
  const served = (): number => replicas.reduce((sum, replica) => sum + replica.served, 0);

  test('tries a GET in flight once on another', async () => {
    dieOnce();
    expect(await send()).toMatchObject({ status: 200, text: 'ok' });
    expect(served()).toBe(2);
  });

  test('answers 502 to a POST in flight and never sends it twice', async () => {
    dieOnce();
    expect(await send({ method: 'POST', body: 'order' })).toMatchObject({ status: 502 });
    expect(served()).toBe(1);
  });

  test('does not begin an answer twice', async () => {
    handle = (incoming, response) => {
      response.write('begun');
      setImmediate(() => incoming.socket.destroy());
    };
    await expect(send()).rejects.toThrow('aborted');
    expect(served()).toBe(1);
  });

  test('tries a POST that never reached it elsewhere, and asks the dead one no more', async () => {
    await balancer.close();
    balancer = await startBalancer({
      port: 0,
      targets: replicas.map(({ target }) => target),
      checkIntervalMs: 60_000,
    });
    await replicas[1].die();
    const answers = await sendMany(6, { method: 'POST', body: 'order' });
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 200, 200, 200]);
    expect(balancer.ready()).toEqual(['a', 'c']);
  });

  test('fails no request of steady traffic that is not in flight on it', async () => {
    await sendMany(9);
    await replicas[2].die();
    const answers = await sendMany(30);
    expect(answers.every(({ status }) => status === 200)).toBe(true);
  });

  test('answers 503 when none is left', async () => {
    await Promise.all(replicas.map((replica) => replica.die()));
    await vi.waitFor(() => expect(balancer.ready()).toEqual([]));
    expect(await send()).toMatchObject({ status: 503 });
  });
});
