import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { countLost, type Member, signInCrowd } from './crowd.ts';
import { describeLoad, Load } from './load.ts';
import { Orchestrator } from './orchestrator.ts';

const people = 200;
const calls = 100_000;

let fleet: Orchestrator;
let crowd: Member[];
beforeAll(async () => {
  fleet = await Orchestrator.start({ simulators: { extraPeople: people } });
  crowd = await signInCrowd(fleet, people);
});
afterAll(() => fleet?.close());

test(`S-063 in ${calls} calls of ${people} people who break off now and then, every upstream sees the right person`, async () => {
  const systemsAudience = fleet.simulators.systems.audience;
  const load = new Load({
    url: fleet.url,
    crowd,
    systemsAudience,
    concurrency: 32,
    abortShare: 0.05,
    seed: 63,
  });
  onTestFinished(async () => void (await load.stop()));
  await load.answers(calls);
  const report = await load.stop();
  console.log(`3 replicas, ${people} people: ${describeLoad(report)}`);
  expect(report).toMatchObject({ wrong: [], redirected: [], unauthorized: [], failed: [] });
  expect(report.answered).toBeGreaterThanOrEqual(calls);
  expect(report.aborted).toBeGreaterThan(calls / 50);
  expect(await countLost(fleet, crowd)).toEqual(Object.fromEntries(fleet.names.map((name) => [name, 0])));
});
