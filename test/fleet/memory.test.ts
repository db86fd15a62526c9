import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { type Member, signInCrowd } from './crowd.ts';
import { describeLoad, Load } from './load.ts';
import { Orchestrator } from './orchestrator.ts';

const requests = 20_000;
const window = 5_000;
/** What a leak of 400 bytes a request would add. */
const heapBoundMiB = 8;
/** The collector gives pages back late, so the process is given more room than the heap. */
const residentBoundMiB = 48;

let fleet: Orchestrator;
let crowd: Member[];
beforeAll(async () => {
  fleet = await Orchestrator.start({ replicas: 1, simulators: { extraPeople: 20 } });
  crowd = await signInCrowd(fleet, 20);
});
afterAll(() => fleet?.close());

interface Memory {
  readonly heap: number;
  readonly resident: number;
}

/** The least that was in use during the next requests, in MiB: what a collection leaves over. */
async function leastMemory(load: Load): Promise<Memory> {
  const [name = ''] = fleet.names;
  let [heap, resident] = [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY];
  const mebibytes = (metrics: Map<string, number>, key: string): number =>
    (metrics.get(key) ?? Number.NaN) / 2 ** 20;
  const end = load.report.answered + window;
  while (load.report.answered < end) {
    await load.answers(window / 100);
    const metrics = await fleet.metricsOf(name);
    heap = Math.min(heap, mebibytes(metrics, 'nodejs_heap_size_used_bytes'));
    resident = Math.min(resident, mebibytes(metrics, 'process_resident_memory_bytes'));
  }
  return { heap, resident };
}

test(`a warm replica keeps less than ${heapBoundMiB} MiB more after ${requests} requests`, async () => {
  const systemsAudience = fleet.simulators.systems.audience;
  const load = new Load({ url: fleet.url, crowd, systemsAudience, abortShare: 0.02, seed: 7 });
  onTestFinished(async () => void (await load.stop()));
  // Compiled code, the heap's usual size and open connections come with the first requests and stay.
  await load.answers(window);
  const before = await leastMemory(load);
  await load.answers(requests - window);
  const after = await leastMemory(load);
  const report = await load.stop();
  const described = [before, after].map(
    ({ heap, resident }) => `heap ${heap.toFixed(1)} MiB, resident ${resident.toFixed(1)} MiB`,
  );
  console.log(`a replica before and after ${requests} requests: ${described.join('; ')}`);
  expect(report, describeLoad(report)).toMatchObject({ wrong: [], failed: [] });
  expect(after.heap - before.heap).toBeLessThan(heapBoundMiB);
  expect(after.resident - before.resident).toBeLessThan(residentBoundMiB);
});
