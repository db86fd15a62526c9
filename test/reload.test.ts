import { afterAll, beforeAll, expect, test } from 'vitest';
import { parseConfig } from '../src/config.ts';
import { Person } from './person.ts';
import { type ConfigInput, startWorld, type World } from './world.ts';

let world: World;
beforeAll(async () => {
  world = await startWorld();
});
afterAll(() => world.close());

const reload = (changes: ConfigInput): void =>
  world.gateway.reload(parseConfig({ ...world.input, ...changes }, process.env));

/** The same, one level down. */
const within = (section: string, name: string, changes: ConfigInput): ConfigInput => {
  const all = world.input[section] as Record<string, ConfigInput>;
  return { [section]: { ...all, [name]: { ...all[name], ...changes } } };
};

const logged = (event: string): string[] => world.logLines.filter((line) => line.includes(`"${event}"`));

test('S-138 a client secret is changed without a restart', async () => {
  reload(within('providers', 'identity', { clientSecret: 'a secret that the provider does not know' }));
  expect((await new Person().signIn(world.publicUrl, '/auth/session')).status).toBeGreaterThanOrEqual(400);
  reload({});
  expect((await new Person().signIn(world.publicUrl, '/auth/session')).status).toBe(200);
  expect(logged('config.reloaded').at(-1)).toContain('"providers.identity.clientSecret"');
  expect(world.logLines.join('')).not.toContain('a secret that the provider');
});

test('S-138 an upstream header is changed without a restart', async () => {
  const person = await world.signIn();
  const call = async (): Promise<number> => (await person.get(`${world.publicUrl}/api/eln/entities`)).status;
  expect(await call()).toBe(200);
  const { headers } = (world.input.upstreams as Record<string, ConfigInput>).eln ?? {};
  const wrong = { ...(headers as ConfigInput), client_secret: 'canary-wrong' };
  reload(within('upstreams', 'eln', { headers: wrong }));
  expect(await call()).toBeGreaterThanOrEqual(400);
  reload({});
  expect(await call()).toBe(200);
});

test('S-138 a key that is taken away opens nothing any more, not from memory either', async () => {
  const person = await world.signIn();
  const status = async (): Promise<number> => (await person.get(`${world.publicUrl}/auth/session`)).status;
  expect(await status()).toBe(200);
  const other = { id: 'k9', secret: Buffer.alloc(32, 9).toString('base64') };
  reload({ keys: [other, ...(world.input.keys as ConfigInput[])] });
  expect(await status()).toBe(200);
  reload({ keys: [other] });
  expect(await status()).toBe(401);
  reload({});
  expect(await status()).toBe(200);
});

test('a moment from which sessions count is taken over; what needs a restart is named', async () => {
  const person = await world.signIn();
  reload({
    session: { validFrom: new Date().toISOString(), limit: 7 },
    limits: { requestBody: '1MiB' },
  });
  expect((await person.get(`${world.publicUrl}/auth/session`)).status).toBe(401);
  expect((await (await world.signIn()).get(`${world.publicUrl}/auth/session`)).status).toBe(200);
  const line = logged('config.needs_restart').at(-1) ?? '';
  for (const name of ['session.limit', 'limits.requestBody', 'limits.drainDelay'])
    expect(line).toContain(name);
});
