import { Agent, request as httpRequest } from 'node:http';
import { connect, type Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  exchangeBytes,
  type FakeUpstream,
  type RawUpstream,
  startFakeUpstream,
  startRawUpstream,
} from '../../test/fake-upstream.ts';
import { type ProxyFront, type ProxyFrontOptions, startProxyFront } from '../../test/proxy-front.ts';

let upstream: FakeUpstream;
const fronts: ProxyFront[] = [];
const raws: RawUpstream[] = [];
const faults: unknown[] = [];
const remember = (fault: unknown): number => faults.push(fault);

beforeEach(async () => {
  upstream = await startFakeUpstream();
  process.on('uncaughtException', remember).on('unhandledRejection', remember);
});
afterEach(async () => {
  await Promise.all(fronts.splice(0).map((front) => front.close()));
  await Promise.all(raws.splice(0).map((raw) => raw.close()));
  await upstream.close();
  process.off('uncaughtException', remember).off('unhandledRejection', remember);
  expect(faults.splice(0)).toEqual([]);
});

async function start(options: Partial<ProxyFrontOptions> = {}): Promise<ProxyFront> {
  const front = await startProxyFront({ url: upstream.url, ...options });
  fronts.push(front);
  return front;
}

async function startRaw(onRequest: (socket: Socket, head: string) => void): Promise<RawUpstream> {
  const raw = await startRawUpstream(onRequest);
  raws.push(raw);
  return raw;
}

/** Numbers that look random and are the same in every run (mulberry32). */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

