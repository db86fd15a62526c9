import { once } from 'node:events';
import { request as httpRequest, type IncomingMessage, type RequestOptions } from 'node:http';
import { connect } from 'node:net';
import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import {
  exchangeBytes,
  type FakeUpstream,
  startFakeUpstream,
  startRawUpstream,
} from '../../test/fake-upstream.ts';
import { type ProxyFront, type ProxyFrontOptions, startProxyFront } from '../../test/proxy-front.ts';
import { CoatcheckError } from '../errors.ts';
import { createProxy } from './proxy.ts';

const fronts: ProxyFront[] = [];
let upstream: FakeUpstream;
beforeEach(async () => {
  upstream = await startFakeUpstream();
});
afterEach(async () => {
  await Promise.all(fronts.splice(0).map((front) => front.close()));
  await upstream.close();
});

async function start(options: Partial<ProxyFrontOptions> = {}): Promise<ProxyFront> {
  const front = await startProxyFront({ url: upstream.url, ...options });
  fronts.push(front);
  return front;
}

/** Asks by Node's own client, which neither follows redirects nor hides anything. */
function ask(
  front: ProxyFront,
  options: RequestOptions = {},
  body?: Readable | string,
): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const request = httpRequest(`${front.url}/api/eln/x`, { agent: false, ...options }, resolve);
    request.on('error', reject);
    if (body instanceof Readable) body.pipe(request);
    else request.end(body);
  });
}

const kinds = (front: ProxyFront): string[] =>
  front.outcomes.map((outcome) => (CoatcheckError.is(outcome) ? outcome.code : outcome.kind));

test('a body is streamed both ways', async () => {
  upstream.answer = (request, response) => request.pipe(response);
  const front = await start();
  const answer = await ask(front, { method: 'POST' }, 'abc'.repeat(1000));
  expect(await text(answer)).toBe('abc'.repeat(1000));
  expect(upstream.seen[0]?.headers['content-length']).toBe('3000');
  expect(kinds(front)).toEqual(['answered']);
});

test('the head of an answer is passed on before its body exists', async () => {
  upstream.answer = (_request, response) => response.flushHeaders();
  const answer = await ask(await start());
  expect(answer.statusCode).toBe(200);
  answer.destroy();
});

test('HEAD, 204 and 304 have no body and keep their headers', async () => {
  upstream.answer = (request, response) => {
    const status = Number(request.url?.slice(1)) || 200;
    response.writeHead(status, { etag: '"1"', ...(status === 204 ? {} : { 'content-length': '5' }) });
    response.end(request.method === 'HEAD' || status !== 200 ? undefined : '12345');
  };
  const front = await start();
  for (const [method, path, status] of [
    ['HEAD', '/api/eln/x', 200],
    ['GET', '/api/eln/204', 204],
    ['GET', '/api/eln/304', 304],
    ['HEAD', '/api/eln/304', 304],
    ['GET', '/api/eln/x', 200],
  ] as const) {
    const answer = await ask(front, { method, path });
    expect([answer.statusCode, answer.headers.etag]).toEqual([status, '"1"']);
    if (status !== 204) expect(answer.headers['content-length']).toBe('5');
    expect(await text(answer)).toBe(method === 'GET' && status === 200 ? '12345' : '');
  }
});

test('interim answers are left out', async () => {
  const raw = await startRawUpstream((socket) =>
    socket.write(
      'HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok',
    ),
  );
  const answer = await ask(await start({ url: raw.url }));
  expect([answer.statusCode, answer.headers.link, await text(answer)]).toEqual([200, undefined, 'ok']);
  await raw.close();
});

test('S-100 a method that is not configured is refused and the allowed ones are named', async () => {
  const front = await start({ methods: ['GET', 'POST'] });
  const answer = await ask(front, { method: 'DELETE' });
  expect([answer.statusCode, answer.headers.allow]).toEqual([405, 'GET, POST']);
  const overridden = await ask(front, { method: 'POST', headers: { 'x-http-method-override': 'DELETE' } });
  expect(overridden.statusCode).toBe(200);
  expect(JSON.stringify(upstream.seen)).not.toContain('DELETE');
});

