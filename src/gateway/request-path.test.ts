import { afterAll, beforeAll, expect, test } from 'vitest';
import { exchangeBytes, type FakeUpstream, startFakeUpstream } from '../../test/fake-upstream.ts';
import { type ProxyFront, startProxyFront } from '../../test/proxy-front.ts';
import { matchesPublicPath, parseRequestTarget, pathBelow } from './request-path.ts';

/** Each is tried below the route and stands for one way in which two servers have read a path differently. */
// biome-ignore format: a table
const traversals: readonly string[] = [
  '/api/eln/..', '/api/eln/../x', '/api/eln/./x', '/api/eln/x/..', '/api/eln/x/../../..', '/api/eln/.',
  '/api/eln/...', '/api/eln/.../x', '/api/eln/%2e%2e/x', '/api/eln/%2E%2E/x', '/api/eln/.%2e/x',
  '/api/eln/%2e./x', '/api/eln/%2e/x', '/api/eln/%252e%252e/x', '/api/eln/%25252e/x', '/api/eln/..%2fx',
  '/api/eln/..%2Fx', '/api/eln/%2e%2e%2fx', '/api/eln/..%252fx', '/api/eln/..%5cx', '/api/eln/..%5Cx',
  '/api/eln/..\\x', '/api/eln\\..\\x', '/api/eln/%5c%5cx', '/api/eln/..%255cx', '/api/eln/..;/x',
  '/api/eln/..;a=b/x', '/api/eln;/x', '/api;x/eln/y', '/api/eln/..%3b/x', '/api/eln/x;jsessionid=1',
  '/api/eln//x', '//api/eln/x', '/api//eln/x', '/api/eln///', '//evil.example/api/eln',
  '/api/eln/%2f%2fevil.example', '/api/eln/%2Fx', '/api/eln%2f..%2fx', '/api%2feln/x', '/api/eln/x%00',
  '/api/eln/%00/x', '/api/eln/..%00/x', '/api/eln/x%0d%0aHost:%20evil', '/api/eln/x%0a', '/api/eln/x%09',
  '/api/eln/x%7f', '/api/eln/x#y', '/api/eln/%23/../x', '/api/eln/x%23', '/%61pi/eln/x', '/api/%65ln/x',
  '/api/eln/%78', '/api/eln/%7Ex', '/api/eln/%', '/api/eln/%2', '/api/eln/%zz', '/api/eln/%u002e%u002e/x',
  '/api/eln/%c0%ae%c0%ae/x', '/api/eln/%c0%af', '/api/eln/%e0%80%af', '/api/eln/%f0%80%80%af',
  '/api/eln/%ff', '/api/eln/%ed%a0%80', '/api/eln/%ef%bc%8e%ef%bc%8e/x', '/api/eln/%ef%bc%8fx',
  '/api/eln/%e2%80%a5/x', '/api/eln/..%20/x', '/api/eln/%20../x', '/api/eln/..%e3%80%80/x', '/api/eln/%20',
  '/api/eln/é', '/api/eln/..é', 'http://evil.example/api/eln/x', 'https://evil.example', '*', 'api/eln/x',
  '/api/eln/{x}', '/api/eln/<x>', '/api/eln/x?y#z',
];

/** Not refused, but not below the route either. */
// biome-ignore format: a table
const strangers: readonly string[] = [
  '/api/elnx', '/api/eln.evil', '/API/eln/x', '/api/ELN/x', '/', '/api', '/@evil/x',
];

/** Passed on byte for byte. */
// biome-ignore format: a table
const accepted: readonly string[] = [
  '/api/eln/x', '/api/eln/x/', '/api/eln/', '/api/eln/entities/journal:0a1b-2c', '/api/eln/a@b,c~d',
  '/api/eln/a%20b', '/api/eln/%C3%A9t%C3%A9', '/api/eln/%E6%97%A5', '/api/eln/@evil.example/x',
  '/api/eln/x?y=../..&z=//%2f%00', '/api/eln/x?', '/api/eln/x?a?b=;c', '/api/eln/a..b', '/api/eln/..a',
  '/api/eln/.well-known', '/api/eln/a[1]', '/api/eln/%40%3A%2B',
];

let upstream: FakeUpstream;
let front: ProxyFront;
beforeAll(async () => {
  upstream = await startFakeUpstream('/facade/v1');
  front = await startProxyFront({ url: upstream.url, personal: () => ({ bearer: 'token-of-ada' }) });
});
afterAll(async () => {
  await front.close();
  await upstream.close();
});

