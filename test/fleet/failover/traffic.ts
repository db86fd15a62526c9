/** Reads of people who are signed in, and sign-ins of others, at a fixed pace whatever comes back. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Pool } from 'undici';
import type { SimulatedPerson } from '../../../sim/simulators.ts';
import { readTicket } from '../../../src/session/ticket.ts';
import { Person } from '../../person.ts';
import { throughProvider } from '../../provider-pages.ts';
import { seededRandom } from '../../random.ts';
import { cookieHeader } from '../crowd.ts';
import type { Orchestrator } from '../orchestrator.ts';

/** One path for each policy. */
export const paths = {
  'fail-closed': '/api/systems/echo',
  'fail-open': '/api/eln/echo',
  anonymous: '/news',
} as const;

/** The policy of a path, or a step of a sign-in. */
export type TrafficKind = keyof typeof paths | 'sign-in';

/**
 * What an answer was. `served`: as ever. `stale`, `anonymous`, `refused` (503): by policy. `sent-to-sign-in`: 401 or a redirect.
 * `expired`: a sign-in whose transaction is gone. `wrong`: anything else, and what must never be.
 */
export type Outcome = 'served' | 'stale' | 'anonymous' | 'refused' | 'sent-to-sign-in' | 'expired' | 'wrong';

/** One answer. Times are `performance.now()`. */
export interface TrafficAnswer {
  readonly kind: TrafficKind;
  readonly beganMs: number;
  readonly endedMs: number;
  readonly outcome: Outcome;
  /** Where it is not as ever: what was seen, in a line. */
  readonly what: string;
}

/** A signed-in person. */
export interface SignedIn {
  readonly person: SimulatedPerson;
  readonly browser: Person;
  readonly cookie: string;
  readonly sessionId: string;
  readonly acknowledgedAtMs: number;
}

/** An app behind the gateway that says whether it was told who asks. */
export async function startNewsApp(): Promise<{ readonly url: string; close(): void }> {
  const server = createServer((request, response) => {
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify({ subject: request.headers['x-coatcheck-subject'] ?? null }));
  }).listen(0, '127.0.0.1');
  await new Promise<void>((resolve) => server.once('listening', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close() {
      server.close();
      server.closeAllConnections();
    },
  };
}

/** Ticks of the reads: each sends one to every kind of path. */
const readIntervalMs = 12;
const signInIntervalMs = 300;

/** Traffic that is running. */
export class Traffic {
  readonly answers: TrafficAnswer[] = [];
  readonly signedIn: SignedIn[] = [];
  readonly #fleet: Orchestrator;
  readonly #readers: SignedIn[];
  readonly #pools: readonly Pool[];
  readonly #random: () => number;
  readonly #timers: NodeJS.Timeout[];
  readonly #underWay = new Set<Promise<void>>();
  #sent = 0;

  /** Starts at once. */
  constructor(fleet: Orchestrator, readers: readonly SignedIn[], seed: number) {
    this.#fleet = fleet;
    this.#readers = [...readers];
    this.#random = seededRandom(seed);
    this.#pools = fleet.names.map((name) => new Pool(fleet.urlOf(name), { pipelining: 1 }));
    this.#timers = [
      setInterval(() => this.#readAll(), readIntervalMs),
      setInterval(() => this.#start(this.#signIn()), signInIntervalMs),
    ];
  }

  /** Lets what is under way end. */
  async stop(): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer);
    await Promise.all(this.#underWay);
    await Promise.all(this.#pools.map((pool) => pool.close()));
  }

  #start(work: Promise<void>): void {
    this.#underWay.add(work);
    void work.finally(() => this.#underWay.delete(work));
  }

  #readAll(): void {
    for (const kind of Object.keys(paths) as (keyof typeof paths)[]) {
      this.#sent += 1;
      const pool = this.#pools[this.#sent % this.#pools.length];
      if (pool !== undefined) this.#start(this.#read(kind, this.#pick(this.#readers), pool));
    }
  }

