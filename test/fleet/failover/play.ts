import type { ConfigChange } from '../orchestrator.ts';

/** A store with all its nodes, and the one mishap that befalls it. */
export interface Play {
  /** The fleet's `store` section. */
  readonly store: ConfigChange;
  /** Throws unless the store, asked directly, keeps a write and gives it back: on every primary where there are several. */
  probe(): Promise<void>;
  /** Those of the sessions that the store, asked directly, does not have. */
  missing(sessionIds: readonly string[]): Promise<string[]>;
  /** The mishap, and all that an operator does about it while people work. */
  strike(): Promise<void>;
  /** Makes the store whole again, for the next run. */
  mend(): Promise<void>;
  stop(): Promise<void>;
}

/** One kind of failure. */
export interface Scenario {
  readonly name: string;
  readonly topology: 'single' | 'Sentinel' | 'Cluster';
  /** What is done, in a sentence. */
  readonly what: string;
  /** Whether all that was stored is gone afterwards: everybody then has to sign in again, and can. */
  readonly empties?: true;
  /** Whether it takes seconds only, so that the tests run it too. */
  readonly quick?: true;
  readonly start: () => Promise<Play>;
}