describe('S-111 request smuggling', () => {
  const opening = 'POST /api/eln/x HTTP/1.1\r\nHost: apps.example.com\r\n';
  const inner = 'GET /api/eln/smuggled HTTP/1.1\r\nHost: apps.example.com\r\n\r\n';
  const chunkedInner = `0\r\n\r\n${inner}`;
  const corpus: Readonly<Record<string, string>> = {
    'length and chunked': `${opening}Content-Length: ${chunkedInner.length}\r\nTransfer-Encoding: chunked\r\n\r\n${chunkedInner}`,
    'chunked and length': `${opening}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n${chunkedInner}`,
    'two lengths that differ': `${opening}Content-Length: 0\r\nContent-Length: ${inner.length}\r\n\r\n${inner}`,
    'two lengths that agree': `${opening}Content-Length: 0\r\nContent-Length: 0\r\n\r\n${inner}`,
    'a list of lengths': `${opening}Content-Length: 0, ${inner.length}\r\n\r\n${inner}`,
    'a signed length': `${opening}Content-Length: +0\r\n\r\n${inner}`,
    'a negative length': `${opening}Content-Length: -1\r\n\r\n${inner}`,
    'a hexadecimal length': `${opening}Content-Length: 0x5\r\n\r\n${inner}`,
    'an empty length': `${opening}Content-Length: \r\n\r\n${inner}`,
    'a length beyond 64 bits': `${opening}Content-Length: 18446744073709551616\r\n\r\n${inner}`,
    'a space before the colon': `${opening}Content-Length : ${inner.length}\r\n\r\n${inner}`,
    'chunked before a space and colon': `${opening}Transfer-Encoding : chunked\r\n\r\n${chunkedInner}`,
    'a folded header': `${opening}X-A: b\r\n Content-Length: ${inner.length}\r\n\r\n${inner}`,
    'a folded encoding': `${opening}Transfer-Encoding:\r\n chunked\r\n\r\n${chunkedInner}`,
    'a folded first header': `POST /api/eln/x HTTP/1.1\r\n Host: x\r\n\r\n${inner}`,
    'an unknown encoding': `${opening}Transfer-Encoding: xchunked\r\n\r\n${chunkedInner}`,
    identity: `${opening}Transfer-Encoding: identity\r\n\r\n${inner}`,
    'chunked twice': `${opening}Transfer-Encoding: chunked, chunked\r\n\r\n${chunkedInner}`,
    'chunked not last': `${opening}Transfer-Encoding: chunked, identity\r\n\r\n${chunkedInner}`,
    'two encodings': `${opening}Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n${chunkedInner}`,
    'a quoted encoding': `${opening}Transfer-Encoding: "chunked"\r\n\r\n${chunkedInner}`,
    'a vertical tab': `${opening}Transfer-Encoding: \x0bchunked\r\n\r\n${chunkedInner}`,
    'a tab in the name': `${opening}Transfer-Encoding\t: chunked\r\n\r\n${chunkedInner}`,
    'a NUL in a value': `${opening}X-A: b\x00c\r\n\r\n${inner}`,
    'a bare CR in a value': `${opening}X-A: b\rTransfer-Encoding: chunked\r\n\r\n${chunkedInner}`,
    'bare LF line ends': `${opening.replaceAll('\r', '')}Content-Length: 0\n\n`,
    'a bare LF before an encoding': `${opening}X-A: b\nTransfer-Encoding: chunked\r\n\r\n${chunkedInner}`,
    'a chunk size with 0x': `${opening}Transfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n${inner}`,
    'a chunk size beyond 64 bits': `${opening}Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\n\r\n${inner}`,
    'a negative chunk size': `${opening}Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n${inner}`,
    'a chunk without its end': `${opening}Transfer-Encoding: chunked\r\n\r\n1\r\nAB\r\n${inner}`,
    'a bare LF after a chunk size': `${opening}Transfer-Encoding: chunked\r\n\r\n1\nA\r\n0\r\n\r\n`,
    'a bare CR in a chunk extension': `${opening}Transfer-Encoding: chunked\r\n\r\n1;a\rb\r\nA\r\n0\r\n\r\n`,
    'a bare LF in a chunk extension': `${opening}Transfer-Encoding: chunked\r\n\r\n1;a\nb\r\nA\r\n0\r\n\r\n`,
    'a huge chunk extension': `${opening}Transfer-Encoding: chunked\r\n\r\n1;${'a'.repeat(40_000)}\r\nA\r\n0\r\n\r\n`,
    'no host': `POST /api/eln/x HTTP/1.1\r\nContent-Length: 0\r\n\r\n`,
    'two hosts': `${opening}Connection: close\r\nHost: evil.example\r\nContent-Length: 0\r\n\r\n`,
    'HTTP/0.9': 'GET /api/eln/x\r\n\r\n',
    'HTTP/1.0 and chunked': `${opening.replace('1.1', '1.0')}Transfer-Encoding: chunked\r\n\r\n${chunkedInner}`,
    'an HTTP/2 preface': 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
    CONNECT: 'CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example\r\n\r\n',
  };

  test.each(Object.entries(corpus))(
    'S-111 %s: refused and closed, or exactly one request',
    async (_name, bytes) => {
      const front = await start({ headersTimeoutOfServerMs: 300, requestTimeoutOfServerMs: 300 });
      const answer = await exchangeBytes(front.port, Buffer.from(bytes, 'latin1'));
      expect(upstream.seen.map(({ url }) => url).filter((url) => url !== '/x')).toEqual([]);
      expect(upstream.seen.length).toBeLessThanOrEqual(1);
      expect(answer.match(/^HTTP\/1\.[01] \d{3}/gm)?.length ?? 0).toBeLessThanOrEqual(1);
      if (upstream.seen.length === 0 && answer !== '') expect(answer).toMatch(/^HTTP\/1\.[01] (4\d\d|501)/);
    },
  );

  test('S-111 a valid chunked body with an extension is one request, framed anew', async () => {
    const front = await start();
    const body = '3;ext="a;b"\r\nabc\r\n0\r\nX-Trailer: forged\r\n\r\n';
    let arrived = '';
    upstream.answer = (request, response) => {
      void text(request).then((all) => {
        arrived = all;
        response.end('ok');
      });
    };
    const answer = await exchangeBytes(
      front.port,
      `${opening}Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n${body}`,
    );
    expect(answer).toMatch(/^HTTP\/1\.1 200 /);
    expect([arrived, upstream.seen.length]).toEqual(['abc', 1]);
    expect(JSON.stringify(upstream.seen)).not.toContain('forged');
  });

  test('S-111 garbage behind a request does not put an answer into the middle of the one under way', async () => {
    upstream.answer = (_request, response) => response.write('begin');
    const front = await start();
    const socket = connect(front.port, '127.0.0.1');
    socket.write('GET /api/eln/x HTTP/1.1\r\nHost: x\r\n\r\n');
    socket.once('data', () => socket.write('\x00 garbage\r\n\r\n'));
    expect((await text(socket)).match(/HTTP\/1\.1 \d/g)).toHaveLength(1);
  });
});

