import { setTimeout as delay } from 'node:timers/promises';
import { Pool } from 'undici';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Gateway } from '../src/gateway/server.ts';
import { redisScripts } from '../src/session/redis-scripts.ts';
import { Person } from './person.ts';
import { seededRandom } from './random.ts';
import { countCommands } from './redis-server.ts';
import { startWorld, type World } from './world.ts';

/** More of them, where there is time: `REFRESH_ROUNDS=100`. */
const rounds = Number(process.env.REFRESH_ROUNDS ?? 10);
const replicaCount = 3;
const requestsPerRound = 200;
const tokenLifeMs = 3_600_000;

let world: World;
let replicas: Gateway[];
let pools: Pool[];
/** How far the replicas' clock is ahead: each token ends when the test says so. */
let aheadMs = 0;

beforeAll(async () => {
  world = await startWorld({
    simulators: { identity: { accessTokenTtlSeconds: tokenLifeMs / 1000 } },
    config: (input) => ({
      ...input,
      session: { idleTimeout: '30d', absoluteTimeout: '30d' },
      providers: Object.fromEntries(
        Object.entries(input.providers as Record<string, object>).map(([name, provider]) => [
          name,
          { ...provider, timeout: '15s' },
        ]),
      ),
    }),
  });
  const now = (): number => Date.now() + aheadMs;
  replicas = await Promise.all(Array.from({ length: replicaCount }, () => world.startReplica({ now })));
  pools = replicas.map(({ address }) => new Pool(address, { connections: 64 }));
});
afterAll(async () => {
  await Promise.all(pools.map((pool) => pool.destroy()));
  await world.close();
});

beforeEach(() => {
  // Whoever signs in does so at a gateway whose clock is right.
  aheadMs = 0;
  world.simulators.faults.clear();
});

const cookieOf = (person: Person): string =>
  `__Host-coatcheck=${person.cookies('localhost').get('__Host-coatcheck')}`;

interface Sent {
  readonly cookie: string;
  readonly path?: string;
  readonly signal?: AbortSignal;
}

async function ask(
  replica: number,
  { cookie, path = '/api/eln/echo', signal }: Sent,
): Promise<number | 'aborted'> {
  const pool = pools[replica % replicaCount];
  try {
    const answer = await pool?.request({ method: 'GET', path, headers: { cookie }, signal: signal ?? null });
    await answer?.body.dump();
    return answer?.statusCode ?? 0;
  } catch (error) {
    if (signal?.aborted) return 'aborted';
    throw error;
  }
}

const granted = (provider = 'notebook'): number =>
  world.simulators.faults.requests[`${provider} POST /token`] ?? 0;

describe('S-060 with an expired token, at a provider that revokes everything when a refresh token is used twice', () => {
  /** All at once, at every replica, with a share of clients that leave. */
  const crowd = async (cookie: string, random: () => number): Promise<Map<number | 'aborted', number>> => {
    const answers = await Promise.all(
      Array.from({ length: requestsPerRound }, async (_, at) => {
        const leaves = random() < 0.1;
        return ask(at, { cookie, ...(leaves && { signal: AbortSignal.timeout(Math.floor(random() * 50)) }) });
      }),
    );
    const counts = new Map<number | 'aborted', number>();
    for (const answer of answers) counts.set(answer, (counts.get(answer) ?? 0) + 1);
    return counts;
  };

  test(`${rounds} rounds of ${requestsPerRound} requests at ${replicaCount} replicas: one refresh each, none fails`, async () => {
    const cookie = cookieOf(await world.signIn('ada'));
    const random = seededRandom(60);
    for (let round = 0; round < rounds; round += 1) {
      aheadMs += tokenLifeMs;
      const before = granted();
      const answers = await crowd(cookie, random);
      expect(
        [...answers.keys()].filter((answer) => answer !== 200 && answer !== 'aborted'),
        `round ${round}`,
      ).toEqual([]);
      expect(answers.get(200)).toBeGreaterThan(requestsPerRound / 2);
      // The refresh outlives a round in which every client left.
      await expect.poll(() => ask(round, { cookie })).toBe(200);
      expect(granted() - before, `refreshes in round ${round}`).toBe(1);
    }
  }, 600_000);

  test('also where the provider takes longer than the lock lasts', async () => {
    const cookie = cookieOf(await world.signIn('lise'));
    aheadMs += tokenLifeMs;
    const before = granted();
    world.simulators.faults.set('notebook', { kind: 'slow', delayMs: 6500 });
    const answers = await crowd(cookie, () => 1);
    world.simulators.faults.clear();
    expect([...answers]).toEqual([[200, requestsPerRound]]);
    expect(granted() - before).toBe(1);
  }, 60_000);

  test('refreshes of both providers at once do not lose each other', async () => {
    const cookie = cookieOf(await world.signIn('gregor'));
    for (let round = 0; round < 5; round += 1) {
      aheadMs += tokenLifeMs;
      const before = [granted('identity'), granted('notebook')];
      const paths = ['/api/eln/echo', '/api/systems/echo'];
      const answers = await Promise.all(
        Array.from({ length: 30 }, (_, at) => ask(at >> 1, { cookie, path: paths[at % 2] ?? '' })),
      );
      expect(new Set(answers)).toEqual(new Set([200]));
      expect([granted('identity'), granted('notebook')]).toEqual(before.map((count) => count + 1));
    }
  });
});

