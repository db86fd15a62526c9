import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Gateway } from '../../src/gateway/server.ts';
import { exchangeBytes, type FakeUpstream, startFakeUpstream } from '../fake-upstream.ts';
import { type Answer, Person } from '../person.ts';
import { startWorld, type World } from '../world.ts';
import { createSideCoatcheck, mintCookie, startSideGateway } from './side-gateway.ts';

let world: World;
let app: FakeUpstream;
let ada: Person;
/** The same gateway as one would run it: its public address is https. */
let secure: Gateway;
let cookie: string;

beforeAll(async () => {
  app = await startFakeUpstream();
  world = await startWorld({
    config: (input) => ({
      ...input,
      app: { url: app.url, public: ['/', '/assets/*'], claims: ['name'] },
      upstreams: { ...(input.upstreams as object), mirror: { url: app.url, provider: 'identity' } },
    }),
  });
  ada = await world.signIn('ada');
  secure = await startSideGateway(world, { publicUrl: 'https://apps.example.com' });
  const side = await createSideCoatcheck(world);
  cookie = await mintCookie(side, 'ada');
  await side.close();
});
afterAll(async () => {
  await secure.close();
  await world.close();
  await app.close();
});

describe('S-088 a request that changes something', () => {
  const methods = ['POST', 'PUT', 'PATCH', 'DELETE'];
  const types = [
    null,
    'text/plain',
    'application/x-www-form-urlencoded',
    'multipart/form-data; boundary=x',
    'application/json',
  ];
  const origins = (own: string): (string | null)[] => [
    null,
    own,
    'null',
    'https://evil.example',
    'http://sibling.localhost',
  ];
  const sites = [null, 'cross-site', 'same-site', 'none'];

  test('S-088 of every kind is refused unless it proves that it is ours, and the upstream sees none of it', async () => {
    app.seen.length = 0;
    let refused = 0;
    const { publicUrl } = world;
    for (const method of methods) {
      for (const type of types) {
        for (const origin of origins(publicUrl)) {
          for (const site of sites) {
            const isOurs =
              origin === publicUrl
                ? site !== 'cross-site' && site !== 'same-site'
                : origin === null && site === 'none';
            if (isOurs) continue;
            const headers = {
              'content-type': type,
              origin,
              'sec-fetch-site': site,
              'sec-fetch-mode': null,
              'sec-fetch-dest': null,
            };
            const path = refused % 2 ? '/api/mirror/entities' : '/page';
            const answer = await ada.request(method, publicUrl + path, { headers, body: 'a=b' });
            expect(
              [answer.status, answer.json<{ code: string }>().code],
              JSON.stringify([method, headers]),
            ).toEqual([403, 'origin_refused']);
            refused += 1;
          }
        }
      }
    }
    expect(refused).toBe(4 * 5 * (5 * 4 - 3));
    expect(app.seen).toEqual([]);
  });

  test('S-088 passes with the header that no form can send, where the browser says nothing', async () => {
    const silent = { origin: null, 'sec-fetch-site': null, 'sec-fetch-mode': null, 'sec-fetch-dest': null };
    for (const path of ['/api/mirror/entities', '/page']) {
      const headers = { ...silent, 'x-coatcheck-csrf': '1' };
      expect((await ada.request('POST', world.publicUrl + path, { headers, body: 'a=b' })).status).toBe(200);
      const foreign = { ...headers, 'sec-fetch-site': 'same-site' };
      expect((await ada.request('POST', world.publicUrl + path, { headers: foreign })).status).toBe(403);
    }
  });

  test('S-088 no preflight is ever granted', async () => {
    for (const path of ['/api/mirror/entities', '/page', '/auth/logout', '/auth/session']) {
      const headers = {
        origin: 'https://evil.example',
        'access-control-request-method': 'POST',
        'access-control-request-headers': 'x-coatcheck-csrf',
        'sec-fetch-site': 'cross-site',
      };
      const answer = await ada.request('OPTIONS', world.publicUrl + path, { headers });
      expect(answer.status, path).toBeGreaterThanOrEqual(400);
      expect(Object.keys(answer.headers).filter((name) => name.startsWith('access-control'))).toEqual([]);
    }
  });
});

