import type { SimulatedPerson } from '../../sim/simulators.ts';
import { Person } from '../person.ts';
import { inParallel } from './in-parallel.ts';
import type { Orchestrator } from './orchestrator.ts';

/** A signed-in person, as load wants it: the cookie to send, and who must be seen. */
export interface Member {
  readonly person: SimulatedPerson;
  /** Value of the `Cookie` header. */
  readonly cookie: string;
}

/** Signs people in, ten at a time: those without a demo name, so that the fleet needs `extraPeople` ≥ `count`. */
export async function signInCrowd(fleet: Orchestrator, count: number): Promise<Member[]> {
  return await inParallel(fleet.simulators.people.slice(-count), 10, (person) => signInMember(fleet, person));
}

/** Signs one person in; throws where that fails. */
export async function signInMember(fleet: Orchestrator, person: SimulatedPerson): Promise<Member> {
  const browser = new Person({ username: person.username });
  const answer = await browser.signIn(fleet.url, '/auth/session');
  if (answer.status !== 200)
    throw new Error(`${person.username} cannot sign in: ${answer.status} ${answer.body}`);
  return { person, cookie: cookieHeader(browser) };
}

/** What this browser sends to the fleet. */
export function cookieHeader(browser: Person): string {
  return [...browser.cookies('localhost')].map(([name, value]) => `${name}=${value}`).join('; ');
}

/** How many of the sessions each replica does not know, asked directly, one by one. */
export async function countLost(
  fleet: Orchestrator,
  crowd: readonly Member[],
): Promise<Record<string, number>> {
  const lost = fleet.names.map(async (name): Promise<[string, number]> => {
    let count = 0;
    for (const { cookie, person } of crowd) {
      const answer = await fetch(`${fleet.urlOf(name)}/auth/session`, { headers: { cookie } });
      const session = (await answer.json()) as { user?: { subject?: string } };
      if (answer.status !== 200 || session.user?.subject !== person.subjects.identity) count += 1;
    }
    return [name, count];
  });
  return Object.fromEntries(await Promise.all(lost));
}
