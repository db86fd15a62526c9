/**
 * Several processes with the real session manager, near cache and store do random things to the same sessions, through a proxy
 * with weather, and a judge who knows what can be true reads everything that they tell.
 */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { seededRandom } from '../../random.ts';
import { startRedisServer } from '../../redis-server.ts';
import { startChaosProxy } from './chaos-proxy.ts';
import { Conditions, stalenessBounds } from './conditions.ts';
import { Ledger } from './ledger.ts';
import { nowMs, type Operation, type Report } from './operation.ts';
import { Replica, type ReplicaOptions } from './replica.ts';
import type { Sabotage } from './sabotage.ts';
import { startStallClock, startStoreClock } from './stalls.ts';
import { type Summary, summarise } from './summary.ts';
import { type Disturbance, makeWeather } from './weather.ts';

/** Options of {@link runTrial}. */
export interface TrialOptions {
  /** The same seed makes the same choices; when each falls due is up to the machine. */
  readonly seed: number;
  /** Ends after so many operations that did not end in a fault. */
  readonly operations: number;
  /** Whether there is weather. Default true. */
  readonly weather?: boolean;
  /** What is wrong with the replicas. Default: nothing. */
  readonly sabotage?: Sabotage;
  /** Told now and then how far it is. */
  readonly onProgress?: (operations: number) => void;
}

const replicaCount = 4;
const batchSize = 300;
const maximumAgeMs = 3000;
const witnessNumber = -1;

/** One replica in a process of its own. */
interface Worker {
  readonly number: number;
  work(operations: readonly Operation[]): Promise<Report>;
  stop(): Promise<void>;
}

/** Runs a trial to its end. */
export async function runTrial(options: TrialOptions): Promise<Summary> {
  const { seed, operations, sabotage, onProgress } = options;
  const startedMs = nowMs();
  const redis = await startRedisServer();
  const proxy = await startChaosProxy(redis.port, seededRandom(seed + 1));
  const common = { maximumAgeMs, sabotage };
  const workers = await Promise.all(
    Array.from({ length: replicaCount }, (_, number) =>
      startWorker({ ...common, number, url: proxy.url, durable: number % 2 === 0 }),
    ),
  );
  // It alone sees Redis without weather, and has the last word on every session.
  const witness = new Replica({ number: witnessNumber, url: redis.url, durable: false, maximumAgeMs });
  await witness.start();
  const disturbances: Disturbance[] = [];
  const conditions = new Conditions(stalenessBounds(maximumAgeMs), disturbances);
  const ledger = new Ledger({ random: seededRandom(seed), conditions, witness });
  const clocks = [startStallClock(), await startStoreClock(redis.url)];
  const ended = (): boolean => ledger.answered >= operations || ledger.lies.length > 0;
  const weather =
    options.weather === false
      ? Promise.resolve()
      : makeWeather(proxy, { random: seededRandom(seed + 2), ended, disturbances });
  try {
    await Promise.all([weather, ...workers.map((worker) => keepBusy(worker))]);
    await ledger.settle();
    await delay(proxy.unnoticed > 0 ? 3000 : 0);
    return summarise({ seed, ledger, proxy, conditions, tookMs: nowMs() - startedMs });
  } finally {
    for (const clock of clocks) clock.stop();
    await Promise.all([...workers.map((worker) => worker.stop()), witness.close()]);
    await proxy.close();
    await redis.stop();
  }

  async function keepBusy(worker: Worker): Promise<void> {
    while (!ended()) {
      const batch = ledger.batch(batchSize);
      const report = await worker.work(batch);
      conditions.addStalls(worker.number, report.stalls);
      for (const clock of clocks) conditions.addStalls('everyone', clock.take());
      await ledger.enter(batch, report);
      onProgress?.(ledger.answered);
    }
  }
}

async function startWorker(options: ReplicaOptions): Promise<Worker> {
  const file = fileURLToPath(new URL('replica-process.ts', import.meta.url));
  const child = fork(file, [JSON.stringify(options)], { execArgv: ['--import', 'tsx'] });
  const exited = once(child, 'exit');
  const answer = async (): Promise<unknown> => {
    const [message] = await Promise.race([
      once(child, 'message'),
      exited.then(([code]) => {
        throw new Error(`replica ${options.number} has ended with code ${code}`);
      }),
    ]);
    return message;
  };
  await answer();
  return {
    number: options.number,
    async work(operations) {
      child.send([...operations]);
      return (await answer()) as Report;
    },
    async stop() {
      if (child.connected) child.disconnect();
      await exited;
    },
  };
}