describe('S-113 response-queue poisoning', () => {
  const honest = 'HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhonest';
  const poison = 'HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison';
  const ask = async (front: ProxyFront): Promise<string> => (await fetch(`${front.url}/api/eln/x`)).text();

  test.each(['in the same packet', 'a moment later', 'in two parts'])(
    'S-113 a second answer %s is never the next person’s',
    async (when) => {
      const raw = await startRaw((socket) => {
        if (when === 'in the same packet') socket.write(honest + poison);
        else if (when === 'in two parts') {
          socket.write(honest + poison.slice(0, 10));
          setImmediate(() => socket.write(poison.slice(10)));
        } else {
          socket.write(honest);
          setTimeout(() => socket.write(poison), 5);
        }
      });
      const front = await start({ url: raw.url, connections: 1 });
      for (let turn = 0; turn < 20; turn += 1) {
        expect(await ask(front)).toBe('honest');
        if (when === 'a moment later') await new Promise((resolve) => setTimeout(resolve, 10));
      }
    },
  );

  test('S-113 the answer to an aborted request is never the next person’s', async () => {
    let turn = 0;
    const raw = await startRaw((socket) => {
      turn += 1;
      if (turn % 2 === 0) socket.write(honest);
      else setTimeout(() => socket.write(poison), 5);
    });
    const front = await start({ url: raw.url, connections: 1 });
    for (let round = 0; round < 20; round += 1) {
      const seen = turn;
      const leaving = new AbortController();
      const left = fetch(`${front.url}/api/eln/x`, { signal: leaving.signal }).catch(
        (error: Error) => error.name,
      );
      while (turn === seen) await new Promise(setImmediate);
      leaving.abort();
      expect(await left).toBe('AbortError');
      expect(await ask(front)).toBe('honest');
    }
  });

  test('S-113 a body behind an answer that has none is never the next person’s', async () => {
    const raw = await startRaw((socket, head) => {
      if (head.startsWith('HEAD'))
        socket.write(honest.replace('honest', 'HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison'));
      else socket.write(honest);
    });
    const front = await start({ url: raw.url, connections: 1 });
    for (let round = 0; round < 20; round += 1) {
      expect((await fetch(`${front.url}/api/eln/x`, { method: 'HEAD' })).status).toBe(200);
      expect(await ask(front)).toBe('honest');
    }
  });
});

describe('S-118 malformed input', () => {
  const malformed: readonly string[] = [
    '\x00\x01\x02\x03\r\n\r\n',
    'HTTP/1.1\r\n\r\n',
    'HTTP/1.1 abc OK\r\n\r\n',
    'HTTP/1.1 99 Low\r\n\r\n',
    'HTTP/1.1 999 High\r\nContent-Length: 0\r\n\r\n',
    'HTTP/1.1 1000 Long\r\n\r\n',
    'HTTP/9.9 200 OK\r\n\r\n',
    'HTTP/1.1 100 Continue\r\n\r\n',
    'HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n',
    'ICY 200 OK\r\n\r\n',
    'HTTP/1.1 200 OK\r\nNo colon\r\n\r\n',
    'HTTP/1.1 200 OK\r\n: empty\r\n\r\n',
    'HTTP/1.1 200 OK\r\nA\x00B: c\r\n\r\n',
    'HTTP/1.1 200 OK\r\nA: b\x00c\r\nContent-Length: 0\r\n\r\n',
    'HTTP/1.1 200 OK\r\nA: b\x01\x7fc\xff\r\nContent-Length: 0\r\n\r\n',
    'HTTP/1.1 200 \xff\x80\r\nContent-Length: 0\r\n\r\n',
    'HTTP/1.1 200 OK\r\n__proto__: x\r\n__proto__: y\r\nconstructor: z\r\nContent-Length: 0\r\n\r\n',
    'HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n',
    'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab',
    'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n',
    `HTTP/1.1 200 OK\r\nA: ${'x'.repeat(100_000)}\r\n\r\n`,
    `HTTP/1.1 200 OK\r\n${'A: b\r\n'.repeat(20_000)}\r\n`,
    'HTTP/1.1 302 Found\r\nLocation: http://[\r\nContent-Length: 0\r\n\r\n',
    'HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello',
    'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe',
    '',
  ];

  test('S-118 no malformed answer crashes the process, and the next request is served', async () => {
    let answer = '';
    const raw = await startRaw((socket) => socket.end(Buffer.from(answer, 'latin1')));
    const front = await start({ url: raw.url, headersTimeoutMs: 1000 });
    for (answer of malformed) {
      const got = await exchangeBytes(
        front.port,
        'GET /api/eln/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n',
      );
      expect(got, answer.slice(0, 80)).toMatch(/^HTTP\/1\.1 (200|204|302|502|504) /);
      expect(got).not.toContain('\x00');
    }
    answer = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';
    expect(await (await fetch(`${front.url}/api/eln/x`)).text()).toBe('ok');
  });

  test('S-118 20,000 fuzzed requests crash nothing', async () => {
    const front = await start({
      headersTimeoutOfServerMs: 200,
      requestTimeoutOfServerMs: 400,
      headersTimeoutMs: 300,
    });
    const random = seeded(118);
    const pick = <T>(values: readonly [T, ...T[]]): T =>
      values[Math.floor(random() * values.length)] ?? values[0];
    const noise = (lowest: number): string =>
      String.fromCharCode(...Array.from({ length: random() * 12 }, () => lowest + random() * (256 - lowest)));
    // Most of it passes the parser and must survive the rest; one in ten is for the parser itself.
    const fuzzed = (): string => {
      const isWild = random() < 0.1;
      const odd = (): string => (isWild ? noise(0) : noise(128));
      const method = pick(['GET', 'POST', 'HEAD', 'PUT', 'OPTIONS', 'DELETE', isWild ? noise(0) : 'GET']);
      const path = pick([
        '/api/eln/x',
        '/',
        '*',
        '/%',
        '/api/eln/%c3%28',
        'http://x/',
        `/api/eln/${isWild ? noise(0) : '..'}`,
      ]);
      const names = [
        'Authorization',
        'Cookie',
        'Connection',
        'Content-Type',
        'Expect',
        'Upgrade',
        'Range',
        '__proto__',
      ] as const;
      const values = [
        'x',
        'Bearer',
        '__Host-coatcheck=%',
        '\t',
        'keep-alive, x',
        '100-continue',
        '\u0080',
        ',,;="',
      ] as const;
      const lines = [`${method} ${path} HTTP/1.1`, 'Host: x'];
      for (let left = Math.floor(random() * 4); left > 0; left -= 1)
        lines.push(`${pick(names)}: ${pick(values)}${odd()}`);
      const bodies = [
        'Content-Length: 3\r\n\r\nabc',
        'Transfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\n\r\n',
        'X: y\r\n\r\n',
      ] as const;
      return `${lines.join('\r\n')}\r\n${isWild ? `${noise(0)}: ${noise(0)}\r\n\r\n` : pick(bodies)}`;
    };
    let sent = 0;
    let answers = 0;
    const worker = async (): Promise<void> => {
      while (sent < 20_000) {
        // Several on one connection, so that whatever the parser accepts is followed by another.
        const batch = Array.from({ length: 8 }, fuzzed).join('');
        sent += 8;
        const last = 'GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n';
        const answer = await exchangeBytes(front.port, Buffer.from(batch + last, 'latin1'));
        answers += answer.match(/HTTP\/1\.1 [1-5]\d\d/g)?.length ?? 0;
      }
    };
    await Promise.all(Array.from({ length: 32 }, worker));
    expect(sent).toBeGreaterThanOrEqual(20_000);
    expect((await fetch(`${front.url}/api/eln/x`)).status).toBe(200);
    expect(answers).toBeGreaterThan(5000);
    expect(upstream.seen.length).toBeGreaterThan(500);
  }, 120_000);
});

