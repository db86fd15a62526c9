/** One wait that may come too late. */
export interface Deadline {
  /** It came in time: `onLate` will not be called. */
  settle(): void;
}

interface Entry extends Deadline {
  readonly dueAtMs: number;
  readonly onLate: () => void;
  settled: boolean;
  next: Entry | undefined;
}

/**
 * Deadlines that all have the same length, so that first in is first due and a single timer serves them all.
 * (A timer, or an `AbortSignal`, for each command halves the throughput of the Redis client.)
 */
export class DeadlineQueue {
  readonly #limitMs: number;
  #first: Entry | undefined;
  #last: Entry | undefined;
  #armed = false;

  constructor(limitMs: number) {
    this.#limitMs = limitMs;
  }

  /** Calls `onLate` after the limit unless settled before. Never keeps the process alive. */
  add(onLate: () => void): Deadline {
    const entry: Entry = {
      dueAtMs: performance.now() + this.#limitMs,
      onLate,
      settled: false,
      next: undefined,
      settle() {
        this.settled = true;
      },
    };
    this.#dropSettled();
    if (this.#last) this.#last.next = entry;
    else this.#first = entry;
    this.#last = entry;
    this.#arm(this.#limitMs);
    return entry;
  }

  /** The outcome of `work`, or after the limit the error that `onLate` makes. */
  within<Result>(work: Promise<Result>, onLate: () => Error): Promise<Result> {
    return new Promise((resolve, reject) => {
      const deadline = this.add(() => reject(onLate()));
      work.then(resolve, reject).finally(() => deadline.settle());
    });
  }

  #arm(delayMs: number): void {
    if (this.#armed) return;
    this.#armed = true;
    // After a stall of our own event loop, timers run before sockets are read: let the answers in first.
    setTimeout(() => setImmediate(() => this.#expire()), Math.ceil(delayMs)).unref();
  }

  #expire(): void {
    this.#armed = false;
    const nowMs = performance.now();
    for (this.#dropSettled(); this.#first && this.#first.dueAtMs <= nowMs; this.#dropSettled()) {
      const late = this.#first;
      late.settle();
      late.onLate();
    }
    if (this.#first) this.#arm(this.#first.dueAtMs - nowMs);
  }

  #dropSettled(): void {
    while (this.#first?.settled) this.#first = this.#first.next;
    if (!this.#first) this.#last = undefined;
  }
}