const ask = (target: string, header = ''): Promise<string> =>
  exchangeBytes(
    front.port,
    Buffer.from(
      `GET ${target} HTTP/1.1\r\nHost: apps.example.com\r\n${header}Connection: close\r\n\r\n`,
      'utf8',
    ),
  );

test('S-101 a corpus of at least 60 traversals is refused by the one parse', () => {
  expect(traversals.length).toBeGreaterThanOrEqual(60);
  expect(traversals.filter((target) => parseRequestTarget(target).kind === 'ok')).toEqual([]);
});

test('S-100 S-101 S-102 no traversal reaches the upstream through a real server', async () => {
  upstream.seen.length = 0;
  for (const target of [...traversals, ...strangers]) {
    expect(await ask(target), target).toMatch(/^HTTP\/1\.1 (400|404) /);
  }
  expect(upstream.seen).toEqual([]);
});

test('S-101 what is accepted reaches the upstream byte for byte, below its configured path', async () => {
  for (const target of accepted) {
    upstream.seen.length = 0;
    expect(await ask(target), target).toMatch(/^HTTP\/1\.1 200 /);
    expect(upstream.seen.map(({ url }) => url)).toEqual([target.replace('/api/eln', '/facade/v1')]);
  }
});

test('S-100 host and forwarding headers do not choose the upstream', async () => {
  upstream.seen.length = 0;
  await ask(
    '/api/eln/x',
    'X-Forwarded-Host: evil.example\r\nX-Original-URL: /admin\r\nX-Rewrite-URL: /admin\r\n',
  );
  expect(upstream.seen).toHaveLength(1);
  expect(upstream.seen[0]?.url).toBe('/facade/v1/x');
  expect(`http://${upstream.seen[0]?.headers.host}/facade/v1`).toBe(upstream.url);
});

test('the root of a route is the root of its upstream', async () => {
  upstream.seen.length = 0;
  await ask('/api/eln');
  await ask('/api/eln?x=1');
  expect(upstream.seen.map(({ url }) => url)).toEqual(['/facade/v1', '/facade/v1?x=1']);
});

test('a route prefix ends at a segment', () => {
  expect(pathBelow('/api/eln/x', '/api/eln')).toBe('/x');
  expect(pathBelow('/api/eln', '/api/eln')).toBe('');
  expect(pathBelow('/api/elnx', '/api/eln')).toBeUndefined();
  expect(pathBelow('/x', '')).toBe('/x');
});

test('S-103 public paths are matched on the path alone, anchored, at segment ends', () => {
  const patterns = ['/', '/public', '/assets/*'];
  expect(
    ['/', '/public', '/assets/', '/assets/a/b.js'].filter((path) => !matchesPublicPath(path, patterns)),
  ).toEqual([]);
  const others = [
    '/private',
    '/public/x',
    '/publicx',
    '/assets',
    '/assetsx/a',
    '/x/assets/a',
    '/x/public',
    '',
    '/Public',
  ];
  expect(others.filter((path) => matchesPublicPath(path, patterns))).toEqual([]);
});

test('S-103 a query cannot make a path public', () => {
  for (const target of ['/private?/public', '/private?x=/assets/a', '/private?/assets/*']) {
    const parsed = parseRequestTarget(target);
    expect(parsed.kind === 'ok' && matchesPublicPath(parsed.path, ['/public', '/assets/*'])).toBe(false);
  }
});

test('S-119 100 kB of anything is read in linear time', () => {
  const hostile = ['/', '/.', '%2e', '%25', '%E2%80%A5', '/..', ';', '%', '/ ', '/%20', 'a', '?', '\u0000'];
  const startedAt = performance.now();
  for (const part of hostile) {
    const text = `/${part.repeat(100_000 / part.length)}`;
    parseRequestTarget(text);
    // The parts within the length limit go through every rule.
    for (let length = 0; length < 8000; length += 2000) parseRequestTarget(text.slice(0, 8192 - length));
    matchesPublicPath(text, ['/assets/*', '/']);
  }
  expect(performance.now() - startedAt).toBeLessThan(hostile.length * 50);
});

test('a target over 8 KiB is refused, one of 8 KiB is not', () => {
  expect(parseRequestTarget(`/${'a'.repeat(8191)}`).kind).toBe('ok');
  expect(parseRequestTarget(`/${'a'.repeat(8192)}`).kind).toBe('refused');
});
