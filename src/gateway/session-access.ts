import type { IncomingHttpHeaders } from 'node:http';
import type { Coatcheck } from '../coatcheck.ts';
import type { OutageConfig } from '../config.ts';
import { CoatcheckError } from '../errors.ts';
import { decideOutage, type OutagePolicy } from '../policy.ts';
import type { Session } from '../session/session.ts';
import type { AccessTokenResult, SignedIn } from '../session-manager.ts';
import { cookieValue, sessionCookieName } from './cookies.ts';
import { tokenUnavailable } from './fault-answer.ts';
import { matchesPublicPath } from './request-path.ts';

/** Who is asking, as far as can be told. */
export type SessionAccess =
  | ({ readonly kind: 'session' } & SignedIn)
  /** The store does not answer, and the route's policy lets whoever was verified a moment ago go on. */
  | { readonly kind: 'stale'; readonly session: Session; readonly verifiedForMs: number }
  /** The store does not answer, and the route's policy is to go on without a session. What cannot, throws the fault. */
  | { readonly kind: 'anonymous'; readonly fault: CoatcheckError }
  | { readonly kind: 'none' };

/**
 * The session of a request, under the outage policy of its path. No cookie, no store command. Throws `store_unavailable` where the
 * store does not answer and the policy says to refuse.
 */
export async function accessSession(
  coatcheck: Coatcheck,
  headers: IncomingHttpHeaders,
  path: string,
): Promise<SessionAccess> {
  const value = cookieValue(headers.cookie, sessionCookieName);
  if (value === undefined) return { kind: 'none' };
  try {
    const loaded = await coatcheck.sessions.load(value);
    return loaded.kind === 'session' ? loaded : { kind: 'none' };
  } catch (fault) {
    if (!CoatcheckError.is(fault) || fault.code !== 'store_unavailable') throw fault;
    return bridge(coatcheck, value, { path, fault });
  }
}

interface Outage {
  readonly path: string;
  readonly fault: CoatcheckError;
}

/** What the policy makes of a request that the store has no answer for. */
function bridge(coatcheck: Coatcheck, cookie: string, { path, fault }: Outage): SessionAccess {
  const verified = coatcheck.sessions.lastVerified(cookie);
  const verifiedForMs = verified === undefined ? undefined : coatcheck.now() - verified.verifiedAtMs;
  const decision = decideOutage(policyOf(path, coatcheck.config.outage), verifiedForMs);
  coatcheck.telemetry.metrics.outageDecisions.inc({ decision });
  if (decision === 'go-on-anonymous') return { kind: 'anonymous', fault };
  if (decision === 'refuse' || verified === undefined || verifiedForMs === undefined) throw fault;
  return { kind: 'stale', session: verified.session, verifiedForMs };
}

/** The session where there is one; else `no_session`, or the store's fault where nobody can tell. */
export function requireSession(access: SessionAccess): Session {
  if (access.kind === 'anonymous') throw access.fault;
  if (access.kind === 'none') throw new CoatcheckError('no_session');
  return access.session;
}

/** The access token of one provider. Throws `no_session`, `token_unavailable`, `provider_unavailable` or the store's fault. */
export async function accessToken(
  { sessions }: Coatcheck,
  access: SessionAccess,
  provider: string,
): Promise<string> {
  const session = requireSession(access);
  const result =
    access.kind === 'session'
      ? await sessions.accessToken(access, provider)
      : sessions.staleAccessToken(session, provider);
  if (result.kind === 'token') return result.accessToken;
  throw refusalOf(result);
}

/**
 * Another access token in the place of one that an upstream refuses; `undefined` where there is none, now or ever. Throws
 * `no_session` or `token_unavailable` where that came out by asking.
 */
export async function renewAccessToken(
  { sessions }: Coatcheck,
  access: SessionAccess & { readonly kind: 'session' },
  { provider, rejected }: { readonly provider: string; readonly rejected: string },
): Promise<string | undefined> {
  try {
    const result = await sessions.accessToken(access, provider, rejected);
    if (result.kind !== 'token') throw refusalOf(result);
    return result.accessToken === rejected ? undefined : result.accessToken;
  } catch (error) {
    if (!CoatcheckError.is(error) || !error.retryable) throw error;
    return undefined;
  }
}

function refusalOf(result: Exclude<AccessTokenResult, { kind: 'token' }>): CoatcheckError {
  return result.kind === 'ended' ? new CoatcheckError('no_session') : tokenUnavailable(result.provider);
}

/** The policy of the longest pattern that matches. */
export function policyOf(path: string, outage: OutageConfig): OutagePolicy {
  const patterns = Object.keys(outage.routes).filter((pattern) => matchesPublicPath(path, [pattern]));
  const longest = patterns.sort((one, other) => other.length - one.length)[0];
  return (longest === undefined ? undefined : outage.routes[longest]) ?? outage.default;
}

/** Marks an answer that rests on a session which could not be verified just now. */
export function staleHeaders(access: SessionAccess): Record<string, string> {
  return access.kind === 'stale'
    ? { 'coatcheck-session': `stale; age=${Math.floor(access.verifiedForMs / 1000)}` }
    : {};
}
