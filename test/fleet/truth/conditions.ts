import type { Span, Stall } from './operation.ts';
import type { Disturbance, WeatherKind } from './weather.ts';

/** How stale a load may be, in ms: with every connection well, and in each weather. A read from the store may never be. */
export interface StalenessBounds extends Readonly<Record<WeatherKind | 'fair', number>> {}

/** What is promised by a replica whose near cache keeps sessions for `maximumAgeMs` at most. */
export function stalenessBounds(maximumAgeMs: number): StalenessBounds {
  const fair = 100;
  // A connection that is silent is asked after a second, given up after another (`node-connection.ts`).
  const silence = 2000 + fair;
  // In `delay` the longest delay of the proxy comes on top.
  return { fair, cut: fair, delay: 150 + fair, blackhole: silence, mix: silence, deaf: maximumAgeMs };
}

/** Replies that were mixed up may be in flight for so long after the weather has changed. */
const mixedForMs = 1000;

/** A stall costs its own time, and what has piled up meanwhile must be worked off: as long again, at most. */
const workOff = 2;
/** More than that no stall excuses: else, on a busy machine, a replica that never hears of anything would pass. */
const mostExcusedMs = 900;

/** Something that happened to a session at some time in between. */
export interface Change {
  /** When somebody began to make it. */
  readonly begunMs: number;
  /** From when on it is known to have been made. */
  readonly knownMs: number;
}

/** Who asked, and when. */
type Asked = Pick<Span, 'replica' | 'startMs'>;

/** How late is not too late. */
export interface Excuse {
  readonly weather: WeatherKind | 'fair';
  readonly ms: number;
}

/** No replica: only what stalls everyone counts. */
const nobody = -1;

/** Under what conditions a trial took place: what the judge may excuse. */
export class Conditions {
  readonly #bounds: StalenessBounds;
  readonly #disturbances: readonly Disturbance[];
  /** By number of the replica; those of the proxy and of Redis count for everyone. */
  readonly #stalls = new Map<number | 'everyone', Stall[]>();

  constructor(bounds: StalenessBounds, disturbances: readonly Disturbance[]) {
    this.#bounds = bounds;
    this.#disturbances = disturbances;
  }

  /** The same, without what was over before or began after. */
  around({ startMs, endMs }: Pick<Span, 'startMs' | 'endMs'>): Conditions {
    const longestShadowMs = Math.max(this.#bounds.deaf, mixedForMs);
    const near = new Conditions(
      this.#bounds,
      this.#disturbances.filter((one) => one.startMs <= endMs && startMs <= one.endMs + longestShadowMs),
    );
    for (const [who, stalls] of this.#stalls) {
      near.addStalls(
        who,
        stalls.filter((one) => one.startMs <= endMs && startMs <= one.endMs),
      );
    }
    return near;
  }

  addStalls(who: number | 'everyone', stalls: readonly Stall[]): void {
    const known = this.#stalls.get(who) ?? [];
    known.push(...stalls);
    this.#stalls.set(who, known);
  }

  /** How much of all this time processes were stalled, in ms. */
  get stalledMs(): number {
    return [...this.#stalls.values()].flat().reduce((sum, { startMs, endMs }) => sum + endMs - startMs, 0);
  }

  /**
   * Whether replies may have been mixed up meanwhile. A reply that does not name its question (`OK`, a number, nothing) then
   * says nothing, and a reply for the same key may be that to an earlier command.
   */
  mixed({ startMs, endMs }: Pick<Span, 'startMs' | 'endMs'>): boolean {
    return this.#disturbances.some(
      (one) => one.kind === 'mix' && one.startMs <= endMs && startMs <= one.endMs + mixedForMs,
    );
  }

  /** What there was meanwhile, for who reads of a lie. */
  describe({ startMs, endMs }: Pick<Span, 'startMs' | 'endMs'>): string {
    const near = this.#disturbances.filter((one) => one.startMs <= endMs && startMs <= one.endMs);
    return near.map((one) => `${one.kind} ${one.startMs.toFixed(0)}–${one.endMs.toFixed(0)}`).join(', ');
  }

  /**
   * How late a replica may know of a change, and the weather that excuses it.
   *
   * @param changes all that anybody may have changed about the session
   */
  excuse(asked: Asked, change: Change, changes: readonly Change[]): Excuse {
    const { replica, startMs: askedMs } = asked;
    let weather: WeatherKind | 'fair' = 'fair';
    for (const one of this.#disturbances) {
      // Redis tells of a key once, until it is read again: where that was swallowed, later changes are not told either.
      const shadowMs = one.kind === 'deaf' ? this.#bounds.deaf : one.kind === 'mix' ? mixedForMs : 0;
      if (one.startMs > askedMs || one.endMs + shadowMs < change.begunMs) continue;
      if (one.kind === 'deaf' && !changes.some((each) => this.#toldWithin(each, one))) continue;
      if (weather === 'fair' || this.#bounds[one.kind] > this.#bounds[weather]) weather = one.kind;
    }
    const stalledMs = this.#excusedWithin({ replica, startMs: change.knownMs, endMs: askedMs });
    return { weather, ms: this.#bounds[weather] + stalledMs };
  }

  /** Whether the server may have told of a change while it could not be heard. */
  #toldWithin({ begunMs, knownMs }: Change, { startMs, endMs }: Disturbance): boolean {
    const span = { replica: nobody, startMs: knownMs, endMs: startMs };
    return begunMs <= endMs && startMs <= knownMs + this.#bounds.fair + this.#excusedWithin(span);
  }

  /** What stalls within a time excuse, in ms. */
  #excusedWithin({ replica, startMs, endMs }: Span): number {
    const stalls = [...(this.#stalls.get(replica) ?? []), ...(this.#stalls.get('everyone') ?? [])];
    let stalledMs = 0;
    let countedMs = startMs;
    // Where several stalled at once, that time counts once.
    for (const stall of stalls.sort((one, other) => one.startMs - other.startMs)) {
      const untilMs = Math.min(stall.endMs, endMs);
      stalledMs += Math.max(0, untilMs - Math.max(stall.startMs, countedMs));
      countedMs = Math.max(countedMs, untilMs);
    }
    return Math.min(workOff * stalledMs, mostExcusedMs);
  }
}
