import { setTimeout as delay } from 'node:timers/promises';

/** A time during which the store did not serve. Times are `performance.now()`. */
export interface Outage {
  readonly fromMs: number;
  /** Begin of the first attempt that succeeded again; `undefined` while there has been none. */
  toMs: number | undefined;
}

/** Asks the store over and over, beside the fleet, and remembers when it did not answer. */
export class Availability {
  readonly outages: Outage[] = [];
  readonly #probe: () => Promise<void>;
  readonly #asking: Promise<void>;
  #upSinceMs: number = performance.now();
  #stopped = false;

  /** Starts at once. */
  constructor(probe: () => Promise<void>) {
    this.#probe = probe;
    this.#asking = this.#ask();
  }

  /** For how long the store has been serving, in ms; 0 while it does not. */
  get upForMs(): number {
    return this.outages.at(-1)?.toMs === undefined && this.outages.length > 0
      ? 0
      : performance.now() - this.#upSinceMs;
  }

  /** The latest moment up to `atMs` at which the store began to serve, or `otherwise`; `undefined` while it was away. */
  backBefore(atMs: number, otherwise: number): number | undefined {
    const outage = this.outages.findLast(({ fromMs }) => fromMs <= atMs);
    if (outage === undefined) return otherwise;
    return outage.toMs === undefined || outage.toMs > atMs ? undefined : outage.toMs;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#asking;
  }

  async #ask(): Promise<void> {
    for (; !this.#stopped; await delay(20)) {
      const beganMs = performance.now();
      const last = this.outages.at(-1);
      const isAway = last !== undefined && last.toMs === undefined;
      try {
        await this.#probe();
        if (!isAway) continue;
        last.toMs = beganMs;
        this.#upSinceMs = beganMs;
      } catch {
        if (!isAway) this.outages.push({ fromMs: beganMs, toMs: undefined });
      }
    }
  }
}
