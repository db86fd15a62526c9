/** A whole round takes an eighth as many writes as there are entries. */
const trimmedPerWrite = 8;

/** A map whose entries end. Each write also drops what has ended among the next few entries, in a rotating order. */
export class ExpiringMap<Value> {
  readonly #entries = new Map<string, { readonly value: Value; readonly endsAtMs: number }>();
  readonly #now: () => number;
  #round: Iterator<[string, { readonly endsAtMs: number }]> = this.#entries.entries();

  constructor(now: () => number) {
    this.#now = now;
  }

  /** How many entries are held, ended ones included. */
  get size(): number {
    return this.#entries.size;
  }

  get(key: string): Value | undefined {
    const entry = this.#entries.get(key);
    return entry && this.#now() < entry.endsAtMs ? entry.value : undefined;
  }

  set(key: string, value: Value, endsAtMs: number): void {
    this.#entries.set(key, { value, endsAtMs });
    this.#trim();
  }

  /** True if there was a live one. */
  delete(key: string): boolean {
    const lived = this.get(key) !== undefined;
    this.#entries.delete(key);
    return lived;
  }

  clear(): void {
    this.#entries.clear();
  }

  #trim(): void {
    for (let looked = 0; looked < trimmedPerWrite; looked++) {
      const next = this.#round.next();
      if (next.done) {
        this.#round = this.#entries.entries();
        return;
      }
      const [key, { endsAtMs }] = next.value;
      if (this.#now() >= endsAtMs) this.#entries.delete(key);
    }
  }
}