test('a refresh costs the replica that does it at most six commands, each that waits two', async () => {
  const cookie = cookieOf(await world.signIn('rosalind'));
  // Scripts are known, and every replica has the session in memory, with nothing to extend.
  for (const replica of replicas.keys()) await ask(replica, { cookie });
  aheadMs += tokenLifeMs;
  await Promise.all([...replicas.keys()].map((replica) => ask(replica, { cookie })));
  for (const replica of replicas.keys()) await ask(replica, { cookie });
  aheadMs += tokenLifeMs;
  // Long enough that all have asked for the lock before it is over.
  world.simulators.faults.set('notebook', { kind: 'slow', delayMs: 500 });
  const commands = await countCommands(world.redis.url, async () => {
    const answers = await Promise.all([...replicas.keys()].map((replica) => ask(replica, { cookie })));
    expect(answers).toEqual([200, 200, 200]);
    await delay(50);
  });
  const names = new Map(Object.values(redisScripts).map(({ sha, name }) => [sha, name]));
  const told = commands.map(([command = '', first = '']) => names.get(first) ?? command.toUpperCase());
  const count = (name: string): number => told.filter((each) => each === name).length;
  expect(
    told.filter(
      (name) => !['lock', 'GET', 'renew-lock', 'replace', 'WAIT', 'unlock', 'extend', 'PING'].includes(name),
    ),
  ).toEqual([]);
  // Each replica's own load beside: what it had in memory is an hour old.
  expect(['lock', 'renew-lock', 'replace', 'unlock', 'GET'].map(count)).toEqual([3, 1, 1, 1, 3 + 3]);
});

test('S-053 a session that ends while a token is refreshed stays ended', async () => {
  const person = await world.signIn('ada');
  const cookie = cookieOf(person);
  await ask(0, { cookie });
  aheadMs += tokenLifeMs;
  const before = granted();
  world.simulators.faults.set('notebook', { kind: 'late', delayMs: 500 });
  const calls = Promise.all([0, 1, 2].map((replica) => ask(replica, { cookie })));
  await expect.poll(() => granted() - before).toBe(1);
  expect((await person.request('POST', `${world.publicUrl}/auth/logout`)).status).toBe(303);
  expect(await calls).toEqual([401, 401, 401]);
  world.simulators.faults.clear();
  for (const replica of replicas.keys())
    expect(await ask(replica, { cookie, path: '/auth/session' })).toBe(401);
});

describe('/auth/session and early refresh', () => {
  const stateOf = async (cookie: string, replica = 0): Promise<Record<string, unknown>> => {
    const url = `${replicas[replica]?.address}/auth/session`;
    const answer = await new Person().get(url, { headers: { cookie } });
    const { providers } = answer.json<{ providers: Record<string, Record<string, unknown>> }>();
    return providers.notebook ?? {};
  };

  test('a token about to end is refreshed in the background; nobody waits, and failure bothers nobody', async () => {
    const cookie = cookieOf(await world.signIn('lise'));
    aheadMs += tokenLifeMs - 60_000;
    world.simulators.faults.set('notebook', { kind: 'error', status: 503 });
    expect(await ask(0, { cookie })).toBe(200);
    await expect.poll(() => stateOf(cookie)).toMatchObject({ state: 'stale-until' });
    const before = granted();
    // In the back-off nobody asks again, on no replica.
    for (const replica of replicas.keys()) expect(await ask(replica, { cookie })).toBe(200);
    expect(granted()).toBe(before);
    world.simulators.faults.set('notebook', { kind: 'slow', delayMs: 300 });
    aheadMs += 3000;
    expect(await ask(1, { cookie })).toBe(200);
    expect(await stateOf(cookie, 1)).toMatchObject({ state: 'refreshing' });
    await expect.poll(() => stateOf(cookie, 1)).toMatchObject({ state: 'ok' });
    expect(granted() - before).toBe(1);
    world.simulators.faults.clear();
  });

  test('S-071 a provider that is away ends nothing: 503 with Retry-After, then all is well', async () => {
    const cookie = cookieOf(await world.signIn('ada'));
    aheadMs += tokenLifeMs;
    world.simulators.faults.set('notebook', { kind: 'error', status: 503 });
    const url = `${replicas[0]?.address}/api/eln/echo`;
    const answer = await new Person().get(url, { headers: { cookie } });
    expect([answer.status, Number(answer.headers['retry-after']) >= 1]).toEqual([503, true]);
    expect(answer.json()).toMatchObject({ code: 'provider_unavailable', provider: 'notebook' });
    expect(await stateOf(cookie)).toMatchObject({ state: 'unavailable' });
    world.simulators.faults.clear();
    aheadMs += 3000;
    expect(await ask(1, { cookie })).toBe(200);
    expect(await stateOf(cookie)).toMatchObject({ state: 'ok' });
  });
});
