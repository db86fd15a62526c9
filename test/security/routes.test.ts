import { afterAll, beforeAll, expect, test } from 'vitest';
import { userIndex } from '../../src/session/session.ts';
import { Person } from '../person.ts';
import { startWorld, type World } from '../world.ts';

/** A world whose notebook tokens live a minute and cannot be refreshed, and a replica whose clock is two minutes ahead. */
let world: World;
let later: string;

beforeAll(async () => {
  world = await startWorld({ simulators: { notebook: { accessTokenTtlSeconds: 60, refreshTokens: false } } });
  later = (await world.startReplica({ now: () => Date.now() + 120_000 })).address;
});
afterAll(() => world.close());

test('S-015 equal subjects and equal e-mails at two issuers are two people; a person may change e-mail', () => {
  const here = { issuer: 'https://a.example.com', subject: '1' };
  expect(userIndex(here)).not.toBe(userIndex({ issuer: 'https://b.example.com', subject: '1' }));
  expect(userIndex({ ...here, ...{ claims: new Map([['email', 'old@example.com']]) } })).toBe(
    userIndex(here),
  );
});

test("S-109 an upstream whose provider's token has expired gets no call, and never another provider's token", async () => {
  const person = await world.signIn('ada');
  const cookie = [...person.cookies('localhost')].map(([name, value]) => `${name}=${value}`).join('; ');
  const ask = (path: string, headers: Record<string, string> = {}) =>
    new Person({ fetchMetadata: false }).get(`${later}${path}`, { headers: { cookie, ...headers } });

  const { faults } = world.simulators;
  const facadeCalls = (): number =>
    Object.keys(faults.requests).filter((name) => name.startsWith('facade')).length;
  const before = facadeCalls();
  const notebook = await ask('/api/eln/entities');
  expect([notebook.status, notebook.json()]).toMatchObject([
    401,
    { code: 'token_unavailable', provider: 'notebook', login: '/auth/login?provider=notebook' },
  ]);
  expect(facadeCalls()).toBe(before);
  const systems = await ask('/api/systems/employees/me');
  expect([systems.status, systems.headers['x-seen-audience']]).toEqual([
    200,
    world.simulators.systems.audience,
  ]);

  const page = await ask('/api/eln/entities', { accept: 'text/html' });
  expect([page.status, page.headers.location]).toEqual([
    303,
    '/auth/login?provider=notebook&return_to=%2Fapi%2Feln%2Fentities',
  ]);
});

test('S-104 a health checker by name of its user agent is nobody special', async () => {
  for (const agent of ['kube-probe/1.31', 'ELB-HealthChecker/2.0', 'GoogleHC/1.0']) {
    const answer = await new Person().get(`${world.publicUrl}/api/eln/entities`, {
      headers: { 'user-agent': agent },
    });
    expect(answer.status).toBe(401);
  }
});

test('S-122 methods that a route does not know are refused, and so are TRACE and CONNECT', async () => {
  const person = await world.signIn('lise');
  const status = async (method: string, path: string): Promise<number> =>
    (await person.request(method, `${world.publicUrl}${path}`)).status;
  expect(await status('POST', '/auth/login')).toBe(404);
  expect(await status('GET', '/auth/logout')).toBe(404);
  expect(await status('OPTIONS', '/api/eln/entities')).toBe(405);
  expect(await status('TRACE', '/api/eln/entities')).toBe(405);
  expect((await person.get(`${world.publicUrl}/auth/session`)).status).toBe(200);
});

test('S-114 S-058 another Host header leads nowhere else: there is one origin, and routes go by path', async () => {
  const person = await world.signIn('gregor');
  const answer = await person.get(`${world.publicUrl}/auth/login`, {
    headers: { host: 'evil.example.com' },
    kind: 'navigation',
  });
  const callback = new URL(answer.headers.location as string).searchParams.get('redirect_uri');
  expect(callback).toBe(`${world.publicUrl}/auth/callback/identity`);
});
