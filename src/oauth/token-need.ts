import { isDueForRefresh, isRefreshable, isUsable, type Session, type TokenSet } from '../session/session.ts';
import type { Ticket } from '../session/ticket.ts';

/** Which tokens are wanted. */
export interface TokenOrder {
  readonly ticket: Ticket;
  readonly provider: string;
  /** The access token that an upstream has refused. */
  readonly rejected?: string | undefined;
}

/** What an order comes to. While the provider cannot be asked, `provider_unavailable` is thrown. */
export type TokenOutcome =
  | { readonly kind: 'tokens'; readonly tokens: TokenSet }
  /** Only the person can help. */
  | { readonly kind: 'needs-login' }
  /** The session has ended. */
  | { readonly kind: 'ended' };

/** What is to be done about an order, as a session stands. */
export type TokenNeed = KnownOutcome | { readonly kind: 'wait'; readonly forMs: number } | GrantNeed;

/** Nothing is to be asked for. */
export interface KnownOutcome {
  readonly kind: 'outcome';
  readonly outcome: TokenOutcome;
}

/** These tokens are to be refreshed. */
export interface GrantNeed {
  readonly kind: 'grant';
  readonly session: Session;
  readonly tokens: TokenSet;
}

/** An access token this young is not refreshed because an upstream refuses it: that would never end. */
const leastAgeMs = 60_000;

/** What is to be done about an order, as a session stands. */
export function tokenNeed(
  { provider, rejected }: TokenOrder,
  session: Session,
  { nowMs, hasProvider }: { readonly nowMs: number; readonly hasProvider: boolean },
): TokenNeed {
  const tokens = session.tokenSets.get(provider);
  if (tokens === undefined) return outcomeOf({ kind: 'needs-login' });
  const isStillUsable = isUsable(tokens, nowMs);
  const isWanted =
    rejected === undefined
      ? isDueForRefresh(tokens, session, nowMs)
      : tokens.accessToken === rejected && nowMs - (tokens.obtainedAtMs ?? 0) >= leastAgeMs;
  const canBe = isRefreshable(tokens, nowMs) && hasProvider;
  const notBeforeMs = tokens.refreshNotBeforeMs ?? 0;
  if (isStillUsable && !(isWanted && canBe && nowMs >= notBeforeMs))
    return outcomeOf({ kind: 'tokens', tokens });
  if (!canBe) return outcomeOf({ kind: 'needs-login' });
  return nowMs < notBeforeMs
    ? { kind: 'wait', forMs: notBeforeMs - nowMs }
    : { kind: 'grant', session, tokens };
}

/** A need that is none. */
export function outcomeOf(outcome: TokenOutcome): KnownOutcome {
  return { kind: 'outcome', outcome };
}