describe('S-095 what every answer of the gateway itself carries', () => {
  const person = new Person();
  const page = { kind: 'navigation' } as const;
  const ask: Record<string, () => Promise<Answer>> = {
    'sign-in': () => person.get(`${secure.address}/auth/login`, page),
    'sign-in, refused': () => person.get(`${secure.address}/auth/login?return_to=//evil.example`, page),
    callback: () => person.get(`${secure.address}/auth/callback/identity?code=x&state=y`, page),
    session: () => person.get(`${secure.address}/auth/session`, { headers: { cookie } }),
    verify: () => person.get(`${secure.address}/auth/verify`, { headers: { cookie } }),
    'no session': () => person.get(`${secure.address}/auth/session`),
    'no session, page': () => person.get(`${secure.address}/page`, page),
    'nothing there': () => person.get(`${secure.address}/auth/nothing`),
    'nothing there, page': () => person.get(`${secure.address}/auth/nothing`, page),
    'from another site': () =>
      person.request('POST', `${secure.address}/auth/logout`, {
        headers: { 'sec-fetch-site': 'cross-site' },
      }),
    'bad path': () => person.get(`${secure.address}/a//b`),
    'log-out': () => person.request('POST', `${secure.address}/auth/logout`, { headers: { origin: null } }),
  };

  test.each(Object.entries(ask))('S-095 S-123 %s', async (_name, answerOf) => {
    const { headers } = await answerOf();
    expect(headers).toMatchObject({
      'strict-transport-security': 'max-age=31536000; includeSubDomains',
      'cache-control': 'no-store',
      'cross-origin-resource-policy': 'same-origin',
      'referrer-policy': 'no-referrer',
      'x-content-type-options': 'nosniff',
      'x-request-id': expect.stringMatching(/^[\w-]{8,64}$/),
    });
    const policy = headers['content-security-policy'];
    for (const part of [
      "default-src 'none'",
      "base-uri 'none'",
      "form-action 'none'",
      "frame-ancestors 'none'",
    ]) {
      expect(policy).toContain(part);
    }
    expect(policy).not.toMatch(/unsafe|\*|http/);
    expect(Object.keys(headers).filter((name) => /^(server|x-powered-by|via)$/.test(name))).toEqual([]);
  });

  test('S-095 so does a refusal of the router, before any hook has run', async () => {
    const { status, headers } = await person.get(`${secure.address}/%zz`);
    expect(status).toBe(400);
    expect(headers).toHaveProperty('x-request-id');
    expect(headers).toHaveProperty('strict-transport-security');
  });

  test('S-095 a malformed request gets an answer that is not cached and says nothing of us', async () => {
    const port = Number(new URL(secure.address).port);
    for (const bytes of [
      'GARBAGE\r\n\r\n',
      'GET / HTTP/1.1\r\nhost: a\r\nx y: z\r\n\r\n',
      `GET / HTTP/1.1\r\nhost: a\r\nx: ${'y'.repeat(20_000)}\r\n\r\n`,
    ]) {
      const answer = await exchangeBytes(port, bytes);
      expect(answer).toMatch(/^HTTP\/1\.1 4\d\d /);
      expect(answer).toMatch(/^cache-control: no-store\r$/m);
      expect(answer).not.toMatch(/node|fastify|server:|HPE_|127\.0\.0\.1| at /i);
    }
  });

  test('HSTS is for https alone', async () => {
    expect((await ada.get(`${world.publicUrl}/auth/session`)).headers).not.toHaveProperty(
      'strict-transport-security',
    );
  });
});

test('S-097 answers of APIs and of ours are JSON that no other site can embed or run', async () => {
  app.answer = (seen, response) => {
    seen.resume();
    response.setHeader('access-control-allow-origin', '*');
    response.setHeader('content-type', 'text/html');
    response.end('<script>alert(1)</script>');
  };
  const { publicUrl } = world;
  const session = await ada.get(`${publicUrl}/auth/session?callback=alert&jsonp=alert`);
  expect([session.headers['content-type'], session.body.startsWith('{"user"')]).toEqual([
    'application/json',
    true,
  ]);
  for (const answer of [
    session,
    await ada.get(`${publicUrl}/api/mirror/x`),
    await new Person().get(`${publicUrl}/api/mirror/x`),
  ]) {
    expect(answer.headers).toMatchObject({
      'cross-origin-resource-policy': 'same-origin',
      'x-content-type-options': 'nosniff',
    });
    expect(answer.headers).not.toHaveProperty('access-control-allow-origin');
  }
  expect((await ada.get(`${publicUrl}/api/mirror/x`)).headers['content-security-policy']).toContain(
    'sandbox',
  );
});

test('S-123 probes and metrics are not on the public listener', async () => {
  const bare = await startSideGateway(world, { app: undefined });
  for (const path of [
    '/livez',
    '/readyz',
    '/metrics',
    '/admin',
    '/healthz',
    '/debug',
    '/.env',
    '/.git/config',
  ]) {
    expect((await new Person().get(bare.address + path)).status, path).toBe(404);
    expect((await new Person().get(world.publicUrl + path)).status, path).toBe(401);
  }
  for (const path of ['/livez', '/readyz', '/metrics']) {
    expect((await new Person().get(world.adminUrl + path)).status).toBe(200);
  }
  await bare.close();
});
