import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Person } from './person.ts';
import { countCommands } from './redis-server.ts';
import { startWorld, type World } from './world.ts';

describe('one login, two providers, two tokens', () => {
  let world: World;
  beforeAll(async () => {
    world = await startWorld();
  });
  afterAll(() => world.close());

  test('a person signs in once and each upstream sees that person with its own token', async () => {
    const person = await world.signIn('ada');
    const session = await person.get(`${world.publicUrl}/auth/session`);
    expect(session.status).toBe(200);
    expect(session.json()).toMatchObject({
      user: { claims: { name: 'Ada Lovelace', email: 'ada@example.com' } },
      providers: { identity: { state: 'ok' }, notebook: { state: 'ok' } },
    });
    const ada = world.simulators.people.find(({ username }) => username === 'ada');
    const eln = await person.get(`${world.publicUrl}/api/eln/entities`);
    expect([eln.status, eln.headers['x-seen-subject']]).toEqual([200, ada?.subjects.notebook]);
    const systems = await person.get(`${world.publicUrl}/api/systems/employees/me`);
    expect([systems.status, systems.headers['x-seen-subject']]).toEqual([200, ada?.subjects.identity]);
  });

  test('store commands are counted: login 6, load 1, logout 3, anonymous 0, garbage 0', async () => {
    const { redis, publicUrl } = world;
    // Redis learns the scripts from the first login and logout; the second shows the usual count.
    const first = await world.signIn('rosalind');
    await first.request('POST', `${publicUrl}/auth/logout`);
    const person = new Person({ username: 'lise' });
    const names = async (work: () => Promise<unknown>): Promise<string[]> =>
      (await countCommands(redis.url, work)).map(([name = '']) => name);
    expect(await names(() => person.signIn(publicUrl, '/nowhere'))).toHaveLength(6);
    expect(await names(() => person.get(`${publicUrl}/auth/session`))).toHaveLength(1);
    expect(await names(() => new Person().get(`${publicUrl}/auth/session`))).toHaveLength(0);
    expect(
      await names(() =>
        new Person().get(`${publicUrl}/auth/session`, { headers: { cookie: '__Host-coatcheck=v1.x' } }),
      ),
    ).toHaveLength(0);
    expect(await names(() => person.request('POST', `${publicUrl}/auth/logout`))).toHaveLength(3);
  });
});
