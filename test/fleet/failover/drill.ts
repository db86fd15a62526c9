/** One scenario, several times over, with one fleet that is never restarted. */
import { setTimeout as delay } from 'node:timers/promises';
import { Person } from '../../person.ts';
import { inParallel } from '../in-parallel.ts';
import { Orchestrator } from '../orchestrator.ts';
import { Availability } from './availability.ts';
import type { Play, Scenario } from './play.ts';
import { judge, type RunResult } from './run-result.ts';
import { paths, type SignedIn, signedInOf, startNewsApp, Traffic } from './traffic.ts';

/** Options of {@link drill}. */
export interface DrillOptions {
  readonly runs: number;
  /** Told after each run. */
  readonly onRun?: (result: RunResult, number: number) => void;
}

const crowdSize = 24;
/** As ever, before the mishap. */
const leadMs = 1000;
/** The store serves again for so long before a run ends. */
const calmMs = 1500;
const patienceMs = 60_000;

/** Runs a scenario; what each run showed. */
export async function drill(scenario: Scenario, { runs, onRun }: DrillOptions): Promise<RunResult[]> {
  const play = await scenario.start();
  const app = await startNewsApp();
  let fleet: Orchestrator | undefined;
  try {
    fleet = await startFleet(play, app.url);
    const started = fleet.names;
    let crowd = await signInAll(
      fleet,
      fleet.simulators.people.slice(-crowdSize).map(({ username }) => new Person({ username })),
    );
    const results: RunResult[] = [];
    for (let number = 1; number <= runs; number += 1) {
      const result = await runOnce({ scenario, play, fleet, crowd, seed: number });
      if (String(fleet.names) !== String(started)) result.broken.push('a replica has ended');
      results.push(result);
      onRun?.(result, number);
      if (number === runs) break;
      await play.mend();
      if (scenario.empties) {
        crowd = await signInAll(
          fleet,
          crowd.map(({ browser }) => browser),
        );
      }
      await untilCalm(fleet, crowd);
    }
    return results;
  } finally {
    await fleet?.close();
    await play.stop();
    app.close();
  }
}

async function startFleet(play: Play, appUrl: string): Promise<Orchestrator> {
  const rules = { accessTokenTtlSeconds: 86_400 };
  return await Orchestrator.start({
    replicas: 2,
    simulators: { extraPeople: 200, identity: rules, notebook: rules },
    config: () => ({
      store: play.store,
      app: { url: appUrl, public: [] },
      outage: {
        default: { policy: 'fail-closed' },
        routes: {
          [paths['fail-open']]: { policy: 'fail-open', staleFor: '5m' },
          [paths.anonymous]: { policy: 'anonymous' },
        },
      },
    }),
  });
}

/** Signs browsers in, whatever they hold: also those whose session is gone. Throws where that fails three times. */
function signInAll(fleet: Orchestrator, browsers: readonly Person[]): Promise<SignedIn[]> {
  return inParallel(browsers, 4, async (browser) => {
    const person = fleet.simulators.people.find(({ username }) => username === browser.username);
    for (let attempt = 1; ; attempt += 1) {
      const answer = await browser.follow(fleet.url + paths.anonymous);
      if (person !== undefined && answer.status === 200) return signedInOf(person, browser);
      if (attempt === 3)
        throw new Error(`${browser.username} cannot sign in: ${answer.status} ${answer.body}`);
      await delay(500);
    }
  });
}

/** Every member has been served as ever at every replica. */
async function untilCalm(fleet: Orchestrator, crowd: readonly SignedIn[]): Promise<void> {
  const deadlineMs = performance.now() + patienceMs;
  for (const name of fleet.names) {
    for (const member of crowd) {
      while ((await statusAt(fleet.urlOf(name), member)) !== 200) {
        if (performance.now() > deadlineMs)
          throw new Error(`${name} does not serve ${member.person.username}`);
        await delay(50);
      }
    }
  }
}

async function statusAt(url: string, { cookie, person }: SignedIn): Promise<number> {
  const answer = await fetch(`${url}/auth/session`, { headers: { cookie } });
  const session = (await answer.json()) as { readonly user?: { readonly subject?: string } };
  return answer.status === 200 && session.user?.subject !== person.subjects.identity ? 0 : answer.status;
}

interface Run {
  readonly scenario: Scenario;
  readonly play: Play;
  readonly fleet: Orchestrator;
  readonly crowd: readonly SignedIn[];
  readonly seed: number;
}

async function runOnce({ scenario, play, fleet, crowd, seed }: Run): Promise<RunResult> {
  await untilCalm(fleet, crowd);
  const availability = new Availability(() => play.probe());
  const traffic = new Traffic(fleet, crowd, seed);
  await delay(leadMs);
  const struckMs = performance.now();
  await play.strike();
  await delay(500);
  const deadlineMs = performance.now() + patienceMs;
  while (availability.upForMs < calmMs && performance.now() < deadlineMs) await delay(20);
  const back = availability.outages.at(-1)?.toMs;
  const endedMs = performance.now();
  await traffic.stop();
  await availability.stop();
  const mustLive = [...crowd, ...traffic.signedIn].filter(
    ({ acknowledgedAtMs }) => scenario.empties === undefined || acknowledgedAtMs > (back ?? Infinity),
  );
  const lost = await findLost({ play, fleet, sessions: mustLive });
  return judge({
    scenario,
    struckMs,
    endedMs,
    outages: availability,
    answers: traffic.answers,
    acknowledged: mustLive.length,
    lost,
  });
}

/** The sessions that the store does not hold, or that any replica does not serve. */
async function findLost({
  play,
  fleet,
  sessions,
}: Pick<Run, 'play' | 'fleet'> & { readonly sessions: readonly SignedIn[] }): Promise<string[]> {
  const missing = new Set(await play.missing(sessions.map(({ sessionId }) => sessionId)));
  const lost = await inParallel(sessions, 8, async (session) => {
    const seen = await Promise.all(fleet.names.map((name) => statusAt(fleet.urlOf(name), session)));
    const isHeld = !missing.has(session.sessionId);
    return isHeld && seen.every((status) => status === 200)
      ? []
      : [`${session.person.username}: ${isHeld ? 'held' : 'not held'}, ${seen}`];
  });
  return lost.flat();
}
