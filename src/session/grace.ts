import { DeadlineQueue } from './deadline-queue.ts';

/** The moment after a loss in which it pays to wait. It has a limit, in ms. */
export class Grace {
  readonly #deadlines: DeadlineQueue;
  #waiting: Set<() => void> | undefined;

  constructor(limitMs: number) {
    this.#deadlines = new DeadlineQueue(limitMs);
  }

  begin(): void {
    if (this.#waiting !== undefined) return;
    const waiting = new Set<() => void>();
    this.#waiting = waiting;
    this.#deadlines.add(() => {
      if (this.#waiting === waiting) this.end();
    });
  }

  /** Resolves when it is over: at once where there is none. */
  passed(): Promise<void> {
    return new Promise((resolve) => {
      if (this.#waiting === undefined) resolve();
      else this.#waiting.add(resolve);
    });
  }

  end(): void {
    for (const resolve of this.#waiting ?? []) resolve();
    this.#waiting = undefined;
  }
}