test('a GET with a body is refused', async () => {
  const front = await start();
  const answer = await ask(front, { method: 'GET', headers: { 'content-length': '2' } }, '{}');
  expect(answer.statusCode).toBe(400);
  expect(upstream.seen).toEqual([]);
});

test.each([
  ['announced', { 'content-length': '3000000' }],
  ['chunked', { 'transfer-encoding': 'chunked' }],
])('S-117 a body over the limit is answered with 413, %s', async (_name, headers) => {
  const arrivedBytes = vi.fn<(bytes: number) => void>();
  upstream.answer = (request) => {
    request.on('data', (chunk: Buffer) => arrivedBytes(chunk.length));
    request.on('error', () => undefined);
  };
  const front = await start({ maxRequestBodyBytes: 2_000_000 });
  const answer = await ask(front, { method: 'POST', headers }, 'x'.repeat(3_000_000));
  expect(answer.statusCode).toBe(413);
  expect(kinds(front)).toEqual(['request_too_large']);
  expect(arrivedBytes.mock.calls.reduce((sum, [bytes]) => sum + bytes, 0)).toBeLessThanOrEqual(2_000_000);
});

test('S-117 a body without end is cut off, not read for ever', async () => {
  const front = await start({ maxRequestBodyBytes: 100_000 });
  upstream.answer = () => undefined;
  const socket = connect(front.port, '127.0.0.1').resume();
  socket.on('error', () => undefined);
  socket.write('POST /api/eln/x HTTP/1.1\r\nHost: x\r\nContent-Length: 50000000000\r\n\r\n');
  let sentBytes = 0;
  const endless = new Readable({
    read() {
      sentBytes += 10_000;
      this.push(Buffer.alloc(10_000));
    },
  });
  endless.pipe(socket);
  await new Promise((resolve) => socket.on('close', resolve));
  endless.destroy();
  expect(kinds(front)).toEqual(['request_too_large']);
  expect(sentBytes).toBeLessThan(20_000_000);
});

test('S-117 while a request waits for a connection, its limit holds and its client may leave', async () => {
  let finish = (): void => undefined;
  upstream.answer = (_request, response) => {
    finish = () => response.end('ok');
  };
  const front = await start({ connections: 1, maxRequestBodyBytes: 1000 });
  const first = ask(front);
  await vi.waitFor(() => expect(upstream.seen).toHaveLength(1));
  const headers = { 'transfer-encoding': 'chunked' };
  expect((await ask(front, { method: 'POST', headers }, 'x'.repeat(5000))).statusCode).toBe(413);
  const leaving = connect(front.port, '127.0.0.1');
  leaving.write('GET /api/eln/left HTTP/1.1\r\nHost: x\r\n\r\n');
  await once(leaving, 'connect');
  // A round trip of another client: by then the request has arrived.
  expect((await ask(front, { path: '/elsewhere' })).statusCode).toBe(404);
  leaving.destroy();
  await vi.waitFor(() => expect(kinds(front)).toContain('client-gone'));
  finish();
  expect(await text(await first)).toBe('ok');
  const last = ask(front, { path: '/api/eln/last' });
  await vi.waitFor(() => expect(upstream.seen.length).toBeGreaterThan(1));
  finish();
  await last;
  expect(upstream.seen.map(({ url }) => url)).toEqual(['/x', '/last']);
});

test('an answer that comes before the end of the request is delivered', async () => {
  upstream.answer = (_request, response) => response.writeHead(403).end('no');
  const front = await start();
  const answer = await ask(front, { method: 'POST' }, 'x'.repeat(900_000));
  expect([answer.statusCode, await text(answer)]).toEqual([403, 'no']);
});

