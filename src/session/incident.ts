/** Failures within this time of each other belong together. */
const incidentMs = 5000;

/** Failures that follow each other, so that attempts can be spaced out. */
export class Incident {
  #count = 0;
  #lastAtMs = Number.NEGATIVE_INFINITY;

  /** To be called at each failure; tells how many there were before it. */
  next(): number {
    const nowMs = performance.now();
    if (nowMs - this.#lastAtMs > incidentMs) this.#count = 0;
    this.#lastAtMs = nowMs;
    return this.#count++;
  }
}
