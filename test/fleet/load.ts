/**
 * Steady load of many people over a few keep-alive connections. Every answer is held against the person and the very call that
 * it must belong to.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { type Dispatcher, Pool } from 'undici';
import { seededRandom } from '../random.ts';
import type { Member } from './crowd.ts';

/** What to send. */
export interface LoadOptions {
  readonly url: string;
  readonly crowd: readonly Member[];
  /** `aud` of the tokens for the internal system. */
  readonly systemsAudience: string;
  /** Calls under way at a time, each on a connection of its own. Default 16. */
  readonly concurrency?: number;
  /** Share of calls that the client breaks off, before or during the answer. Default 0. */
  readonly abortShare?: number;
  /** Default 1. */
  readonly seed?: number;
}

/** What came of it. */
export interface LoadReport {
  /** Calls with a complete answer of status 2xx. */
  answered: number;
  /** Calls that the client broke off. */
  aborted: number;
  /** Answers that belong to another person, audience or call. */
  readonly wrong: string[];
  /** Sent to sign in. */
  readonly redirected: string[];
  /** 401: no session. */
  readonly unauthorized: string[];
  /** Any other status, and broken connections: what happened, in a line. */
  readonly failed: string[];
  /** How long it has run. */
  seconds: number;
}

/** One call and what its answer must show. */
interface Call {
  readonly number: number;
  readonly member: Member;
  readonly route: Route;
}

interface Route {
  readonly method: Dispatcher.HttpMethod;
  readonly path: string;
  readonly body?: string;
  /** Subject at that provider, and the audience as the upstream says it; no audience for our own endpoint. */
  readonly seen: 'identity' | 'notebook' | 'session';
  /** Share of the calls, in tenths. */
  readonly share: number;
}

const routes: readonly Route[] = [
  { method: 'GET', path: '/auth/session', seen: 'session', share: 3 },
  { method: 'GET', path: '/api/eln/echo', seen: 'notebook', share: 3 },
  { method: 'GET', path: '/api/systems/echo', seen: 'identity', share: 3 },
  {
    method: 'POST',
    path: '/api/systems/registrations',
    body: '{"item":"buffer"}',
    seen: 'identity',
    share: 1,
  },
];
const mixed = routes.flatMap((route) => Array.from({ length: route.share }, () => route));

interface SeenBody {
  readonly path?: string;
  readonly seen?: { readonly subject?: string };
  readonly user?: { readonly subject?: string };
}

const aborted = new Error('the client breaks off');

/** A load that is running. */
export class Load {
  readonly report: LoadReport = {
    answered: 0,
    aborted: 0,
    wrong: [],
    redirected: [],
    unauthorized: [],
    failed: [],
    seconds: 0,
  };
  readonly #options: LoadOptions;
  readonly #crowd: Member[];
  readonly #random: () => number;
  readonly #pool: Pool;
  readonly #startedAtMs = performance.now();
  readonly #workers: Promise<unknown>;
  #begun = 0;
  #stopped = false;

  /** Starts at once. */
  constructor(options: LoadOptions) {
    const { concurrency = 16, seed = 1, url } = options;
    this.#options = options;
    this.#crowd = [...options.crowd];
    this.#random = seededRandom(seed);
    this.#pool = new Pool(url, { connections: concurrency, pipelining: 1 });
    this.#workers = Promise.all(Array.from({ length: concurrency }, () => this.#work()));
  }

  /** Another person takes part from now on. */
  add(member: Member): void {
    this.#crowd.push(member);
  }

  /** Resolves when so many more calls have been answered; throws where none has been for a minute. */
  async answers(count: number): Promise<void> {
    const wanted = this.report.answered + count;
    for (let seen = -1, sinceMs = 0; this.report.answered < wanted; await delay(5)) {
      if (this.report.answered > seen) [seen, sinceMs] = [this.report.answered, performance.now()];
      if (performance.now() - sinceMs > 60_000)
        throw new Error(`nothing moves: ${describeLoad(this.report)}`);
    }
  }

