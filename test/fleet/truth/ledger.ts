import type { Conditions } from './conditions.ts';
import { judge, type Staleness } from './history.ts';
import { judgeHolds, judgeTakes } from './once.ts';
import {
  type Hold,
  nowMs,
  type Operation,
  type Report,
  type SessionEvent,
  type Take,
  type Told,
} from './operation.ts';
import { idleTimeoutMs, type Replica } from './replica.ts';

/** Options of a {@link Ledger}. */
export interface LedgerOptions {
  readonly random: () => number;
  readonly conditions: Conditions;
  readonly witness: Replica;
}

/** What is known of one session. */
interface Entry {
  readonly session: number;
  readonly events: SessionEvent[];
  ticket: string | undefined;
  /** Operations that have been handed out and not been told of. */
  pending: number;
  /** When it is judged; set once its end has been asked for. */
  judgeAtMs: number | undefined;
}

/** Sessions that everybody works on at a time. */
const liveCount = 24;
/** Share of operations on sessions whose end has been asked for. */
const endingShare = 0.2;
const lockNames = 6;
const takers = 3;
/** A session goes on being asked for so long after its end: sometimes longer than any staleness that is excused. */
const afterlifeMs = (random: () => number): number => (random() < 0.1 ? 4000 : 300 + random() * 700);

/** What is done to a live session, and to one that ends: weights. */
const living = { load: 82, read: 4, replace: 8, extend: 4, destroy: 0.6 } as const;
const ending = { load: 84, read: 6, replace: 5, extend: 3, destroy: 2 } as const;

/** Says what is done next, and writes down what came of it. */
export class Ledger {
  readonly #random: () => number;
  readonly #conditions: Conditions;
  readonly #witness: Replica;
  readonly #entries = new Map<number, Entry>();
  #live: Entry[] = [];
  readonly #ending = new Set<Entry>();
  #creating = 0;
  #nextNumber = 1;
  /** Bytes to be taken, and by how many more. */
  readonly #toTake = new Map<string, number>();
  readonly #takes = new Map<string, Take[]>();
  readonly #holds: Hold[] = [];
  readonly #ended: string[] = [];
  readonly lies: string[] = [];
  readonly staleness: Staleness[] = [];
  /** Operations by what came of them. */
  readonly outcomes: Map<string, number> = new Map();
  answered = 0;
  faults = 0;
  judged = 0;

  constructor({ random, conditions, witness }: LedgerOptions) {
    this.#random = random;
    this.#conditions = conditions;
    this.#witness = witness;
  }