  async #read(kind: keyof typeof paths, reader: SignedIn, pool: Pool): Promise<void> {
    const beganMs = performance.now();
    const add = (outcome: Outcome, what: string): void => {
      this.answers.push({ kind, beganMs, endedMs: performance.now(), outcome, what });
    };
    try {
      const { statusCode, headers, body } = await pool.request({
        method: 'GET',
        path: paths[kind],
        headers: { cookie: reader.cookie, 'sec-fetch-site': 'same-origin', 'sec-fetch-mode': 'cors' },
      });
      const text = await body.text();
      const seen = { kind, reader, status: statusCode, headers, text };
      add(outcomeOf(seen), `${paths[kind]}: ${statusCode} ${text.slice(0, 80)}`);
    } catch (error) {
      add('wrong', `${paths[kind]}: ${String(error)}`);
    }
  }

  async #signIn(): Promise<void> {
    const person = this.#pick(this.#fleet.simulators.people);
    const browser = new Person({ username: person.username });
    let path = '/auth/login?return_to=%2Fauth%2Fsession';
    // One step more than there are providers: the last one's callback leads away from /auth/.
    for (let step = 0; step < 3; step += 1) {
      const location = await this.#step(browser, path);
      if (location === undefined) return;
      if (location === '/auth/session') {
        const acknowledged = signedInOf(person, browser);
        this.signedIn.push(acknowledged);
        this.#readers.push(acknowledged);
        return;
      }
      const callback = await throughProvider(browser, location);
      path = callback.pathname + callback.search;
    }
  }

  /** One answer of the gateway; where it leads, if it does. */
  async #step(browser: Person, path: string): Promise<string | undefined> {
    const kind = 'sign-in';
    const beganMs = performance.now();
    const add = (outcome: Outcome, what: string): void => {
      this.answers.push({ kind, beganMs, endedMs: performance.now(), outcome, what });
    };
    const where = path.split('?', 1)[0];
    try {
      const { status, headers, body } = await browser.get(this.#fleet.url + path, { kind: 'navigation' });
      const leadsOn = status === 302 || status === 303;
      if (leadsOn) add('served', `${where}: ${status}`);
      else if (status === 503 && headers['set-cookie'] === undefined) add('refused', `${where}: ${status}`);
      else if (status === 400 && body.includes('expired')) add('expired', `${where}: ${status}`);
      else add('wrong', `${where}: ${status} ${body.slice(0, 300)}`);
      return leadsOn ? headers.location : undefined;
    } catch (error) {
      add('wrong', `${where}: ${String(error)}`);
      return undefined;
    }
  }

  #pick<Item>(items: readonly Item[]): Item {
    const item = items[Math.floor(this.#random() * items.length)];
    if (item === undefined) throw new RangeError('nothing to pick from');
    return item;
  }
}

/** What a browser holds that has just signed in. */
export function signedInOf(person: SimulatedPerson, browser: Person): SignedIn {
  const ticket = readTicket(browser.cookies('localhost').get('__Host-coatcheck') ?? '');
  if (ticket === undefined) throw new Error(`${person.username} has no session`);
  return {
    person,
    browser,
    cookie: cookieHeader(browser),
    sessionId: ticket.sessionId,
    acknowledgedAtMs: performance.now(),
  };
}

interface Seen {
  readonly kind: keyof typeof paths;
  readonly reader: SignedIn;
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly text: string;
}

function outcomeOf({ kind, reader, status, headers, text }: Seen): Outcome {
  const { subjects } = reader.person;
  if (headers['set-cookie'] !== undefined || headers['clear-site-data'] !== undefined) return 'wrong';
  if (status === 401 || (status >= 300 && status < 400)) return 'sent-to-sign-in';
  if (status === 503)
    return text.includes('"store_unavailable"') && headers['retry-after'] !== undefined ? 'refused' : 'wrong';
  if (status !== 200) return 'wrong';
  const isStale = headers['coatcheck-session'] !== undefined;
  if (kind === 'anonymous') {
    const { subject } = JSON.parse(text) as { readonly subject: string | null };
    if (subject === null) return 'anonymous';
    return subject === subjects.identity && !isStale ? 'served' : 'wrong';
  }
  const subject = kind === 'fail-open' ? subjects.notebook : subjects.identity;
  if (headers['x-seen-subject'] !== subject) return 'wrong';
  if (!isStale) return 'served';
  return kind === 'fail-open' ? 'stale' : 'wrong';
}
