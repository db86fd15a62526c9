import { afterAll, beforeAll, describe, expect, test } from 'vitest';
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
});
