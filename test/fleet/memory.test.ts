import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { type Member, signInCrowd } from './crowd.ts';
import { describeLoad, Load } from './load.ts';
import { Orchestrator } from './orchestrator.ts';

const requests = 20_000;
const boundMiB = 24;

let fleet: Orchestrator;
let crowd: Member[];
beforeAll(async () => {
  fleet = await Orchestrator.start({ replicas: 1, simulators: { extraPeople: 20 } });
  crowd = await signInCrowd(fleet, 20);
});
afterAll(() => fleet?.close());

const residentMiB = async (): Promise<number> => {
  const [name = ''] = fleet.names;
  const bytes = (await fleet.metricsOf(name)).get('process_resident_memory_bytes');
  if (bytes === undefined) throw new Error('the replica does not tell its memory');
  return bytes / 2 ** 20;
};

test(`a replica that is warm grows by less than ${boundMiB} MiB in ${requests} requests`, async () => {
  const systemsAudience = fleet.simulators.systems.audience;
  const load = new Load({ url: fleet.url, crowd, systemsAudience, abortShare: 0.02, seed: 7 });
  onTestFinished(async () => void (await load.stop()));
  // Compiled code, the heap's usual size and open connections come with the first requests and stay.
  await load.answers(10_000);
  const warm = await residentMiB();
  await load.answers(requests / 2);
  const half = await residentMiB();
  await load.answers(requests / 2);
  const full = await residentMiB();
  const report = await load.stop();
  const sizes = [warm, half, full].map((size) => size.toFixed(1)).join(', ');
  console.log(`resident memory of a replica, MiB, after 10000, 20000, 30000 requests: ${sizes}`);
  expect(report, describeLoad(report)).toMatchObject({ wrong: [], failed: [] });
  expect(full - warm).toBeLessThan(boundMiB);
});
