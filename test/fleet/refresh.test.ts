import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { redisScripts } from '../../src/session/redis-scripts.ts';
import { type RedisServer, startRedisServer } from '../redis-server.ts';
import { type StoreGate, type StoreGateRule, startStoreGate } from '../store-gate.ts';
import { type Member, signInMember } from './crowd.ts';
import { Orchestrator } from './orchestrator.ts';

/** Kills at each step, and people who wait for a token when it happens. `REFRESH_KILLS=20` where there is time. */
const kills = Number(process.env.REFRESH_KILLS ?? 1);
const peoplePerKill = 3;
const tokenLifeMs = 2000;

let fleet: Orchestrator;
let redis: RedisServer;
let gate: StoreGate;
let personAt = 0;

beforeAll(async () => {
  redis = await startRedisServer();
  gate = await startStoreGate(redis.port);
  fleet = await Orchestrator.start({
    simulators: { extraPeople: 500, notebook: { accessTokenTtlSeconds: tokenLifeMs / 1000 } },
    config: () => ({ store: { url: gate.url, deadline: '5s' } }),
  });
});
afterAll(async () => {
  await fleet?.close();
  await gate?.close();
  await redis?.stop();
});
afterEach(() => release());

async function release(): Promise<void> {
  gate.rule = undefined;
  await fetch(`${fleet.simulators.adminUrl}/faults`, { method: 'DELETE' });
}

async function fail(fault: object): Promise<void> {
  await fetch(`${fleet.simulators.adminUrl}/faults/notebook`, { method: 'PUT', body: JSON.stringify(fault) });
}

/** Calls of the notebook's token endpoint so far. */
async function grants(): Promise<number> {
  const answer = await fetch(`${fleet.simulators.adminUrl}/requests`);
  return ((await answer.json()) as Record<string, number>)['notebook POST /token'] ?? 0;
}

async function signInSome(): Promise<Member[]> {
  const people = fleet.simulators.people.slice(-500).slice(personAt, personAt + peoplePerKill);
  personAt += peoplePerKill;
  return Promise.all(people.map((person) => signInMember(fleet, person)));
}

interface Seen {
  readonly status: number;
  readonly code?: string;
}

async function ask(replica: string, { cookie }: Member, path = '/api/eln/echo'): Promise<Seen> {
  const answer = await fetch(fleet.urlOf(replica) + path, { headers: { cookie } });
  const { code } = (await answer.json()) as { code?: string };
  return { status: answer.status, ...(code !== undefined && { code }) };
}

interface Step {
  readonly what: string;
  /** Stops the replica there. */
  readonly stop: () => Promise<void> | void;
  /** Whether so many people have come there. */
  readonly isReached: (people: number, before: number) => Promise<boolean> | boolean;
  /** Of so many people: how many may have, or must have, had their refresh tokens used up and the successors lost. */
  readonly lost: readonly [least: number, most: number];
}

const gated = (
  at: StoreGateRule['at'],
  script: 'lock' | 'replace' | 'unlock',
): Pick<Step, 'stop' | 'isReached'> => ({
  stop: () => {
    gate.rule = { at, sha: redisScripts[script].sha };
  },
  isReached: () => gate.stopped > 0,
});
const failing = (kind: 'slow' | 'late'): Pick<Step, 'stop' | 'isReached'> => ({
  stop: () => fail({ kind, delayMs: 60_000 }),
  isReached: async (people, before) => (await grants()) - before >= people,
});

const steps: Step[] = [
  { what: 'when it has the lock', ...gated('after', 'lock'), lost: [0, 0] },
  { what: 'while the provider has the request', ...failing('slow'), lost: [0, 0] },
  {
    what: 'while the provider’s answer is under way',
    ...failing('late'),
    lost: [peoplePerKill, peoplePerKill],
  },
  { what: 'before it stores the answer', ...gated('before', 'replace'), lost: [1, peoplePerKill] },
  { what: 'before it gives the lock back', ...gated('before', 'unlock'), lost: [0, peoplePerKill - 1] },
];

test.each(steps)(
  `S-061 a replica is killed $what (${kills} times): the next request works or asks for a new sign-in there`,
  async ({ stop, isReached, lost }) => {
    for (let kill = 0; kill < kills; kill += 1) {
      const crowd = await signInSome();
      const [victim = '', heir = '', third = ''] = fleet.names;
      // Also makes sure that the store knows the scripts.
      await delay(tokenLifeMs);
      for (const member of crowd) expect(await ask(victim, member)).toEqual({ status: 200 });
      await delay(tokenLifeMs);

      const before = await grants();
      await stop();
      const hopeless = Promise.allSettled(crowd.map((member) => ask(victim, member)));
      await expect.poll(() => isReached(crowd.length, before), { timeout: 20_000 }).toBe(true);
      await fleet.end(victim, 'SIGKILL');
      await release();
      await hopeless;

      const answers = await Promise.all(crowd.map((member) => ask(heir, member)));
      const used = await grants();
      const asks = answers.filter(({ status }) => status !== 200);
      for (const answer of asks) expect(answer).toEqual({ status: 401, code: 'token_unavailable' });
      expect(asks.length).toBeGreaterThanOrEqual(lost[0]);
      expect(asks.length).toBeLessThanOrEqual(lost[1]);
      // One use, and one more by whoever came next.
      expect(used - before).toBeLessThanOrEqual(2 * crowd.length);
      for (const [at, member] of crowd.entries()) {
        expect(await ask(third, member, '/api/systems/echo')).toEqual({ status: 200 });
        if (answers[at]?.status === 401) expect(await ask(third, member)).toEqual(answers[at]);
      }
      if (answers.every(({ status }) => status === 401)) expect(await grants()).toBe(used);
      await fleet.start();
    }
  },
);

test('the store is cut off between the provider’s answer and its storing: once it is back, nothing was lost', async () => {
  const crowd = await signInSome();
  const [replica = '', other = ''] = fleet.names;
  await delay(tokenLifeMs);
  for (const member of crowd) expect(await ask(replica, member)).toEqual({ status: 200 });
  await delay(tokenLifeMs);
  const before = await grants();
  gate.rule = { at: 'cut', sha: redisScripts.replace.sha };
  const asking = Promise.all(crowd.map((member) => ask(replica, member)));
  await expect.poll(() => gate.stopped).toBeGreaterThan(0);
  await delay(1500);
  gate.rule = undefined;
  const answers = await asking;
  // Some were told to try again, and so short-lived a token may have ended before it was stored; but nobody has to sign in.
  expect(answers.filter(({ code }) => code === 'token_unavailable')).toEqual([]);
  for (const member of crowd) expect(await ask(other, member)).toEqual({ status: 200 });
  // The tokens that were exchanged during the cut are those that could be exchanged again.
  expect(await grants()).toBeGreaterThan(before);
});
