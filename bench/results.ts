import type { EndpointResults } from './gated-endpoint.ts';

/** Times of single calls, in µs. */
export interface Latency {
  readonly p50: number;
  readonly p99: number;
  readonly calls: number;
}

/** What `load-cost.js` tells. */
export interface LoadCost {
  /** From the near cache. */
  readonly cached: Latency;
  /** From the store, of a session that this process has not opened before. */
  readonly first: Latency;
  /** From the store, of one that it has, unchanged since. */
  readonly again: Latency;
  /** A bare GET of the same bytes. */
  readonly get: Latency;
}

/** What `revocation.js` tells. */
export interface Revocation {
  readonly sessions: number;
  readonly refusals: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly mostMs: number;
}

/** What `stored-bytes.js` tells of one length of token, in bytes. */
export interface StoredBytes {
  readonly tokenCharacters: number;
  readonly coatcheck: number;
  readonly index: number;
  readonly peer: number;
  readonly coatcheckValue: number;
  readonly peerValue: number;
}

/** What `growth.js` tells. */
export interface Growth {
  readonly sessionsPerPerson: number;
  readonly cacheEntries: number;
  /** Of one entry of the near cache. */
  readonly cacheBytes: number;
  readonly rows: readonly GrowthRow[];
}

/** One number of stored sessions; medians. */
export interface GrowthRow {
  readonly sessions: number;
  /** One session with its index entry, of all the memory that the server has in use. */
  readonly storedBytes: number;
  readonly loadMicroseconds: number;
  readonly listMicroseconds: number;
  readonly destroyAllMicroseconds: number;
}

/** Everything that was measured. */
export interface Results {
  readonly endpoints: EndpointResults;
  /** One per round. */
  readonly loadCosts: readonly LoadCost[];
  readonly storedBytes: readonly StoredBytes[];
  readonly revocation: Revocation;
  /** The same where replicas are told nothing, and in ms the maximum age of what they have. */
  readonly cutRevocation: Revocation & { readonly maximumAgeMs: number };
  readonly growth: Growth;
  /** By package; the servers among them. */
  readonly versions: Readonly<Record<string, string>>;
  /** Of the last minute before the start: whether the machine had other work. */
  readonly loadBefore: number;
  /** How it was measured, in a sentence. */
  readonly settings: string;
}