  /** What is to be done next, by one replica. */
  batch(size: number): Operation[] {
    if (this.#live.length === 0) return Array.from({ length: liveCount / 4 }, () => this.#create());
    const takes = [...this.#toTake.keys()].map((id) => this.#take(id));
    const rest = Array.from({ length: size }, () => this.#next());
    return [...takes, ...rest.filter((operation) => operation !== undefined)];
  }

  /** Writes down what came of a batch, and judges what is over. */
  async enter(batch: readonly Operation[], { told, faults }: Report): Promise<void> {
    for (const one of told) this.#enter(one);
    for (const operation of batch) this.#finish(operation);
    this.faults += faults;
    this.answered += batch.length - Math.min(faults, batch.length);
    for (const entry of this.#ending) {
      if (entry.pending === 0 && entry.judgeAtMs !== undefined && nowMs() > entry.judgeAtMs)
        await this.#judge(entry);
    }
  }

  /** Judges all that is left. */
  async settle(): Promise<void> {
    for (const entry of [...this.#entries.values()]) await this.#judge(entry);
    this.lies.push(...judgeHolds(this.#holds, this.#conditions));
    for (const ticket of this.#ended) {
      const [told] = await this.#witness.perform({ kind: 'read', session: 0, ticket });
      if (told?.about === 'session' && told.event.answer.kind === 'session')
        this.lies.push(`a session is there again at the end: ${JSON.stringify(told)}`);
    }
  }

  #next(): Operation | undefined {
    const dice = this.#random();
    if (dice < 0.01) return { kind: 'put', id: `once-${this.#nextNumber++}` };
    if (dice < 0.02) return this.#lock();
    if (this.#live.length + this.#creating < liveCount) return this.#create();
    const fromEnding = this.#random() < endingShare && this.#ending.size > 0;
    const entry = this.#pick(fromEnding ? [...this.#ending] : this.#live);
    if (entry?.ticket === undefined) return undefined;
    return this.#operation(entry, fromEnding ? ending : living);
  }

  #take(id: string): Operation {
    const left = (this.#toTake.get(id) ?? 0) - 1;
    if (left > 0) this.#toTake.set(id, left);
    else this.#toTake.delete(id);
    return { kind: 'take', id };
  }

  #lock(): Operation {
    const name = `lock-${Math.floor(this.#random() * lockNames)}`;
    return { kind: 'lock', name, owner: `owner-${this.#nextNumber++}`, holdMs: this.#random() ** 12 * 400 };
  }

  #create(): Operation {
    const session = this.#nextNumber++;
    const entry: Entry = { session, events: [], ticket: undefined, pending: 1, judgeAtMs: undefined };
    this.#entries.set(session, entry);
    this.#creating += 1;
    const write = `w${this.#nextNumber++}`;
    const before = this.#random() < 0.2 ? this.#pick(this.#live) : undefined;
    if (before?.ticket === undefined) return { kind: 'create', session, write };
    before.pending += 1;
    this.#beginEnd(before);
    return { kind: 'create', session, write, previous: { session: before.session, ticket: before.ticket } };
  }

  #operation(entry: Entry, weights: Readonly<Record<keyof typeof living, number>>): Operation {
    const { session, ticket = '' } = entry;
    entry.pending += 1;
    const kind = this.#weighted(weights);
    if (kind === 'destroy') this.#beginEnd(entry);
    if (kind === 'replace') return { kind, session, ticket, write: `w${this.#nextNumber++}` };
    if (kind !== 'extend') return { kind, session, ticket };
    return {
      kind,
      session,
      ticket,
      idleDeadlineMs: Date.now() + idleTimeoutMs + Math.floor(this.#random() * 60_000),
    };
  }

  #weighted<Kind extends string>(weights: Readonly<Record<Kind, number>>): Kind {
    const all = Object.entries(weights) as [Kind, number][];
    let dice = this.#random() * all.reduce((sum, [, weight]) => sum + weight, 0);
    for (const [kind, weight] of all) {
      dice -= weight;
      if (dice < 0) return kind;
    }
    throw new RangeError('no weights');
  }

  #pick<Item>(items: readonly Item[]): Item | undefined {
    return items[Math.floor(this.#random() * items.length)];
  }

  #beginEnd(entry: Entry): void {
    if (entry.judgeAtMs !== undefined) return;
    entry.judgeAtMs = nowMs() + afterlifeMs(this.#random);
    this.#live = this.#live.filter((one) => one !== entry);
    this.#ending.add(entry);
  }

  #enter(told: Told): void {
    if (told.about === 'session') {
      const entry = this.#entries.get(told.session);
      if (entry === undefined) throw new Error(`told of session ${told.session}, which has been judged`);
      entry.events.push(told.event);
      this.#count(`${told.event.kind} ${told.event.answer.kind}`);
      if (told.event.kind === 'create') this.#created(entry, told.event);
    } else if (told.about === 'lock') {
      this.#count(told.hold === undefined ? 'lock refused' : 'lock held');
      if (told.hold !== undefined) this.#holds.push(told.hold);
    } else if (told.about === 'put') {
      if (told.stored) this.#toTake.set(told.id, takers);
    } else {
      this.#count(`take ${told.take.answer}`);
      const takes = [...(this.#takes.get(told.take.id) ?? []), told.take];
      this.#takes.set(told.take.id, takes);
      if (takes.length < takers) return;
      this.lies.push(...judgeTakes(takes, this.#conditions));
      this.#takes.delete(told.take.id);
    }
  }

  #created(entry: Entry, { answer }: SessionEvent): void {
    this.#creating -= 1;
    if (answer.kind === 'created') {
      entry.ticket = answer.ticket;
      this.#live.push(entry);
    } else this.#entries.delete(entry.session);
  }

  #count(outcome: string): void {
    this.outcomes.set(outcome, (this.outcomes.get(outcome) ?? 0) + 1);
  }

  #finish(operation: Operation): void {
    const sessions = 'session' in operation ? [operation.session] : [];
    if (operation.kind === 'create' && operation.previous !== undefined)
      sessions.push(operation.previous.session);
    for (const session of sessions) {
      const entry = this.#entries.get(session);
      if (entry !== undefined) entry.pending -= 1;
    }
  }

  async #judge(entry: Entry): Promise<void> {
    this.#ending.delete(entry);
    this.#entries.delete(entry.session);
    if (entry.ticket === undefined) return;
    const { session, events, ticket } = entry;
    const last = await this.#witness.perform({ kind: 'read', session, ticket });
    for (const told of last) if (told.about === 'session') events.push(told.event);
    const { lies, staleness } = judge({ session, events }, this.#conditions);
    this.lies.push(...lies);
    this.staleness.push(...staleness);
    this.judged += 1;
    if (events.some(({ answer }) => answer.kind === 'ended')) this.#ended.push(ticket);
  }
}
