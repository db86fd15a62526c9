import { request as httpRequest } from 'node:http';
import { Agent } from 'node:http';
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
  const start0 = 'POST /api/eln/x HTTP/1.1\r\nHost: apps.example.com\r\n';
  const inner = 'GET /api/eln/smuggled HTTP/1.1\r\nHost: apps.example.com\r\n\r\n';
  const chunkedInner = `0\r\n\r\n${inner}`;
  const corpus: Readonly<Record<string, string>> = {
    'length and chunked': `${start0}Content-Length: ${chunkedInner.length}\r\nTransfer-Encoding: chunked\r\n\r\n${chunkedInner}`,
    'chunked and length': `${start0}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n${chunkedInner}`,
    'two lengths that differ': `${start0}Content-Length: 0\r\nContent-Length: ${inner.length}\r\n\r\n${inner}`,
    'two lengths that agree': `${start0}Content-Length: 0\r\nContent-Length: 0\r\n\r\n${inner}`,
    'a list of lengths': `${start0}Content-Length: 0, ${inner.length}\r\n\r\n${inner}`,
    'a signed length': `${start0}Content-Length: +0\r\n\r\n${inner}`,
    'a negative length': `${start0}Content-Length: -1\r\n\r\n${inner}`,
    'a hexadecimal length': `${start0}Content-Length: 0x5\r\n\r\n${inner}`,
    'an empty length': `${start0}Content-Length: \r\n\r\n${inner}`,
    'a length beyond 64 bits': `${start0}Content-Length: 18446744073709551616\r\n\r\n${inner}`,
    'a space before the colon': `${start0}Content-Length : ${inner.length}\r\n\r\n${inner}`,
    'chunked before a space and colon': `${start0}Transfer-Encoding : chunked\r\n\r\n${chunkedInner}`,
    'a folded header': `${start0}X-A: b\r\n Content-Length: ${inner.length}\r\n\r\n${inner}`,
    'a folded encoding': `${start0}Transfer-Encoding:\r\n chunked\r\n\r\n${chunkedInner}`,
    'a folded first header': `POST /api/eln/x HTTP/1.1\r\n Host: x\r\n\r\n${inner}`,
    'an unknown encoding': `${start0}Transfer-Encoding: xchunked\r\n\r\n${chunkedInner}`,
    'identity': `${start0}Transfer-Encoding: identity\r\n\r\n${inner}`,
    'chunked twice': `${start0}Transfer-Encoding: chunked, chunked\r\n\r\n${chunkedInner}`,
    'chunked not last': `${start0}Transfer-Encoding: chunked, identity\r\n\r\n${chunkedInner}`,
    'two encodings': `${start0}Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n${chunkedInner}`,
    'a quoted encoding': `${start0}Transfer-Encoding: "chunked"\r\n\r\n${chunkedInner}`,
    'a vertical tab': `${start0}Transfer-Encoding: \x0bchunked\r\n\r\n${chunkedInner}`,
    'a tab in the name': `${start0}Transfer-Encoding\t: chunked\r\n\r\n${chunkedInner}`,
    'a NUL in a value': `${start0}X-A: b\x00c\r\n\r\n${inner}`,
    'a bare CR in a value': `${start0}X-A: b\rTransfer-Encoding: chunked\r\n\r\n${chunkedInner}`,
    'bare LF line ends': `${start0.replaceAll('\r', '')}Content-Length: 0\n\n`,
    'a bare LF before an encoding': `${start0}X-A: b\nTransfer-Encoding: chunked\r\n\r\n${chunkedInner}`,
    'a chunk size with 0x': `${start0}Transfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n${inner}`,
    'a chunk size beyond 64 bits': `${start0}Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\n\r\n${inner}`,
    'a negative chunk size': `${start0}Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n${inner}`,
    'a chunk without its end': `${start0}Transfer-Encoding: chunked\r\n\r\n1\r\nAB\r\n${inner}`,
    'a bare LF after a chunk size': `${start0}Transfer-Encoding: chunked\r\n\r\n1\nA\r\n0\r\n\r\n`,
    'a bare CR in a chunk extension': `${start0}Transfer-Encoding: chunked\r\n\r\n1;a\rb\r\nA\r\n0\r\n\r\n`,
    'a bare LF in a chunk extension': `${start0}Transfer-Encoding: chunked\r\n\r\n1;a\nb\r\nA\r\n0\r\n\r\n`,
    'a huge chunk extension': `${start0}Transfer-Encoding: chunked\r\n\r\n1;${'a'.repeat(40_000)}\r\nA\r\n0\r\n\r\n`,
    'no host': `POST /api/eln/x HTTP/1.1\r\nContent-Length: 0\r\n\r\n${inner}`,
    'two hosts': `${start0}Host: evil.example\r\nContent-Length: 0\r\n\r\n`,
    'HTTP/0.9': 'GET /api/eln/x\r\n\r\n',
    'HTTP/1.0 and chunked': `${start0.replace('1.1', '1.0')}Transfer-Encoding: chunked\r\n\r\n${chunkedInner}`,
    'an HTTP/2 preface': 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
    'CONNECT': 'CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example\r\n\r\n',
  };

  test.each(Object.entries(corpus))('S-111 %s: refused and closed, or exactly one request', async (_name, bytes) => {
    const front = await start({ headersTimeoutOfServerMs: 300, requestTimeoutOfServerMs: 300 });
    const answer = await exchangeBytes(front.port, Buffer.from(bytes, 'latin1'));
    expect(upstream.seen.map(({ url }) => url).filter((url) => url !== '/x')).toEqual([]);
    expect(upstream.seen.length).toBeLessThanOrEqual(1);
    expect(answer.match(/^HTTP\/1\.[01] \d{3}/gm)?.length ?? 0).toBeLessThanOrEqual(1);
    if (upstream.seen.length === 0 && answer !== '') expect(answer).toMatch(/^HTTP\/1\.[01] (4\d\d|501)/);
  });

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
    const answer = await exchangeBytes(front.port, `${start0}Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n${body}`);
    expect(answer).toMatch(/^HTTP\/1\.1 200 /);
    expect([arrived, upstream.seen.length]).toEqual(['abc', 1]);
    expect(JSON.stringify(upstream.seen)).not.toContain('forged');
  });

  test('S-111 garbage behind a request does not get an answer into the middle of the one under way', async () => {
    upstream.answer = (_request, response) => {
      response.write('a'.repeat(100));
    };
    const front = await start();
    const answer = await exchangeBytes(front.port, 'GET /api/eln/x HTTP/1.1\r\nHost: x\r\n\r\n');
    expect(answer.match(/HTTP\/1\.1/g)).toHaveLength(1);
  });
});
