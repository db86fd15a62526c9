/**
 * `npm run soak -- --operations 1000000 --minutes 10 --seed 1`: not part of any suite. First a trial: random operations through a
 * faulty network, and a judge who knows the truth. Then people at work while replicas are killed, replaced and stopped at
 * random. Exit code 1 if a session was lost, a person was sent to sign in, anybody saw what is another's, or a lie was told.
 * Either part is left out by a 0.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { seededRandom } from '../random.ts';
import { countLost, type Member, signInCrowd } from './crowd.ts';
import { describeLoad, Load } from './load.ts';
import { Orchestrator } from './orchestrator.ts';
import { runTrial } from './truth/trial.ts';

const { values } = parseArgs({
  options: {
    operations: { type: 'string', default: '1000000' },
    minutes: { type: 'string', default: '10' },
    seed: { type: 'string', default: `${Date.now() % 1_000_000}` },
  },
});
console.log(`seed ${values.seed}`);
const random = seededRandom(Number(values.seed));
const people = 200;
const concurrency = 16;

/** One thing that happens to replicas in real life. */
type Mishap = (fleet: Orchestrator, name: string) => Promise<unknown>;

const mishaps: Readonly<Record<string, Mishap>> = {
  SIGKILL: async (fleet, name) => {
    await fleet.end(name, 'SIGKILL');
    await fleet.start();
  },
  SIGTERM: async (fleet, name) => {
    await fleet.start();
    await fleet.end(name, 'SIGTERM');
  },
  SIGSTOP: async (fleet, name) => {
    fleet.signal(name, 'SIGSTOP');
    await delay(200 + random() * 6_000);
    fleet.signal(name, 'SIGCONT');
  },
};

const pick = <Item>(items: readonly Item[]): Item => {
  const item = items[Math.floor(random() * items.length)];
  if (item === undefined) throw new RangeError('nothing to pick from');
  return item;
};

/** A trial; true where nobody lied. */
async function tryTruth(operations: number): Promise<boolean> {
  let toldMs = 0;
  const onProgress = (answered: number): void => {
    if (Date.now() - toldMs < 10_000) return;
    toldMs = Date.now();
    console.log(`${new Date().toISOString()} ${answered} operations`);
  };
  const { lies, ...summary } = await runTrial({ seed: Number(values.seed), operations, onProgress });
  console.log(JSON.stringify(summary, undefined, 2));
  for (const lie of lies.slice(0, 20)) console.log(`  ${lie}`);
  console.log(`verdict: ${lies.length === 0 ? 'good' : 'BAD'} (${lies.length} lies, seed ${values.seed})`);
  return lies.length === 0;
}

/** Until the time is up; how often each mishap came. */
async function haveMishaps(fleet: Orchestrator): Promise<Record<string, number>> {
  const endMs = Date.now() + Number(values.minutes) * 60_000;
  const counts: Record<string, number> = {};
  while (Date.now() < endMs) {
    await delay(1_000 + random() * 4_000);
    const [kind, happen] = pick(Object.entries(mishaps));
    await happen(fleet, pick(fleet.names));
    counts[kind] = (counts[kind] ?? 0) + 1;
  }
  return counts;
}

async function soak(fleet: Orchestrator, crowd: readonly Member[]): Promise<boolean> {
  const systemsAudience = fleet.simulators.systems.audience;
  const load = new Load({ url: fleet.url, crowd, systemsAudience, concurrency, abortShare: 0.02 });
  const progress = setInterval(() => {
    console.log(`${new Date().toISOString()} ${fleet.names.join(' ')}: ${describeLoad(load.report)}`);
  }, 10_000);
  const counts = await haveMishaps(fleet).finally(() => clearInterval(progress));
  const report = await load.stop();
  const lost = await countLost(fleet, crowd);
  console.log(`mishaps: ${JSON.stringify(counts)}`);
  console.log(`load: ${describeLoad(report)}`);
  console.log(`sessions lost, by replica: ${JSON.stringify(lost)}`);
  const strange = [...report.wrong, ...report.redirected, ...report.unauthorized];
  for (const line of [...strange, ...report.failed].slice(0, 20)) console.log(`  ${line}`);
  const allowed = concurrency * ((counts.SIGKILL ?? 0) + (counts.SIGSTOP ?? 0));
  const good =
    strange.length === 0 &&
    report.failed.length <= allowed &&
    Object.values(lost).every((count) => count === 0);
  console.log(`verdict: ${good ? 'good' : 'BAD'} (seed ${values.seed})`);
  return good;
}

/** People at work among mishaps; true where all went well. */
async function workThrough(): Promise<boolean> {
  // Tokens outlive the soak: this is about replicas, not about refresh.
  const rules = { accessTokenTtlSeconds: 86_400 };
  const fleet = await Orchestrator.start({
    simulators: { extraPeople: people, identity: rules, notebook: rules },
  });
  try {
    return await soak(fleet, await signInCrowd(fleet, people));
  } finally {
    await fleet.close();
  }
}

const operations = Number(values.operations);
const truthful = operations === 0 || (await tryTruth(operations));
const well = Number(values.minutes) === 0 || (await workThrough());
process.exitCode = truthful && well ? 0 : 1;
