import { afterAll, beforeAll, expect, test } from 'vitest';
import { startWorld, type World, withoutNearCache } from '../../test/world.ts';

let world: World;

beforeAll(async () => {
  world = await startWorld({
    config: (input) => ({
      ...withoutNearCache(input),
      outage: { routes: { '/news': { policy: 'anonymous' } } },
    }),
  });
});
afterAll(() => world.close());

interface Readiness {
  readonly ready: boolean;
  readonly store: string;
  readonly storeSince: string;
  readonly outage?: unknown;
}

async function readiness(): Promise<Readiness> {
  const answer = await fetch(`${world.adminUrl}/readyz`);
  expect(answer.status).toBe(200);
  return (await answer.json()) as Readiness;
}

const linesOf = (event: string): { readonly durationMs?: number }[] =>
  world.logLines
    .map((line) => JSON.parse(line) as { readonly event: string; readonly durationMs?: number })
    .filter((line) => line.event === event);

test('a replica without its store stays ready, and says since when and what holds meanwhile', async () => {
  const person = await world.signIn();
  expect(await readiness()).toMatchObject({ ready: true, store: 'connected' });
  const stoppedAtMs = Date.now();
  await world.redis.kill('SIGSTOP');
  await person.get(`${world.publicUrl}/auth/session`);
  await expect.poll(async () => (await readiness()).store, { timeout: 5000 }).toBe('disconnected');
  const away = await readiness();
  expect(away.ready).toBe(true);
  expect(Date.parse(away.storeSince)).toBeGreaterThanOrEqual(stoppedAtMs);
  expect(away.outage).toEqual({
    default: { policy: 'fail-closed' },
    routes: { '/news': { policy: 'anonymous' } },
  });
  await world.redis.kill('SIGCONT');
  await expect.poll(async () => (await readiness()).store, { timeout: 5000 }).toBe('connected');
  expect(await readiness()).not.toHaveProperty('outage');
});

test('each change of the store is one log line, whoever asks in between', async () => {
  const person = await world.signIn();
  const before = { lines: linesOf('store.unavailable').length, ends: linesOf('store.available').length };
  await world.redis.kill('SIGSTOP');
  const asking = Array.from({ length: 5 }, async () => {
    for (let asked = 0; asked < 200; asked += 1) await person.get(`${world.publicUrl}/auth/session`);
  });
  await Promise.all(asking);
  await expect.poll(async () => (await readiness()).store, { timeout: 5000 }).toBe('disconnected');
  await world.redis.kill('SIGCONT');
  await expect.poll(async () => (await readiness()).store, { timeout: 5000 }).toBe('connected');
  expect(linesOf('store.unavailable')).toHaveLength(before.lines + 1);
  expect(linesOf('store.available')).toHaveLength(before.ends + 1);
  expect(linesOf('store.available').at(-1)?.durationMs).toBeGreaterThan(0);
  const metrics = await (await fetch(`${world.adminUrl}/metrics`)).text();
  expect(metrics).toContain('\ncoatcheck_store_up 1\n');
});