test('S-117 the client’s leaving aborts the upstream’s request at once', async () => {
  let closed: Promise<unknown> = Promise.resolve();
  upstream.answer = (request, response) => {
    closed = once(request.socket, 'close');
    response.write('begin');
  };
  const front = await start();
  const answer = await ask(front);
  await once(answer, 'data');
  answer.destroy();
  await closed;
  await vi.waitFor(() => expect(kinds(front)).toEqual(['client-gone']));
});

test('S-117 the client’s leaving before any answer aborts the upstream’s request as well', async () => {
  const asked = new Promise<{ closed: Promise<unknown> }>((resolve) => {
    upstream.answer = (request) => resolve({ closed: once(request.socket, 'close') });
  });
  const front = await start();
  const socket = connect(front.port, '127.0.0.1');
  socket.write('GET /api/eln/x HTTP/1.1\r\nHost: x\r\n\r\n');
  const { closed } = await asked;
  socket.destroy();
  await closed;
  await vi.waitFor(() => expect(kinds(front)).toEqual(['client-gone']));
});

test.each(['Content-Length: 100', 'Transfer-Encoding: chunked'])(
  'an upstream that breaks off midway never looks like a success (%s)',
  async (framing) => {
    const raw = await startRawUpstream((socket) => {
      socket.write(`HTTP/1.1 200 OK\r\n${framing}\r\n\r\n5\r\nhello\r\n`);
      setImmediate(() => socket.destroy());
    });
    const front = await start({ url: raw.url });
    const answer = await ask(front);
    await expect(text(answer)).rejects.toThrow('aborted');
    expect(kinds(front)).toEqual(['cut']);
    await raw.close();
  },
);

test('an upstream that is not there is upstream_unavailable, one that goes before answering too', async () => {
  const raw = await startRawUpstream((socket) => socket.destroy());
  const front = await start({ url: raw.url });
  expect((await ask(front)).statusCode).toBe(502);
  await raw.close();
  expect((await ask(front)).statusCode).toBe(502);
  expect((await ask(front, { method: 'POST' }, 'x'.repeat(500_000))).statusCode).toBe(502);
  expect(kinds(front)).toEqual(Array(3).fill('upstream_unavailable'));
});

test('S-117 an upstream without an answer is upstream_timeout, and the wait for a connection counts', async () => {
  upstream.answer = () => undefined;
  const front = await start({ headersTimeoutMs: 150, connections: 1 });
  const startedAt = performance.now();
  const answers = await Promise.all([ask(front), ask(front), ask(front, { method: 'POST' }, 'body')]);
  expect(answers.map(({ statusCode }) => statusCode)).toEqual([504, 504, 504]);
  expect(performance.now() - startedAt).toBeLessThan(1500);
});

test('S-117 an upstream that falls silent midway is cut', async () => {
  upstream.answer = (_request, response) => response.write('begin');
  const front = await start({ bodyTimeoutMs: 150 });
  await expect(text(await ask(front))).rejects.toThrow('aborted');
  expect(kinds(front)).toEqual(['cut']);
});

test('S-117 a client that stops sending its body gets 408 and frees its connection to the upstream', async () => {
  upstream.answer = (request, response) => request.resume().on('end', () => response.end('ok'));
  const front = await start({ headersTimeoutMs: 150, connections: 1 });
  const head = 'POST /api/eln/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 100\r\n\r\nabc';
  expect(await exchangeBytes(front.port, head)).toMatch(/^HTTP\/1\.1 408 /);
  expect((await ask(front)).statusCode).toBe(200);
});

test('S-117 a client that does not finish its head is answered with 408 and closed', async () => {
  const front = await start({ headersTimeoutOfServerMs: 100 });
  expect(await exchangeBytes(front.port, 'GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ')).toMatch(
    /^HTTP\/1\.1 408 /,
  );
});

