import type { IncomingMessage } from 'node:http';
import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import { answerJson, type HttpServer, startHttpServer } from '../sim/http-server.ts';
import { Person } from './person.ts';

let here: HttpServer;
let there: HttpServer;
let setCookies: string[] = [];
let requests: IncomingMessage[] = [];

/** `/to?<address>` redirects there, `/loop` to itself; anything else answers with the cookies asked for. */
beforeAll(async () => {
  [here, there] = [await startHttpServer(), await startHttpServer()];
  for (const server of [here, there]) {
    server.serve((request, response) => {
      requests.push(request);
      const [path, target] = (request.url ?? '').split('?');
      if (path === '/to') response.writeHead(302, { location: target }).end();
      else if (path === '/loop') response.writeHead(302, { location: '/loop' }).end();
      else
        answerJson(response.setHeader('set-cookie', setCookies), 200, {
          cookie: request.headers.cookie ?? '',
        });
    });
  }
});
beforeEach(() => {
  setCookies = [];
  requests = [];
});
afterAll(async () => {
  await here.close();
  await there.close();
});

const cookiesAfter = async (lines: string[], path = '/'): Promise<Record<string, string>> => {
  const person = new Person();
  setCookies = lines;
  await person.get(`${here.url}${path}`);
  return Object.fromEntries(person.cookies('127.0.0.1'));
};

test.each([
  ['a host cookie over loopback http', '__Host-a=1; Secure; Path=/', { '__Host-a': '1' }],
  ['a host cookie without Secure', '__Host-a=1; Path=/', {}],
  ['a host cookie with another path', '__Host-a=1; Secure; Path=/x', {}],
  ['a host cookie without a path', '__Host-a=1; Secure', {}],
  ['a host cookie with a domain', '__host-a=1; Secure; Path=/; Domain=127.0.0.1', {}],
  ['a cookie for another domain', 'a=1; Domain=example.com', {}],
  ['a cookie that is too large', `a=${'x'.repeat(4096)}`, {}],
  ['Max-Age that wins over Expires', 'a=1; Max-Age=60; Expires=Thu, 01 Jan 1970 00:00:00 GMT', { a: '1' }],
  ['an expired cookie', 'a=1; Expires=Thu, 01 Jan 1970 00:00:00 GMT', {}],
])('the jar decides on %s', async (_what, line, expected) => {
  expect(await cookiesAfter([line])).toEqual(expected);
});

test('cookies are shared by the ports of a host, kept apart by path, and deleted by Max-Age=0', async () => {
  const person = new Person();
  setCookies = ['a=1; Path=/', 'b=2; Path=/deep', 'c=3; Path=/'];
  await person.get(`${here.url}/`);
  setCookies = ['c=; Path=/; Max-Age=0'];
  await person.get(`${here.url}/`);
  setCookies = [];
  const sent = async (path: string) => (await person.get(`${there.url}${path}`)).json();
  expect(await sent('/')).toEqual({ cookie: 'a=1' });
  expect(await sent('/deep/x')).toEqual({ cookie: 'b=2; a=1' });
  expect(await sent('/deeper')).toEqual({ cookie: 'a=1' });
});

test('a cookie is gone when its Max-Age has passed', async () => {
  const person = new Person();
  setCookies = ['a=1; Max-Age=60'];
  await person.get(here.url);
  vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 60_001 });
  try {
    expect(person.cookies('127.0.0.1').size).toBe(0);
  } finally {
    vi.useRealTimers();
  }
});

test('fetch metadata and Origin are those of a fetch, a navigation, or none at all', async () => {
  await new Person().request('POST', here.url, { body: '{}' });
  await new Person().follow(`${here.url}/to?${there.url}/`);
  await new Person({ fetchMetadata: false }).get(here.url, { headers: { accept: null } });
  const [post, navigation, redirected, plain] = requests.map((request) => request.headers);
  expect(post).toMatchObject({ 'sec-fetch-mode': 'cors', 'sec-fetch-site': 'same-origin', origin: here.url });
  expect(navigation).toMatchObject({
    'sec-fetch-mode': 'navigate',
    'sec-fetch-dest': 'document',
    'sec-fetch-site': 'none',
  });
  expect(redirected).toMatchObject({ 'sec-fetch-site': 'none' });
  expect(Object.keys(plain ?? {}).filter((name) => /^(sec-|accept$|origin$)/.test(name))).toEqual([]);
});

test('redirects end after twenty', async () => {
  await expect(new Person().follow(`${here.url}/loop`)).rejects.toThrow('redirects');
});
