/** A process of a trial: takes batches of operations from its parent, and reports. Ends with its parent. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Operation, Report, Told } from './operation.ts';
import { Replica, type ReplicaOptions } from './replica.ts';
import { startStallClock } from './stalls.ts';

/** How many operations are under way at once. */
const lanes = 16;
/** After a fault: whoever retries at once only counts faults. */
const afterFaultMs = 10;

const options = JSON.parse(process.argv[2] ?? '') as ReplicaOptions;
const replica = new Replica(options);
const clock = startStallClock();

async function work(operations: readonly Operation[]): Promise<Report> {
  const told: Told[] = [];
  const faultsBefore = replica.faults;
  const left = operations.values();
  const lane = async (): Promise<void> => {
    for (const operation of left) {
      const before = replica.faults;
      told.push(...(await replica.perform(operation)));
      if (replica.faults > before) await delay(afterFaultMs);
    }
  };
  await Promise.all(Array.from({ length: lanes }, lane));
  return { told, faults: replica.faults - faultsBefore, stalls: clock.take() };
}

process.on('disconnect', () => process.exit(0));
process.on('message', (operations: readonly Operation[]) => {
  void work(operations).then((report) => process.send?.(report));
});
await replica.start();
process.send?.('ready');
