import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type FakeUpstream, startFakeUpstream } from '../fake-upstream.ts';
import { type Answer, Person, type RequestOptions } from '../person.ts';
import { throughProvider } from '../provider-pages.ts';
import { startWorld, type World, withoutNearCache } from '../world.ts';
import { openRawStore } from './raw-store.ts';

/** The promise: a store that is away is told within this time, measured by the browser's clock. */
const boundMs = 500;

const taken: Record<string, NodeJS.Signals> = {
  'is stopped (SIGSTOP): its sockets stay open and nothing answers': 'SIGSTOP',
  'is killed (SIGKILL): its port refuses': 'SIGKILL',
};

let world: World;
let app: FakeUpstream;
let ada: Person;

beforeAll(async () => {
  app = await startFakeUpstream();
  return () => app.close();
});
beforeEach(async () => {
  world = await startWorld({
    config: (input) => ({
      ...withoutNearCache(input),
      app: { url: app.url, public: ['/', '/assets/*'] },
    }),
  });
  ada = await world.signIn('ada');
});
afterEach(() => world.close());

/** Brings Redis back, and waits until the gateway has noticed. */
async function giveBack(signal: NodeJS.Signals): Promise<void> {
  if (signal === 'SIGSTOP') await world.redis.kill('SIGCONT');
  else await world.redis.restart();
  await expect
    .poll(async () => (await ada.get(`${world.publicUrl}/auth/session`)).status, { timeout: 10_000 })
    .not.toBe(503);
}

interface Timed {
  readonly answer: Answer;
  readonly tookMs: number;
}

async function timed(
  person: Person,
  path: string,
  { method = 'GET', ...options }: RequestOptions & { method?: string } = {},
): Promise<Timed> {
  const started = performance.now();
  const answer = await person.request(method, world.publicUrl + path, options);
  return { answer, tookMs: performance.now() - started };
}

const expectUnavailable = ({ answer, tookMs }: Timed): void => {
  expect([answer.status, answer.headers['retry-after']]).toEqual([503, '2']);
  expect(answer.headers).not.toHaveProperty('set-cookie');
  expect(answer.headers).not.toHaveProperty('clear-site-data');
  expect(answer.headers['cache-control']).toBe('no-store');
  expect(tookMs).toBeLessThan(boundMs);
};

describe.each(Object.entries(taken))('while Redis %s', (_what, signal) => {
  beforeEach(() => world.redis.kill(signal));

  test('a request with a cookie is told within 500 ms that sessions are away, not that it has none', async () => {
    for (const path of [
      '/auth/session',
      '/auth/verify',
      '/api/eln/echo',
      '/api/systems/employees/me',
      '/page',
    ]) {
      const outcome = await timed(ada, path);
      expectUnavailable(outcome);
      expect(outcome.answer.headers['content-type']).toBe('application/problem+json');
      expect(outcome.answer.json()).toMatchObject({ status: 503, code: 'store_unavailable' });
    }
    expect(ada.cookies('localhost').has('__Host-coatcheck')).toBe(true);
    expect(app.seen.filter(({ url }) => url === '/page')).toEqual([]);
  });

  test('a page navigation gets a page that says so', async () => {
    const outcome = await timed(ada, '/page', { kind: 'navigation' });
    expectUnavailable(outcome);
    expect(outcome.answer.headers['content-type']).toBe('text/html; charset=utf-8');
    expect(outcome.answer.body).toContain('You are not signed out');
    expect(outcome.answer.body).not.toContain('/auth/login');
  });

  test('who has no cookie is answered as ever, and at once', async () => {
    const anyone = new Person();
    await timed(anyone, '/assets/app.js');
    const expected: [path: string, status: number][] = [
      ['/auth/session', 401],
      ['/api/eln/echo', 401],
      ['/page', 401],
      ['/assets/app.js', 200],
      ['/auth/nothing', 404],
    ];
    for (const [path, status] of expected) {
      const { answer, tookMs } = await timed(anyone, path);
      expect(answer.status, path).toBe(status);
      expect(tookMs).toBeLessThan(200);
    }
    const garbage = await timed(anyone, '/auth/session', { headers: { cookie: '__Host-coatcheck=v1.x' } });
    expect([garbage.answer.status, garbage.tookMs < 200]).toEqual([401, true]);
    // A public path needs no session, so it works for those who have one as well.
    expect((await timed(ada, '/assets/app.js')).answer.status).toBe(200);
    expect((await new Person().get(`${world.adminUrl}/livez`)).status).toBe(200);
    expect((await new Person().get(`${world.adminUrl}/readyz`)).status).toBe(200);
  });

  test('a log-out does not pretend to have happened', async () => {
    expectUnavailable(await timed(ada, '/auth/logout', { method: 'POST' }));
    expect(ada.cookies('localhost').has('__Host-coatcheck')).toBe(true);
  });

  test('many requests at once are all told in time', async () => {
    const outcomes = await Promise.all(Array.from({ length: 50 }, () => timed(ada, '/auth/session')));
    for (const outcome of outcomes) expectUnavailable(outcome);
  });

  test('once it is back the same gateway goes on, with what the store has kept', async () => {
    expectUnavailable(await timed(ada, '/auth/session'));
    await giveBack(signal);
    const { status } = await ada.get(`${world.publicUrl}/auth/session`);
    // What SIGKILL has taken is gone: the cookie stands for nothing now, and that is an honest 401.
    expect(status).toBe(signal === 'SIGSTOP' ? 200 : 401);
    const again = await world.signIn('ada');
    expect((await again.get(`${world.publicUrl}/auth/session`)).status).toBe(200);
  });
});

test.each(Object.entries(taken))(
  'a login begun before Redis %s ends in 503 and leaves no session',
  async (_what, signal) => {
    const person = new Person({ username: 'lise' });
    const callback = await callbackOf(person);
    const before = await sessionKeys();
    await world.redis.kill(signal);
    const outcome = await timed(person, callback, { kind: 'navigation' });
    expectUnavailable(outcome);
    expectUnavailable(await timed(new Person(), '/auth/login', { kind: 'navigation' }));
    await giveBack(signal);
    expect(await sessionKeys()).toEqual(signal === 'SIGSTOP' ? before : []);
    expect(person.cookies('localhost').has('__Host-coatcheck')).toBe(false);
    await person.signIn(world.publicUrl, '/auth/session');
    expect((await person.get(`${world.publicUrl}/auth/session`)).status).toBe(200);
  },
);

/** Path of the last callback of a login, not yet called. */
async function callbackOf(person: Person): Promise<string> {
  let path = '/auth/login';
  for (let providers = 0; providers < 2; providers += 1) {
    const { headers } = await person.get(world.publicUrl + path, { kind: 'navigation' });
    const callback = await throughProvider(person, headers.location ?? '');
    path = callback.pathname + callback.search;
  }
  return path;
}

async function sessionKeys(): Promise<string[]> {
  const raw = await openRawStore(world.redis.url);
  const keys = await raw.keys('cc:s:*');
  raw.close();
  return keys.sort();
}
