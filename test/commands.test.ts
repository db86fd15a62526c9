import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type FakeUpstream, startFakeUpstream } from './fake-upstream.ts';
import { Person } from './person.ts';
import { throughProvider } from './provider-pages.ts';
import { countCommands } from './redis-server.ts';
import { startWorld, type World, withoutNearCache } from './world.ts';

let world: World;
let app: FakeUpstream;
beforeAll(async () => {
  app = await startFakeUpstream();
  world = await startWorld({
    config: (input) => ({ ...withoutNearCache(input), app: { url: app.url, public: ['/assets/*'] } }),
  });
  // Redis learns the scripts from the first of everything; from the second on the usual counts show.
  const first = await world.signIn('rosalind');
  await first.request('POST', `${world.publicUrl}/auth/logout`);
});
afterAll(async () => {
  await world.close();
  await app.close();
});

/** A public path: the page at the end of the way must not be counted as part of the login. */
const returnTo = '/assets/app.js';

const commandsOf = async (work: () => Promise<unknown>): Promise<string[]> =>
  (await countCommands(world.redis.url, work)).map(([name = '']) => name.toUpperCase());

describe('store commands of one operation', () => {
  test('a login: eight; one over an old session: ten', async () => {
    const person = new Person({ username: 'lise' });
    const signIn = (): Promise<unknown> => person.signIn(world.publicUrl, returnTo);
    const login = ['SET', 'GETDEL', 'EVALSHA', 'SET', 'GETDEL', 'EVALSHA', 'SET', 'EVALSHA'];
    expect(await commandsOf(signIn)).toEqual(login);
    expect(await commandsOf(signIn)).toEqual([...login, 'DEL', 'EVALSHA']);
  });

  test("a login of another person over somebody's session: ten", async () => {
    const jar = await world.signIn('ada', returnTo);
    // The same browser, and somebody else at the keyboard: the providers have forgotten the first.
    const next = new Person({ username: 'gregor' });
    const ticket = jar.cookies('localhost').get('__Host-coatcheck');
    const login = await commandsOf(() => signInWith(next, `__Host-coatcheck=${ticket}`));
    expect(login).toHaveLength(10);
    expect((await jar.get(`${world.publicUrl}/auth/session`)).status).toBe(401);
  });

  test.each(['/auth/session', '/auth/verify', '/api/eln/echo', '/api/systems/employees/me', '/page'])(
    'a load for %s: one',
    async (path) => {
      const person = await world.signIn('ada', returnTo);
      expect(await commandsOf(() => person.get(world.publicUrl + path))).toEqual(['GET']);
    },
  );

  test('a logout: three; a second one: none, for the cookie is gone', async () => {
    const person = await world.signIn('ada', returnTo);
    const logOut = (): Promise<unknown> => person.request('POST', `${world.publicUrl}/auth/logout`);
    expect(await commandsOf(logOut)).toEqual(['GET', 'DEL', 'EVALSHA']);
    expect(await commandsOf(logOut)).toEqual([]);
  });

  test('no cookie, a garbage cookie, a public path, a path that is nobody’s: none', async () => {
    const signedIn = await world.signIn('ada', returnTo);
    const headers = { cookie: '__Host-coatcheck=v1.x' };
    const commands = await commandsOf(async () => {
      for (const path of ['/auth/session', '/auth/verify', '/api/eln/echo', '/page', '/auth/nothing']) {
        expect((await new Person().get(world.publicUrl + path)).status).toBeGreaterThanOrEqual(401);
        expect((await new Person().get(world.publicUrl + path, { headers })).status).toBeGreaterThanOrEqual(
          401,
        );
      }
      expect((await signedIn.get(`${world.publicUrl}/assets/app.js`)).status).toBe(200);
      expect((await signedIn.get(`${world.publicUrl}/auth/nothing`)).status).toBe(404);
      const callback = `${world.publicUrl}/auth/callback/identity?code=x&state=${'y'.repeat(43)}`;
      expect((await new Person().get(callback, { kind: 'navigation' })).status).toBe(400);
    });
    expect(commands).toEqual([]);
  });
});

test('a session in steady use is extended once per interval by the whole fleet', async () => {
  let aheadMs = 0;
  const now = (): number => Date.now() + aheadMs;
  const replicas = [await world.startReplica({ now }), await world.startReplica({ now })];
  const person = await world.signIn('ada', returnTo);
  const cookie = `__Host-coatcheck=${person.cookies('localhost').get('__Host-coatcheck')}`;
  const interval = 180_000; // a twentieth of the idle timeout of an hour
  const intervals = 5;
  const commands = await commandsOf(async () => {
    for (let step = 0; step < intervals * 10; step += 1) {
      aheadMs += interval / 10;
      for (const { address } of replicas) {
        expect((await person.get(`${address}/auth/session`, { headers: { cookie } })).status).toBe(200);
      }
    }
  });
  const extensions = commands.filter((name) => name.startsWith('EVAL')).length;
  expect(commands.filter((name) => name === 'GET')).toHaveLength(intervals * 10 * 2);
  expect(extensions).toBeGreaterThanOrEqual(intervals - 1);
  expect(extensions).toBeLessThanOrEqual(intervals + 1); // the first may need its script sent again
});

/** A sign-in in which the browser has an older session's cookie beside its login cookie. */
async function signInWith(person: Person, oldCookie: string): Promise<void> {
  const { publicUrl } = world;
  const start = await person.get(`${publicUrl}/auth/login?return_to=${returnTo}`, { kind: 'navigation' });
  let location = start.headers.location ?? '';
  while (!location.endsWith(returnTo)) {
    const callback = (await throughProvider(person, location)).href;
    const login = [...person.cookies('localhost')]
      .map((pair) => pair.join('='))
      .find((pair) => pair.includes('-login-'));
    const headers = { cookie: `${oldCookie}; ${login}` };
    const answer = await person.get(callback, { kind: 'navigation', headers });
    expect(answer.status).toBe(303);
    location = answer.headers.location ?? '';
  }
}
