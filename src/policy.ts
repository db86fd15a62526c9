/**
 * What happens to a request when the session store does not answer. A pure table; nothing else decides.
 *
 * | policy | session verified by this replica at most `staleFor` ago | otherwise |
 * |---|---|---|
 * | `fail-closed` | refuse (503, Retry-After, cookie untouched) | refuse |
 * | `fail-open` | serve, marked; nothing is written, nothing refreshed | refuse |
 * | `anonymous` | go on without a session | go on without a session |
 */
export type OutagePolicy =
  | { readonly policy: 'fail-closed' }
  /** The operator has written down for how long a person may go on while nobody can tell whether they were signed out. */
  | { readonly policy: 'fail-open' /** ms */; readonly staleForMs: number }
  | { readonly policy: 'anonymous' };

/** What to do with the request. */
export type OutageDecision = 'refuse' | 'serve-stale' | 'go-on-anonymous';

/**
 * Decides for one request.
 *
 * @param verifiedForMs how long ago this replica last read the session from the store, in ms; `undefined` if never
 */
export function decideOutage(outage: OutagePolicy, verifiedForMs: number | undefined): OutageDecision {
  switch (outage.policy) {
    case 'fail-closed':
      return 'refuse';
    case 'fail-open':
      return verifiedForMs !== undefined && verifiedForMs <= outage.staleForMs ? 'serve-stale' : 'refuse';
    case 'anonymous':
      return 'go-on-anonymous';
  }
}
