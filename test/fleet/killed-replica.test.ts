import { Pool } from 'undici';
import { afterAll, afterEach, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { openRawStore } from '../security/raw-store.ts';
import { countLost, type Member, signInCrowd, signInMember } from './crowd.ts';
import { describeLoad, Load } from './load.ts';
import { Orchestrator } from './orchestrator.ts';

const people = 200;
const concurrency = 16;

describe(`${people} people at work`, () => {
  let fleet: Orchestrator;
  let crowd: Member[];
  let load: Load;
  beforeAll(async () => {
    fleet = await Orchestrator.start({ simulators: { extraPeople: people } });
    crowd = await signInCrowd(fleet, people);
  });
  afterAll(() => fleet?.close());
  afterEach(() => load.stop());

  const begin = async (): Promise<void> => {
    const systemsAudience = fleet.simulators.systems.audience;
    load = new Load({ url: fleet.url, crowd, systemsAudience, concurrency });
    await load.answers(500);
  };

  /** Nobody is lost on any replica, and the store holds exactly one record per person. */
  const expectEverySessionEverywhere = async (): Promise<void> => {
    expect(await countLost(fleet, crowd)).toEqual(Object.fromEntries(fleet.names.map((name) => [name, 0])));
    const raw = await openRawStore(fleet.storeUrl);
    expect(await raw.keys('cc:s:*')).toHaveLength(people);
    raw.close();
  };

  test('notice nothing when each replica in turn gets SIGTERM and another takes its place', async () => {
    await begin();
    const drainSeconds: number[] = [];
    for (const name of fleet.names) {
      const toldAtMs = performance.now();
      expect(await fleet.end(name, 'SIGTERM')).toMatchObject({ code: 0 });
      drainSeconds.push((performance.now() - toldAtMs) / 1000);
      await load.answers(500);
      await fleet.start();
      await load.answers(500);
    }
    const report = await load.stop();
    const drains = drainSeconds.map((seconds) => seconds.toFixed(1)).join(', ');
    console.log(`SIGTERM of 3 replicas in turn: ${describeLoad(report)}; they ended after ${drains} s`);
    // The delay of a second, what is in flight, and the machine: but never the drain timeout of 25 s.
    expect(Math.max(...drainSeconds)).toBeLessThan(10);
    expect(report).toMatchObject({ wrong: [], redirected: [], unauthorized: [], failed: [] });
    await expectEverySessionEverywhere();
  });

  test('lose no session when each replica in turn gets SIGKILL; what fails was in flight on it', async () => {
    await begin();
    for (const name of fleet.names) {
      const before = load.report.failed.length;
      expect(await fleet.end(name, 'SIGKILL')).toMatchObject({ signal: 'SIGKILL' });
      await load.answers(500);
      await fleet.start();
      await load.answers(500);
      const failed = load.report.failed.slice(before);
      expect(failed.length).toBeLessThanOrEqual(concurrency);
      // Said by the balancer, or seen as an answer that breaks off.
      const inFlight = new RegExp(
        `502 by undefined: the connection to ${name} failed|SocketError|terminated`,
      );
      expect(failed.filter((line) => !inFlight.test(line))).toEqual([]);
    }
    const report = await load.stop();
    console.log(`SIGKILL of 3 replicas in turn: ${describeLoad(report)}`);
    expect(report).toMatchObject({ wrong: [], redirected: [], unauthorized: [] });
    await expectEverySessionEverywhere();
  });
});

test('a replica that gets SIGTERM answers what is in flight, however long it takes, and then ends', async () => {
  const fleet = await Orchestrator.start({ replicas: 1 });
  onTestFinished(() => fleet.close());
  const [name = ''] = fleet.names;
  const [ada] = fleet.simulators.people;
  if (ada === undefined) throw new RangeError('nobody is there');
  const { cookie } = await signInMember(fleet, ada);
  const { adminUrl } = fleet.simulators;
  await fetch(`${adminUrl}/faults/systems`, { method: 'PUT', body: '{"kind":"slow","delayMs":4000}' });
  // Asked directly, over a connection that stays: so does a load balancer's.
  const pool = new Pool(fleet.urlOf(name));
  onTestFinished(() => pool.destroy());
  const answering = pool.request({ method: 'GET', path: '/api/systems/echo', headers: { cookie } });
  const reached = async (): Promise<unknown> => (await fetch(`${adminUrl}/requests`)).json();
  await expect.poll(reached).toMatchObject({ 'systems GET /echo': 1 });
  const ended = fleet.end(name, 'SIGTERM');
  const answer = await answering;
  expect([answer.statusCode, await answer.body.json()]).toMatchObject([200, { path: '/echo' }]);
  const answeredAtMs = performance.now();
  expect(await ended).toMatchObject({ code: 0 });
  // Not only when the drain timeout of 25 s is over.
  expect(performance.now() - answeredAtMs).toBeLessThan(5_000);
});