  /** Lets the calls under way end. May be called again. */
  async stop(): Promise<LoadReport> {
    if (this.#stopped) return this.report;
    this.#stopped = true;
    await this.#workers;
    await this.#pool.close();
    return this.report;
  }

  async #work(): Promise<void> {
    while (!this.#stopped) {
      this.#begun += 1;
      await this.#send({
        number: this.#begun,
        member: this.#pick(this.#crowd),
        route: this.#pick(mixed),
      });
    }
  }

  async #send(call: Call): Promise<void> {
    const { number, member, route } = call;
    const broken = this.#breakOff();
    try {
      const answer = await this.#pool.request({
        method: route.method,
        path: `${route.path}?call=${number}`,
        headers: {
          cookie: member.cookie,
          'sec-fetch-site': 'same-origin',
          'sec-fetch-mode': 'cors',
          'x-request-id': requestId(number),
          ...(route.body === undefined ? {} : { 'content-type': 'application/json' }),
        },
        ...(route.body === undefined ? {} : { body: route.body }),
        ...(broken.signal ? { signal: broken.signal } : {}),
      });
      broken.atAnswer();
      this.#judge(call, answer, await answer.body.text());
    } catch (error) {
      if (error === aborted) this.report.aborted += 1;
      else this.report.failed.push(`${route.method} ${route.path}: ${String(error)}`);
    } finally {
      broken.clear();
      this.report.seconds = (performance.now() - this.#startedAtMs) / 1000;
    }
  }

  /** Some calls are broken off a few milliseconds after they began, others when their answer begins. */
  #breakOff(): { signal?: AbortSignal; atAnswer: () => void; clear: () => void } {
    const nothing = (): void => undefined;
    if (this.#random() >= (this.#options.abortShare ?? 0)) return { atAnswer: nothing, clear: nothing };
    const controller = new AbortController();
    const abort = (): void => controller.abort(aborted);
    if (this.#random() < 0.3) return { signal: controller.signal, atAnswer: abort, clear: nothing };
    const timer = setTimeout(abort, this.#random() * 12);
    return { signal: controller.signal, atAnswer: nothing, clear: () => clearTimeout(timer) };
  }

  #judge(call: Call, answer: Dispatcher.ResponseData, text: string): void {
    const { report } = this;
    const { statusCode: status, headers } = answer;
    const what = `${call.route.method} ${call.route.path}: ${status} by ${headers['coatcheck-replica']}: ${text}`;
    if (status >= 300 && status < 400) report.redirected.push(what);
    else if (status === 401) report.unauthorized.push(what);
    else if (status >= 400) report.failed.push(what);
    else if (this.#isRight(call, headers, text)) report.answered += 1;
    else report.wrong.push(`${what}; expected ${call.member.person.username}, call ${call.number}`);
  }

  #isRight(
    { number, member, route }: Call,
    headers: Dispatcher.ResponseData['headers'],
    text: string,
  ): boolean {
    const { subjects } = member.person;
    const body = JSON.parse(text) as SeenBody;
    if (headers['x-request-id'] !== requestId(number)) return false;
    if (route.seen === 'session') return body.user?.subject === subjects.identity;
    const audience = route.seen === 'identity' ? this.#options.systemsAudience : '';
    return (
      headers['x-seen-subject'] === subjects[route.seen] &&
      headers['x-seen-audience'] === audience &&
      body.seen?.subject === subjects[route.seen] &&
      (route.method === 'POST' || body.path?.endsWith(`?call=${number}`) === true)
    );
  }

  #pick<Item>(items: readonly Item[]): Item {
    const item = items[Math.floor(this.#random() * items.length)];
    if (item === undefined) throw new RangeError('nothing to pick from');
    return item;
  }
}

const requestId = (number: number): string => `call-${String(number).padStart(9, '0')}`;

/** One line to quote. */
export function describeLoad(report: LoadReport): string {
  const { answered, aborted: broken, wrong, redirected, unauthorized, failed, seconds } = report;
  return [
    `${answered} calls answered in ${seconds.toFixed(1)} s (${Math.round(answered / seconds)}/s)`,
    `${broken} broken off by the client`,
    `${failed.length} failed`,
    `${wrong.length} mismatches`,
    `${redirected.length} redirected to login`,
    `${unauthorized.length} answered 401`,
  ].join(', ');
}
