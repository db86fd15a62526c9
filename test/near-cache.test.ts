import { createClient } from '@redis/client';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Answer } from './person.ts';
import { Person } from './person.ts';
import { countCommands } from './redis-server.ts';
import { startWorld, type World } from './world.ts';

let world: World;
let other: string;

beforeAll(async () => {
  world = await startWorld({
    config: (input) => ({
      ...input,
      outage: {
        routes: {
          '/api/systems/*': { policy: 'fail-open', staleFor: '60s' },
          '/auth/verify': { policy: 'fail-open', staleFor: '1s' },
        },
      },
    }),
  });
  other = (await world.startReplica()).address;
});
afterAll(() => world.close());

const cookieOf = (person: Person): string =>
  [...person.cookies('localhost')].map(([name, value]) => `${name}=${value}`).join('; ');

/** Asks the other replica with the same cookie. */
const askOther = (person: Person, path: string, method = 'GET'): Promise<Answer> =>
  new Person({ fetchMetadata: false }).request(method, `${other}${path}`, {
    headers: { cookie: cookieOf(person), 'x-coatcheck-csrf': '1' },
  });

const commandNames = async (work: () => Promise<unknown>): Promise<string[]> =>
  (await countCommands(world.redis.url, work)).map(([name = '']) => name).filter((name) => name !== 'PING');

describe('with the near cache', () => {
  test('the first load costs one command, every later one none', async () => {
    const person = await world.signIn('ada', '/nowhere');
    expect(await commandNames(() => person.get(`${world.publicUrl}/auth/session`))).toEqual(['GET']);
    expect(
      await commandNames(async () => {
        for (let round = 0; round < 20; round += 1) {
          expect((await person.get(`${world.publicUrl}/auth/session`)).status).toBe(200);
          expect((await person.get(`${world.publicUrl}/api/eln/entities`)).status).toBe(200);
        }
      }),
    ).toEqual([]);
  });

  test('S-051 S-052 who logs out at one replica is refused at the other, which had the session in memory', async () => {
    const person = await world.signIn('lise');
    expect((await askOther(person, '/auth/session')).status).toBe(200);
    const cookie = cookieOf(person);
    expect((await person.request('POST', `${world.publicUrl}/auth/logout`)).status).toBe(303);
    const deadline = performance.now() + 1000;
    const ask = () =>
      new Person({ fetchMetadata: false }).get(`${other}/auth/session`, { headers: { cookie } });
    let answer = await ask();
    while (answer.status === 200 && performance.now() < deadline) answer = await ask();
    expect(answer.status).toBe(401);
  });

  test('S-053 a load that was under way when the session ended keeps nothing', async () => {
    for (let round = 0; round < 25; round += 1) {
      const person = await world.signIn('gregor');
      const cookie = cookieOf(person);
      const loads = Array.from({ length: 10 }, () => askOther(person, '/auth/session'));
      await Promise.all([...loads, person.request('POST', `${world.publicUrl}/auth/logout`)]);
      const after = await new Person({ fetchMetadata: false }).get(`${world.publicUrl}/auth/session`, {
        headers: { cookie },
      });
      expect(after.status).toBe(401);
    }
  });

  test('FLUSHALL ends every session, in memory too', async () => {
    const person = await world.signIn('rosalind');
    expect((await person.get(`${world.publicUrl}/auth/session`)).status).toBe(200);
    const redis = createClient({ url: world.redis.url });
    await redis.connect();
    await redis.flushAll();
    redis.destroy();
    const deadline = performance.now() + 1000;
    let { status } = await person.get(`${world.publicUrl}/auth/session`);
    while (status === 200 && performance.now() < deadline)
      ({ status } = await person.get(`${world.publicUrl}/auth/session`));
    expect(status).toBe(401);
  });
});

describe('while the store is stopped', () => {
  test('each route goes by its own policy, no cookie is touched, and all is well afterwards', async () => {
    const person = await world.signIn('ada');
    const at = (path: string): Promise<Answer> => person.get(`${world.publicUrl}${path}`);
    expect((await at('/api/systems/employees/me')).headers['coatcheck-session']).toBeUndefined();
    await world.redis.kill('SIGSTOP');
    try {
      await untilStoreIsAway(world);
      const systems = await at('/api/systems/employees/me');
      expect([systems.status, systems.headers['coatcheck-session']]).toMatchObject([
        200,
        expect.stringMatching(/^stale; age=\d+$/),
      ]);
      const eln = await at('/api/eln/entities');
      expect([eln.status, eln.headers['retry-after'], eln.headers['set-cookie']]).toMatchObject([
        503,
        '2',
        undefined,
      ]);
      expect((await askOther(person, '/api/systems/employees/me')).status).toBe(503); // never verified there
    } finally {
      await world.redis.kill('SIGCONT');
    }
    await expect.poll(async () => (await at('/api/eln/entities')).status, { timeout: 5000 }).toBe(200);
    expect((await at('/api/systems/employees/me')).headers['coatcheck-session']).toBeUndefined();
  });
});

/** Until the connection has been given up: before that, memory still answers, rightly. */
async function untilStoreIsAway({ adminUrl }: World): Promise<void> {
  const ready = async (): Promise<string> =>
    ((await (await fetch(`${adminUrl}/readyz`)).json()) as { store: string }).store;
  await expect.poll(ready, { timeout: 5000 }).toBe('disconnected');
}
