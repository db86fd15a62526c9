import { createHash } from 'node:crypto';

/** A session and what can be said of it at a given time. Pure: nothing here reads a clock, a store or a key. */

/** Who is signed in, as the first provider of the login says. The key of a person is (issuer, subject), never an e-mail. */
export interface User {
  readonly issuer: string;
  readonly subject: string;
  /** The configured subset of string claims (`session.claims`). */
  readonly claims: ReadonlyMap<string, string>;
}

/** All that one provider issued. */
export interface TokenSet {
  /** Who the person is at this provider. */
  readonly issuer: string;
  /** Empty where the provider names nobody (plain OAuth without userinfo). */
  readonly subject: string;
  /** Space-separated, as granted (RFC 6749 §3.3). */
  readonly scope: string;
  /** Unix time in ms. Always finite: a provider that tells none gets the session's absolute deadline. */
  readonly accessTokenExpiresAtMs: number;
  readonly accessToken: string;
  readonly refreshToken?: string;
  /** When the provider issued the access token, Unix time in ms. Absent where it is not known. */
  readonly obtainedAtMs?: number;
  /** When the person authorized, Unix time in ms. Kept where the refresh token's whole life counts from there. */
  readonly authorizedAtMs?: number;
  /** Unix time in ms. Absent: it lasts as long as the session may. */
  readonly refreshTokenExpiresAtMs?: number;
  /** The last refresh has brought no other refresh token, so this one works more than once. */
  readonly refreshTokenReusable?: true;
  /** How many refreshes in a row have failed for a passing reason. Absent: none. */
  readonly refreshFailures?: number;
  /** Nobody asks the provider before this moment, Unix time in ms. */
  readonly refreshNotBeforeMs?: number;
  /** The provider's own session (OpenID Connect Back-Channel Logout §2.1). Kept where the provider may end ours; empty if it names none. */
  readonly sid?: string;
  /** Kept only as the hint for a later logout at the provider (OpenID Connect RP-Initiated Logout §2). */
  readonly idToken?: string;
}

/** One signed-in browser. */
export interface Session {
  /** Where the store keeps it: a hash of the ticket. Not a secret that opens anything, yet never logged plainly. */
  readonly id: string;
  readonly user: User;
  /** By provider name. */
  readonly tokenSets: ReadonlyMap<string, TokenSet>;
  /** When the person signed in, Unix time in ms. */
  readonly createdAtMs: number;
  /** End of the absolute timeout, Unix time in ms. Never moves. */
  readonly absoluteDeadlineMs: number;
  /** End of the idle timeout, Unix time in ms. */
  readonly idleDeadlineMs: number;
  /** The stored generation that this was read from. */
  readonly generation: number;
}

/**
 * How one provider stands in a session. `ok`: usable, or to be refreshed at its next use. `stale-until`: usable until the access
 * token ends, but refreshing it fails. `unavailable`: ended, and refreshing it fails. `needs-login`: only the person can help.
 */
export type TokenState = 'ok' | 'stale-until' | 'unavailable' | 'needs-login';

/** The state of one provider. */
export function tokenState(session: Session, provider: string, nowMs: number): TokenState {
  const tokens = session.tokenSets.get(provider);
  if (tokens === undefined) return 'needs-login';
  const isFailing = (tokens.refreshFailures ?? 0) > 0;
  if (isUsable(tokens, nowMs)) return isFailing ? 'stale-until' : 'ok';
  if (!isRefreshable(tokens, nowMs)) return 'needs-login';
  return isFailing ? 'unavailable' : 'ok';
}

/** Whether the access token lasts. */
export function isUsable(tokens: TokenSet, nowMs: number): boolean {
  return nowMs < tokens.accessTokenExpiresAtMs;
}

/** Whether there is a refresh token, and it lasts. */
export function isRefreshable(tokens: TokenSet, nowMs: number): boolean {
  return tokens.refreshToken !== undefined && nowMs < (tokens.refreshTokenExpiresAtMs ?? nowMs + 1);
}

/**
 * Whether it is time to refresh an access token that still lasts: in the last 30 s or the last tenth of its life, whichever is
 * longer, but never in its first half. A fifth more or less, by the millisecond at which it was issued: who signed in together
 * does not come back together. Never where the session ends about then anyway.
 */
export function isDueForRefresh(
  tokens: TokenSet,
  { absoluteDeadlineMs }: Pick<Session, 'absoluteDeadlineMs'>,
  nowMs: number,
): boolean {
  const { accessTokenExpiresAtMs: endsAtMs, obtainedAtMs = endsAtMs - 300_000 } = tokens;
  const lifetimeMs = endsAtMs - obtainedAtMs;
  const spread = 0.8 + (0.4 * (obtainedAtMs % 1000)) / 1000;
  const leadMs = Math.min(Math.max(30_000, lifetimeMs / 10) * spread, lifetimeMs / 2);
  return nowMs >= endsAtMs - leadMs && endsAtMs + leadMs < absoluteDeadlineMs;
}

/** True until the earlier of both timeouts. */
export function isLive(session: Session, nowMs: number): boolean {
  return nowMs < session.idleDeadlineMs && nowMs < session.absoluteDeadlineMs;
}

/** Whether a session is from before the moment as of which sessions count; a moment that has not come ends none. */
export function signedInBefore(
  { createdAtMs }: Pick<Session, 'createdAtMs'>,
  validFromMs: number | undefined,
  nowMs: number,
): boolean {
  return validFromMs !== undefined && validFromMs <= nowMs && createdAtMs < validFromMs;
}

/** Beyond this moment (Unix time in ms) nothing in the session is of use: no token usable or refreshable, or past the absolute timeout. */
export function usableUntilMs(session: Pick<Session, 'tokenSets' | 'absoluteDeadlineMs'>): number {
  const { absoluteDeadlineMs } = session;
  const lastUses = [...session.tokenSets.values()].map((tokens) =>
    tokens.refreshToken === undefined
      ? tokens.accessTokenExpiresAtMs
      : Math.max(tokens.accessTokenExpiresAtMs, tokens.refreshTokenExpiresAtMs ?? absoluteDeadlineMs),
  );
  return Math.min(absoluteDeadlineMs, Math.max(...lastUses));
}

/** The least gain that makes an extension worth a write: 30 s, or a twentieth of the idle timeout if that is more. */
export function extensionIntervalMs(idleTimeoutMs: number): number {
  return Math.max(30_000, idleTimeoutMs / 20);
}

/** Name of the index that lists a person's sessions: those of whom a provider says that it is them. */
export function userIndex({ issuer, subject }: Pick<User, 'issuer' | 'subject'>): string {
  return indexName('coatcheck/user/1', [issuer, subject]);
}

/** Name of the index that lists the sessions which came from one session of a provider. */
export function providerSessionIndex(issuer: string, sid: string): string {
  return indexName('coatcheck/provider-session/1', [issuer, sid]);
}

/** Every index in which a session stands: its user's, and those by which providers end it. */
export function indexesOf({ user, tokenSets }: Pick<Session, 'user' | 'tokenSets'>): string[] {
  const names = [userIndex(user)];
  for (const { issuer, subject, sid } of tokenSets.values()) {
    if (sid === undefined) continue;
    if (subject !== '') names.push(userIndex({ issuer, subject }));
    if (sid !== '') names.push(providerSessionIndex(issuer, sid));
  }
  return [...new Set(names)];
}

/** A hash of an unambiguous tuple: names no one in the store. */
function indexName(kind: string, tuple: readonly string[]): string {
  return createHash('sha256').update(kind).update(JSON.stringify(tuple)).digest('base64url');
}
