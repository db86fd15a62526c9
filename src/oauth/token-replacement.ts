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

/**
 * The answer to {@link replaceTokens}. `isDoubtful`: the answer to a write was lost, so what is in use now may stem from `after`.
 */
export type TokenReplacementResult =
  | { readonly kind: 'replaced' }
  /** The session has ended. */
  | { readonly kind: 'gone'; readonly isDoubtful: boolean }
  /** Others have put newer tokens there. */
  | { readonly kind: 'superseded'; readonly session: Session; readonly isDoubtful: boolean }
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
  let isDoubtful = false;
  for (let waitMs = 50; ; ) {
    try {
      const result = await tryOnce(records, replacement, session);
      if (result.kind === 'replaced') return result;
      if (result.kind !== 'conflict') return { ...result, isDoubtful };
      session = result.session;
    } catch (error) {
      if (!CoatcheckError.is(error) || error.code !== 'store_unavailable') throw error;
      isDoubtful = true;
      if (performance.now() >= deadlineMs) return { kind: 'away', error };
      await delay(Math.random() * waitMs);
      waitMs = Math.min(2 * waitMs, 1000);
    }
  }
}

type Attempt =
  | { readonly kind: 'replaced' }
  | { readonly kind: 'gone' }
  | { readonly kind: 'superseded'; readonly session: Session }
  | { readonly kind: 'conflict'; readonly session: Session };

async function tryOnce(
  records: SessionRecords,
  { ticket, provider, before, after }: TokenReplacement,
  session: Session,
): Promise<Attempt> {
  const { kind } = await records.replace(ticket, session, [provider, after]);
  if (kind !== 'conflict') return { kind };
  const current = await records.read(ticket);
  if (typeof current === 'string') return { kind: 'gone' };
  const theirs = current.tokenSets.get(provider);
  // Otherwise only a failure is to be noted beside them.
  const areNew = !isSame(before, after);
  // A write of ours whose answer was lost.
  if (areNew && (isSame(theirs, after) || isRenewedOf(theirs, { before, after })))
    return { kind: 'replaced' };
  const isOpen = isSame(theirs, before) || (areNew && isGivenUp(theirs, before));
  return { kind: isOpen ? 'conflict' : 'superseded', session: current };
}

/** Whether our own new refresh token is there, whatever has been noted beside it since. */
function isRenewedOf(
  theirs: TokenSet | undefined,
  { before, after }: Pick<TokenReplacement, 'before' | 'after'>,
): boolean {
  return (
    after.refreshToken !== undefined &&
    after.refreshToken !== before.refreshToken &&
    theirs?.refreshToken === after.refreshToken
  );
}

function isSame(one: TokenSet | undefined, other: TokenSet): boolean {
  return one?.accessToken === other.accessToken && one.refreshToken === other.refreshToken;
}

/** Another has tried the same refresh token after us and was refused: what we got may yet be good. */
function isGivenUp(one: TokenSet | undefined, other: TokenSet): boolean {
  return one?.accessToken === other.accessToken && one.refreshToken === undefined;
}
