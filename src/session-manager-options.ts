import type { RefreshableProvider } from './oauth/refresh.ts';
import type { NearCache } from './session/near-cache.ts';
import type { Keyring } from './session/seal.ts';
import type { TokenSet } from './session/session.ts';
import type { SessionStore } from './session/store.ts';
import type { Telemetry } from './telemetry.ts';

/** Parts and settings of a a session manager. */
export interface SessionManagerOptions {
  readonly store: SessionStore;
  readonly keyring: Keyring;
  readonly telemetry: Telemetry;
  /** A session ends after this long without a request. */
  readonly idleTimeoutMs: number;
  /** A session ends this long after sign-in, whatever happens. */
  readonly absoluteTimeoutMs: number;
  /** Remembers opened sessions in this process. Default: every load asks the store, and no outage can be bridged. */
  readonly nearCache?: NearCache;
  /**
   * Whether loads are answered from the near cache: where the store tells of changes, also where it does not, or never (it
   * then only bridges outages). Default `tracked`.
   */
  readonly cacheMode?: 'tracked' | 'dangerously-untracked' | 'off';
  /** Those whose tokens can be refreshed, by name. Default: none. */
  readonly providers?: ReadonlyMap<string, RefreshableProvider>;
  /** Takes the tokens of sessions that end, as far as they can be had. Default: nothing becomes of them. */
  readonly discard?: (tokenSets: ReadonlyMap<string, TokenSet>) => void;
  /** Most sessions of one person at a time; at one more the oldest ends. Default 0: no limit. */
  readonly limit?: number;
  /** Sessions from before this moment (Unix time in ms) have ended, once it has come. Asked at each load. Default: none. */
  readonly validFromMs?: () => number | undefined;
  /** Unix time in ms. Default `Date.now`. */
  readonly now?: () => number;
}
