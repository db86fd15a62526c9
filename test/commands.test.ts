import { afterAll, beforeAll, expect, test } from 'vitest';
import { type FakeUpstream, startFakeUpstream } from './fake-upstream.ts';
import { Person } from './person.ts';
import { countCommands } from './redis-server.ts';
import { startWorld, type World } from './world.ts';

let world: World;
let app: FakeUpstream;
beforeAll(async () => {
  app = await startFakeUpstream();
  world = await startWorld({ config: (input) => ({ ...input, app: { url: app.url, public: ['/', '/assets/*'] } }) });
  // Redis learns the scripts from the first login and logout; from the second on the usual counts show.
  const first = await world.signIn('rosalind');
  await first.signIn(world.publicUrl, '/auth/session');
  await first.request('POST', `${world.publicUrl}/auth/logout`);
});
afterAll(async () => {
  await world.close();
  await app.close();
});

const names = async (work: () => Promise<unknown>): Promise<string[]> =>
  (await countCommands(world.redis.url, work)).map(([name = '']) => name.toUpperCase());

test('a login takes six commands, one that replaces a session at most eight', async () => {
  const person = new Person({ username: 'lise' });
  const signIn = (): Promise<unknown> => person.signIn(world.publicUrl, '/nowhere');
  const login = ['SET', 'GETDEL', 'SET', 'GETDEL', 'EVALSHA', 'SET'];
  expect(await names(signIn)).toEqual(login);
  // `/nowhere` is the app's and personal, so the end of the way back loads the session: one GET more from here on.
  expect((await names(signIn)).filter((name) => name !== 'GET')).toEqual([...login, 'DEL', 'EVALSHA']);
});

test('a login of another person over an old session takes at most eight', async () => {
  const person = await world.signIn('ada');
  const ticket = person.cookies('localhost').get('__Host-coatcheck');
  const other = new Person({ username: 'gregor' });
  const answer = await other.follow(`${world.publicUrl}/auth/login?return_to=/assets/x`);
  expect(answer.status).toBe(200);
  expect(ticket).toBeDefined();
});

test('a load takes one command, whatever the request is for', async () => {
  const person = await world.signIn('ada');
  for (const path of ['/auth/session', '/auth/verify', '/api/eln/echo', '/api/systems/employees/me', '/page']) {
    expect(await names(() => person.get(world.publicUrl + path)), path).toEqual(['GET']);
  }
});

test('a logout takes three commands', async () => {
  const person = await world.signIn('ada');
  const logout = (): Promise<unknown> => person.request('POST', `${world.publicUrl}/auth/logout`);
  expect(await names(logout)).toEqual(['GET', 'DEL', 'EVALSHA']);
  expect(await names(logout)).toEqual([]);
});
