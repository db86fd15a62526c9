import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Member, signInCrowd } from './crowd.ts';
import { describeLoad, Load, type LoadReport } from './load.ts';
import { Orchestrator } from './orchestrator.ts';

const requests = 20_000;
/** What a leak of 400 bytes a request would add. */
const heapBoundMiB = 8;
/** The process gives memory back late, so it is given more room than the heap. */
const residentBoundMiB = 64;

let directory: string;
let fleet: Orchestrator;
let crowd: Member[];
beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'coatcheck-heap-'));
  // Node collects everything that is not in use before it takes a snapshot of the heap; what is left then is what counts.
  const nodeArguments = ['--heapsnapshot-signal=SIGUSR2', `--diagnostic-dir=${directory}`];
  fleet = await Orchestrator.start({ replicas: 1, nodeArguments, simulators: { extraPeople: 20 } });
  crowd = await signInCrowd(fleet, 20);
});
afterAll(async () => {
  await fleet?.close();
  rmSync(directory, { recursive: true });
});

interface Memory {
  readonly heap: number;
  readonly resident: number;
}

/** What is in use after a full collection, in MiB. */
async function settledMemory(): Promise<Memory> {
  const [name = ''] = fleet.names;
  const before = readdirSync(directory).length;
  fleet.signal(name, 'SIGUSR2');
  await expect.poll(() => readdirSync(directory).length, { timeout: 60_000 }).toBeGreaterThan(before);
  const metrics = await fleet.metricsOf(name);
  const mebibytes = (key: string): number => (metrics.get(key) ?? Number.NaN) / 2 ** 20;
  return {
    heap: mebibytes('nodejs_heap_size_used_bytes'),
    resident: mebibytes('process_resident_memory_bytes'),
  };
}

async function runLoad(answers: number): Promise<LoadReport> {
  const systemsAudience = fleet.simulators.systems.audience;
  const load = new Load({ url: fleet.url, crowd, systemsAudience, abortShare: 0.02, seed: 7 });
  await load.answers(answers);
  return await load.stop();
}

test(`a warm replica keeps less than ${heapBoundMiB} MiB more after ${requests} requests`, async () => {
  // Compiled code, the heap's usual size and open connections come with the first requests and stay.
  await runLoad(requests / 4);
  const before = await settledMemory();
  const report = await runLoad(requests);
  const after = await settledMemory();
  const described = [before, after].map(
    ({ heap, resident }) => `heap ${heap.toFixed(1)} MiB, resident ${resident.toFixed(1)} MiB`,
  );
  console.log(`a replica before and after ${requests} requests: ${described.join('; ')}`);
  expect(report, describeLoad(report)).toMatchObject({ wrong: [], failed: [] });
  expect(after.heap - before.heap).toBeLessThan(heapBoundMiB);
  expect(after.resident - before.resident).toBeLessThan(residentBoundMiB);
});
