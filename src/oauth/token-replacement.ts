import { setTimeout as delay } from 'node:timers/promises';
import { CoatcheckError } from '../errors.ts';
import type { Session, TokenSet } from '../session/session.ts';
import type { SessionRecords } from '../session/session-records.ts';
import type { Ticket } from '../session/ticket.ts';

/** Which tokens take the place of which. */
export interface TokenReplacement {
  readonly ticket: Ticket;
  readonly provider: string;
  /** As it was read. */
  readonly session: Session;
  readonly before: TokenSet;
  readonly after: TokenSet;
  /** How long it is tried again while the store is away, ms. */
  readonly forMs: number;
}

/** The answer to {@link replaceTokens}. */
export type TokenReplacementResult =
  | { readonly kind: 'replaced' }
  /** The session has ended. */
  | { readonly kind: 'gone' }
  /** Others have put newer tokens there. */
  | { readonly kind: 'superseded'; readonly session: Session }
  | { readonly kind: 'away'; readonly error: CoatcheckError };

/**
 * Puts `after` in the place of `before`, whatever else has changed in the session meanwhile, and nowhere else: who has authorized
 * anew, or was quicker, has the better tokens.
 */
export async function replaceTokens(
  records: SessionRecords,
  replacement: TokenReplacement,
): Promise<TokenReplacementResult> {
  const deadlineMs = performance.now() + replacement.forMs;
  let { session } = replacement;
  for (let waitMs = 50; ; ) {
    try {
      const result = await tryOnce(records, replacement, session);
      if (result.kind !== 'conflict') return result;
      session = result.session;
    } catch (error) {
      if (!CoatcheckError.is(error) || error.code !== 'store_unavailable') throw error;
      if (performance.now() >= deadlineMs) return { kind: 'away', error };
      await delay(Math.random() * waitMs);
      waitMs = Math.min(2 * waitMs, 1000);
    }
  }
}

async function tryOnce(
  records: SessionRecords,
  { ticket, provider, before, after }: TokenReplacement,
  session: Session,
): Promise<TokenReplacementResult | { readonly kind: 'conflict'; readonly session: Session }> {
  const { kind } = await records.replace(ticket, session, [provider, after]);
  if (kind !== 'conflict') return { kind };
  const current = await records.read(ticket);
  if (typeof current === 'string') return { kind: 'gone' };
  const theirs = current.tokenSets.get(provider);
  // A write of ours whose answer was lost.
  if (isSame(theirs, after)) return { kind: 'replaced' };
  return {
    kind: isSame(theirs, before) || isGivenUp(theirs, before) ? 'conflict' : 'superseded',
    session: current,
  };
}

function isSame(one: TokenSet | undefined, other: TokenSet): boolean {
  return one?.accessToken === other.accessToken && one.refreshToken === other.refreshToken;
}

/** Another has tried the same refresh token after us and was refused: what we got may yet be good. */
function isGivenUp(one: TokenSet | undefined, other: TokenSet): boolean {
  return one?.accessToken === other.accessToken && one.refreshToken === undefined;
}
