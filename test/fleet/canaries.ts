/** Secrets that must not be readable in a copy of the store, by what they are. */
export class Canaries {
  readonly #byKind = new Map<string, Set<string>>();

  /** What is too short to be told from chance is refused. */
  add(kind: string, ...secrets: readonly string[]): void {
    const known = this.#byKind.get(kind) ?? new Set();
    this.#byKind.set(kind, known);
    for (const secret of secrets) {
      if (secret.length < 8) throw new RangeError(`a ${kind} of ${secret.length} characters proves nothing`);
      known.add(secret);
    }
  }

  /** How many there are of each kind. */
  get counts(): Record<string, number> {
    return Object.fromEntries([...this.#byKind].map(([kind, { size }]) => [kind, size]));
  }

  /** The kinds of those that can be read in these bytes: in any letter case, in hexadecimal, or in base64 at any offset. */
  readableIn(dump: Buffer): string[] {
    const text = dump.toString('latin1');
    const lower = text.toLowerCase();
    const isReadable = (secret: string): boolean =>
      lower.includes(Buffer.from(secret).toString('latin1').toLowerCase()) ||
      lower.includes(Buffer.from(secret).toString('hex')) ||
      base64Cores(secret).some((core) => text.includes(core));
    return [...this.#byKind].flatMap(([kind, secrets]) => ([...secrets].some(isReadable) ? [kind] : []));
  }
}

/** The part of a secret's base64 and base64url that is the same whatever stands before and after it. */
function base64Cores(secret: string): string[] {
  return [0, 1, 2].flatMap((skipped) => {
    const rest = Buffer.from(secret).subarray(skipped);
    const whole = rest.subarray(0, rest.length - (rest.length % 3));
    return [whole.toString('base64'), whole.toString('base64url')];
  });
}
