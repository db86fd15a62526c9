import type { Change, Conditions, Excuse } from './conditions.ts';
import { type SessionEvent, type Span, subjectOf, type Version } from './operation.ts';

/** All that was done to one session, in any order. */
export interface SessionHistory {
  readonly session: number;
  readonly events: readonly SessionEvent[];
}

/** How late a load was that told what was so no more; excused, or a lie. */
export type Staleness = Excuse;

/** What the judge found. */
export interface Verdict {
  /** Each a sentence; none where all is well. */
  readonly lies: readonly string[];
  readonly staleness: readonly Staleness[];
}

type Of<Kind extends SessionEvent['kind']> = Extract<SessionEvent, { kind: Kind }>;
type Seen = Of<'load' | 'read'> & { readonly answer: { readonly kind: 'session' } };

const never = Number.POSITIVE_INFINITY;

/**
 * Compares what was answered with what can have been true. A session is a register of its own: its generations form one line,
 * each made by one write from the one before, until it ends. An operation that ended in a fault may have happened at any time
 * after it began, or never.
 */
export function judge(history: SessionHistory, conditions: Conditions): Verdict {
  return new Judge(history, conditions).verdict();
}

class Judge {
  readonly #session: number;
  readonly #events: readonly SessionEvent[];
  readonly #conditions: Conditions;
  readonly #lies: string[] = [];
  readonly #staleness: Staleness[] = [];
  readonly #writes = new Map<string, Of<'create' | 'replace'>>();
  /** What happened while replies were in order. */
  readonly #unmixed = new Set<SessionEvent>();
  /** What anybody may have changed. */
  readonly #changes: readonly Change[];
  readonly #ends: readonly Of<'destroy'>[];
  readonly #extensions: readonly Of<'extend'>[];
  /** Which write made each generation. */
  readonly #line = new Map<number, string>();
  /** From when on each generation is known to have existed. */
  readonly #existedMs = new Map<number, number>();
  /** From when on it is known that there was no session. */
  #goneMs = never;

