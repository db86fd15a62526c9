import type { Adapter, AdapterPayload } from 'oidc-provider';

interface Entry {
  payload: AdapterPayload;
  expiresAtMs: number;
}

const sweepIntervalMs = 30_000;

/**
 * What one provider has issued, in memory. The provider's own in-memory store forgets the oldest of 1000 entries, also
 * live ones; this one forgets exactly what has expired, swept now and then while writing.
 */
export class TokenStore {
  readonly #entries = new Map<string, Entry>();
  readonly #keysByGrant = new Map<string, Set<string>>();
  readonly #sessionByUid = new Map<string, string>();
  #sweptAtMs = Date.now();

  /** How many entries are kept, expired ones not yet swept included. */
  get size(): number {
    return this.#entries.size;
  }

  /** The part of the store that keeps one model, as oidc-provider wants it. */
  adapter(model: string): Adapter {
    const keyOf = (id: string): string => `${model}:${id}`;
    return {
      upsert: async (id, payload, expiresInSeconds) => this.#put(keyOf(id), payload, expiresInSeconds),
      find: async (id) => this.#get(keyOf(id)),
      findByUid: async (uid) => this.#get(this.#sessionByUid.get(uid) ?? ''),
      findByUserCode: async () => undefined,
      consume: async (id) => {
        const payload = this.#get(keyOf(id));
        if (payload) payload.consumed = Math.floor(Date.now() / 1000);
      },
      destroy: async (id) => this.#remove(keyOf(id)),
      revokeByGrantId: async (grantId) => {
        for (const key of this.#keysByGrant.get(grantId) ?? []) this.#remove(key);
      },
    };
  }

  /** Takes back all that was ever granted. */
  revokeAll(): void {
    for (const keys of [...this.#keysByGrant.values()]) for (const key of [...keys]) this.#remove(key);
  }

  #get(key: string): AdapterPayload | undefined {
    const entry = this.#entries.get(key);
    return entry && entry.expiresAtMs > Date.now() ? entry.payload : undefined;
  }

  #put(key: string, payload: AdapterPayload, expiresInSeconds = Number.POSITIVE_INFINITY): void {
    this.#sweep();
    this.#entries.set(key, { payload, expiresAtMs: Date.now() + expiresInSeconds * 1000 });
    if (payload.kind === 'Session' && payload.uid) this.#sessionByUid.set(payload.uid, key);
    if (!payload.grantId) return;
    const keys = this.#keysByGrant.get(payload.grantId) ?? new Set();
    this.#keysByGrant.set(payload.grantId, keys.add(key));
  }

  #remove(key: string): void {
    const payload = this.#entries.get(key)?.payload;
    this.#entries.delete(key);
    if (payload?.uid && this.#sessionByUid.get(payload.uid) === key) this.#sessionByUid.delete(payload.uid);
    const keys = payload?.grantId ? this.#keysByGrant.get(payload.grantId) : undefined;
    keys?.delete(key);
    if (payload?.grantId && keys?.size === 0) this.#keysByGrant.delete(payload.grantId);
  }

  #sweep(): void {
    const now = Date.now();
    if (now - this.#sweptAtMs < sweepIntervalMs) return;
    this.#sweptAtMs = now;
    for (const [key, entry] of this.#entries) if (entry.expiresAtMs <= now) this.#remove(key);
  }
}