test('S-117 a client that does not read is cut, and the upstream never had to wait in our memory', async () => {
  const chunk = Buffer.alloc(65_536);
  let sentBytes = 0;
  upstream.answer = (_request, response) => {
    const more = (): void => {
      while (sentBytes < 200_000_000 && response.write(chunk)) sentBytes += chunk.length;
    };
    response.on('drain', more);
    more();
  };
  const front = await start({ bodyTimeoutMs: 300 });
  const before = process.memoryUsage().rss;
  const socket = connect(front.port, '127.0.0.1').pause();
  socket.on('error', () => undefined);
  socket.write('GET /api/eln/x HTTP/1.1\r\nHost: x\r\n\r\n');
  await vi.waitFor(() => expect(kinds(front)).toEqual(['cut']), { timeout: 5000 });
  socket.destroy();
  expect(sentBytes).toBeLessThan(60_000_000);
  expect(process.memoryUsage().rss - before).toBeLessThan(80_000_000);
});

test('S-117 a slow reader gets all 200 MB while our memory stays flat', async () => {
  const chunk = Buffer.alloc(65_536, 'x');
  upstream.answer = (_request, response) => {
    let left = 200 * 16;
    Readable.from(
      (function* () {
        while (left-- > 0) yield chunk;
      })(),
    ).pipe(response);
  };
  const front = await start();
  const before = process.memoryUsage().rss;
  let peak = 0;
  let bytes = 0;
  const answer = await ask(front);
  for await (const part of answer as AsyncIterable<Buffer>) {
    bytes += part.length;
    await new Promise(setImmediate);
    peak = Math.max(peak, process.memoryUsage.rss() - before);
  }
  expect(bytes).toBe(200 * 16 * 65_536);
  expect(peak).toBeLessThan(120_000_000);
}, 60_000);

test('S-117 an upload waits for a slow upstream instead of piling up here', async () => {
  let sentBytes = 0;
  const source = new Readable({
    highWaterMark: 65_536,
    read() {
      sentBytes += 65_536;
      this.push(sentBytes > 100_000_000 ? null : Buffer.alloc(65_536));
    },
  });
  let arrived: IncomingMessage | undefined;
  upstream.answer = (request, response) => {
    arrived = request;
    request.pause();
    request.on('end', () => response.end('done'));
  };
  const front = await start({ maxRequestBodyBytes: 200_000_000 });
  const answer = ask(front, { method: 'POST' }, source);
  await vi.waitFor(() => expect(arrived).toBeDefined());
  let last = -1;
  await vi.waitFor(
    () => {
      const stopped = sentBytes === last;
      last = sentBytes;
      expect(stopped).toBe(true);
    },
    { interval: 100, timeout: 5000 },
  );
  expect(sentBytes).toBeLessThan(30_000_000);
  arrived?.resume();
  expect(await text(await answer)).toBe('done');
  expect(sentBytes).toBeGreaterThan(100_000_000);
}, 60_000);

test('closing waits for what is in flight and takes nothing new', async () => {
  let finish = (): void => undefined;
  upstream.answer = (_request, response) => {
    response.write('begin');
    finish = () => response.end('end');
  };
  const front = await start();
  const answer = await ask(front);
  const closing = front.proxy.close();
  expect((await ask(front)).statusCode).toBe(503);
  finish();
  expect(await text(answer)).toBe('beginend');
  await closing;
  expect(kinds(front).sort()).toEqual(['answered', 'draining']);
});

test('an upstream url that says more than origin and path is refused', () => {
  const options = {
    kind: 'api',
    routePrefix: '/api/x',
    publicUrl: 'https://apps.example.com',
    methods: [],
    headers: {},
  } as const;
  const limits = { connections: 1, headersTimeoutMs: 1, bodyTimeoutMs: 1, maxRequestBodyBytes: 1 };
  for (const url of ['ftp://x', 'http://a:b@x', 'http://x/?y', 'http://x/#y', 'x', '']) {
    expect(() => createProxy({ ...options, ...limits, url }), url).toThrow(CoatcheckError);
  }
});