  constructor({ session, events }: SessionHistory, conditions: Conditions) {
    this.#session = session;
    this.#events = events;
    this.#conditions = conditions.around({
      startMs: Math.min(...events.map(({ startMs }) => startMs)),
      endMs: Math.max(...events.map(({ endMs }) => endMs)),
    });
    for (const event of events) {
      if (event.kind === 'create' || event.kind === 'replace') this.#writes.set(event.write, event);
      if (!this.#conditions.mixed(event)) this.#unmixed.add(event);
    }
    this.#changes = events
      .filter(({ kind }) => kind !== 'load' && kind !== 'read')
      .map(({ startMs, endMs, answer }) => ({
        begunMs: startMs,
        knownMs: answer.kind === 'fault' ? never : endMs,
      }));
    this.#ends = events.filter((event) => event.kind === 'destroy');
    this.#extensions = events
      .filter((event) => event.kind === 'extend')
      .filter((event) => this.#isSure(event));
  }

  verdict(): Verdict {
    for (const event of this.#events) this.#learn(event);
    this.#checkLine();
    this.#checkEnd();
    const superseded = this.#superseded();
    for (const event of this.#events) this.#checkTime(event, superseded);
    return { lies: this.#lies, staleness: this.#staleness };
  }

  /** What this event proves, and what about it cannot be, whenever it was. */
  #learn(event: SessionEvent): void {
    if (isSeen(event)) this.#learnSighting(event);
    else if (!this.#isSure(event)) return;
    else if (event.kind === 'create') {
      this.#place({ generation: 1, write: event.write }, event);
    } else if (event.kind === 'replace' && event.answer.kind === 'replaced') {
      this.#place({ generation: event.answer.generation, write: event.write }, event);
    } else if (event.kind === 'replace' && event.answer.kind === 'conflict') {
      this.#existed(event.base.generation + 1, event.endMs);
    } else if (tellsOfEnd(event)) {
      this.#goneMs = Math.min(this.#goneMs, event.endMs);
    }
  }

  #learnSighting(event: Seen): void {
    const { subject, torn, generation, write, base } = event.answer;
    const writer = this.#writes.get(write);
    if (subject !== subjectOf(this.#session)) this.#lie('showed the session of another', event);
    if (torn) this.#lie('showed parts of different writes', event);
    if (writer === undefined) {
      this.#lie(`showed a write that was never made: ${write}`, event);
      return;
    }
    if (writer.startMs > event.endMs) this.#lie(`showed ${write} before it was written`, event);
    const refused = writer.answer.kind === 'conflict' || writer.answer.kind === 'gone';
    if (refused && this.#isSure(writer)) this.#lie(`showed ${write}, which had been refused`, event);
    this.#place({ generation, write }, event);
    if (generation > 1) this.#place({ generation: generation - 1, write: base }, event);
  }

  #place({ generation, write }: Version, event: SessionEvent): void {
    const known = this.#line.get(generation);
    if (known !== undefined && known !== write) {
      this.#lie(`lost update: generation ${generation} is of ${known} and of ${write}`, event);
    }
    this.#line.set(generation, write);
    this.#existed(generation, event.endMs);
  }

  #existed(generation: number, atMs: number): void {
    this.#existedMs.set(generation, Math.min(this.#existedMs.get(generation) ?? never, atMs));
  }

  /** Each generation stands on the one before. */
  #checkLine(): void {
    for (const generation of [...this.#line.keys()].sort((one, other) => other - one)) {
      const writer = this.#writes.get(this.#line.get(generation) ?? '');
      if (writer?.kind === 'create' && generation !== 1)
        this.#lie(`began at generation ${generation}`, writer);
      if (writer?.kind !== 'replace') continue;
      if (writer.base.generation !== generation - 1)
        this.#lie(`lost update: generation ${generation} was based on ${writer.base.generation}`, writer);
      else this.#place(writer.base, writer);
    }
  }

  /** Nobody ends a session twice, and none ends by itself. */
  #checkEnd(): void {
    const firstMs = Math.min(...this.#ends.map(({ startMs }) => startMs));
    for (const event of this.#events) {
      if (
        event.answer.kind === 'fault' &&
        event.answer.code !== 'store_unavailable' &&
        this.#unmixed.has(event)
      )
        this.#lie('failed for no reason of the store', event);
      if (isUnreadable(event) && this.#isSure(event)) this.#lie('could not be read', event);
      if (this.#isSure(event) && tellsOfEnd(event) && event.endMs < firstMs)
        this.#lie('was refused while it lived', event);
    }
    const ended = this.#ends.filter((event) => event.answer.kind === 'ended' && this.#isSure(event));
    if (ended[1] !== undefined) this.#lie('ended twice', ended[1]);
  }

  #checkTime(event: SessionEvent, superseded: ReadonlyMap<number, Change>): void {
    const lives = isSeen(event) || isWritten(event);
    if (!lives || (!isSeen(event) && !this.#isSure(event))) return;
    this.#checkSince('lived after its end', this.#gone(), event);
    if (this.#endedHere(event)) this.#lie('lived at the replica that had ended it', event);
    if (!isSeen(event)) return;
    const { generation, idleDeadlineMs } = event.answer;
    this.#checkSince(`was of generation ${generation}`, superseded.get(generation), event);
    this.#checkSince('had lost an extension', this.#extendedBeyond(idleDeadlineMs), event);
  }

  /** What is not so since a change may be told by memory for a while, and by the store not at all. */
  #checkSince(what: string, change: Change | undefined, event: SessionEvent): void {
    if (change === undefined || event.startMs <= change.knownMs) return;
    const ms = event.startMs - change.knownMs;
    const excuse = this.#conditions.excuse(event, change, this.#changes);
    const excused = event.kind === 'load' || !this.#unmixed.has(event);
    if (event.kind === 'load') this.#staleness.push({ weather: excuse.weather, ms });
    if (!excused || ms > excuse.ms) {
      const bound = excused ? `${excuse.ms.toFixed(0)} ms (${excuse.weather})` : 'never';
      this.#lie(`${what}, ${ms.toFixed(1)} ms later; allowed: ${bound}`, event);
    }
  }

  #endedHere(event: SessionEvent): boolean {
    return (
      this.#isSure(event) &&
      this.#ends.some(
        (end) => end.replica === event.replica && end.endMs < event.startMs && this.#isSure(end),
      )
    );
  }

  #gone(): Change {
    return { begunMs: Math.min(...this.#ends.map(({ startMs }) => startMs)), knownMs: this.#goneMs };
  }

  /** When each generation was replaced. */
  #superseded(): Map<number, Change> {
    const superseded = new Map<number, Change>();
    let knownMs = never;
    for (let generation = Math.max(0, ...this.#existedMs.keys()); generation >= 1; generation -= 1) {
      const next = this.#writes.get(this.#line.get(generation + 1) ?? '');
      superseded.set(generation, { begunMs: next?.startMs ?? Number.NEGATIVE_INFINITY, knownMs });
      knownMs = Math.min(knownMs, this.#existedMs.get(generation) ?? never);
    }
    return superseded;
  }

  /** The first extension beyond this idle deadline. */
  #extendedBeyond(idleDeadlineMs: number): Change | undefined {
    const [first] = this.#extensions
      .filter(({ answer }) => answer.kind === 'extended' && answer.idleDeadlineMs > idleDeadlineMs)
      .sort((one, other) => one.endMs - other.endMs);
    return first && { begunMs: first.startMs, knownMs: first.endMs };
  }

  /** Whether the answer proves anything. */
  #isSure(event: SessionEvent): boolean {
    return event.answer.kind !== 'fault' && this.#unmixed.has(event);
  }

  #lie(what: string, { kind, replica, startMs, endMs, answer }: SessionEvent): void {
    const span: Span = { replica, startMs, endMs };
    const weather = this.#conditions.describe({ startMs: startMs - 5000, endMs });
    const seen = { ...answer, ticket: undefined };
    const lie = { session: this.#session, what, kind, ...span, answer: seen, weather };
    this.#lies.push(JSON.stringify(lie));
  }
}

function isSeen(event: SessionEvent): event is Seen {
  return (event.kind === 'load' || event.kind === 'read') && event.answer.kind === 'session';
}

function isWritten({ answer }: SessionEvent): boolean {
  return answer.kind === 'replaced' || answer.kind === 'extended' || answer.kind === 'conflict';
}

function isUnreadable(event: SessionEvent): boolean {
  return event.answer.kind === 'none' && event.answer.why !== 'unknown';
}

function tellsOfEnd(event: SessionEvent): boolean {
  const { answer } = event;
  if (event.kind === 'destroy') return answer.kind === 'ended' || answer.kind === 'over';
  return answer.kind === 'gone' || (answer.kind === 'none' && !isUnreadable(event));
}
