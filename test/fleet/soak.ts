/**
 * `npm run soak -- --minutes 10`: people at work while replicas are killed, replaced and stopped at random. Not part of any
 * suite. Exit code 1 if a session was lost, a person was sent to sign in, or anybody saw what is another's.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { seededRandom } from '../random.ts';
import { countLost, type Member, signInCrowd } from './crowd.ts';
import { describeLoad, Load } from './load.ts';
import { Orchestrator } from './orchestrator.ts';

const { values } = parseArgs({
  options: { minutes: { type: 'string', default: '10' }, seed: { type: 'string', default: `${Date.now()}` } },
});
const endMs = Date.now() + Number(values.minutes) * 60_000;
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

/** Until the time is up; how often each mishap came. */
async function haveMishaps(fleet: Orchestrator): Promise<Record<string, number>> {
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

// Tokens outlive the soak: this is about replicas, not about refresh.
const rules = { accessTokenTtlSeconds: 86_400 };
const fleet = await Orchestrator.start({
  simulators: { extraPeople: people, identity: rules, notebook: rules },
});
try {
  process.exitCode = (await soak(fleet, await signInCrowd(fleet, people))) ? 0 : 1;
} finally {
  await fleet.close();
}
