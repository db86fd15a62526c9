import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { openRawStore } from '../security/raw-store.ts';
import { countLost, type Member, signInCrowd } from './crowd.ts';
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
    for (const name of fleet.names) {
      expect(await fleet.end(name, 'SIGTERM')).toMatchObject({ code: 0 });
      await load.answers(500);
      await fleet.start();
      await load.answers(500);
    }
    const report = await load.stop();
    console.log(`SIGTERM of 3 replicas in turn: ${describeLoad(report)}`);
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