test('S-063 every call carries its own person’s token, under aborts, faults and reuse', async () => {
  const random = seeded(63);
  let mismatches = 0;
  let calls = 0;
  upstream.answer = (request, response) => {
    calls += 1;
    const person = request.url?.slice(1) ?? '';
    if (request.headers.authorization !== `Bearer token-of-${person}`) mismatches += 1;
    request.resume();
    const fate = random();
    if (fate < 0.02) request.socket.destroy();
    else if (fate < 0.05) setTimeout(() => response.end(person), 3);
    else response.end(person);
  };
  const front = await start({
    connections: 8,
    personal: (path) => ({ bearer: `token-of-${path.slice('/api/eln/'.length)}` }),
  });
  const agent = new Agent({ keepAlive: true, maxSockets: 32 });
  const ask = (person: string): Promise<string> =>
    new Promise((resolve) => {
      const request = httpRequest(`${front.url}/api/eln/${person}`, {
        agent,
        method: random() < 0.2 ? 'POST' : 'GET',
      });
      request.on('error', () => resolve(''));
      request.on('response', (answer) => {
        if (answer.statusCode !== 200) {
          answer.resume().on('close', () => resolve(''));
          return;
        }
        text(answer).then(resolve, () => resolve(''));
      });
      request.end(request.method === 'POST' ? person : undefined);
      if (random() < 0.05) setTimeout(() => request.destroy(), random() * 4);
    });
  let next = 0;
  let answered = 0;
  const worker = async (): Promise<void> => {
    while (next < 20_000) {
      const person = `person-${next}`;
      next += 1;
      const answer = await ask(person);
      if (answer !== '' && answer !== person) mismatches += 1;
      if (answer === person) answered += 1;
    }
  };
  await Promise.all(Array.from({ length: 32 }, worker));
  agent.destroy();
  expect(mismatches).toBe(0);
  expect(calls).toBeGreaterThan(15_000);
  expect(answered).toBeGreaterThan(15_000);
}, 120_000);
