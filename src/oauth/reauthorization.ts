import { setTimeout as delay } from 'node:timers/promises';
import { CoatcheckError } from '../errors.ts';
import type { Keyring } from '../session/seal.ts';
import type { Session, TokenSet } from '../session/session.ts';
import { sealRecord } from '../session/session-record.ts';
import type { SessionRecords } from '../session/session-records.ts';
import type { LockOutcome, SessionStore, StoredRecord } from '../session/store.ts';
import { issueTicket, readTicket, type Ticket } from '../session/ticket.ts';
import { type Lease, refreshLock, takeLease } from './lease.ts';
import type { RefreshableProvider } from './refresh.ts';
import { withoutRefreshToken } from './tokens-after.ts';

/** One provider has been asked again for a session that goes on. */
export interface Reauthorization {
  /** The session for which it was asked. */
  readonly sessionId: string;
  /** The cookie value that the browser had until now. */
  readonly previousTicket: string | undefined;
  readonly provider: string;
  readonly tokens: TokenSet;
}

/** The session under its new ticket. */
export interface ReauthorizedSession {
  readonly ticket: Ticket;
  readonly session: Session;
}

/** Parts of {@link reauthorize}. */
export interface ReauthorizationOptions {
  readonly store: SessionStore;
  readonly records: SessionRecords;
  readonly keyring: Keyring;
  /** Those whose tokens can be refreshed. */
  readonly providers: ReadonlyMap<string, RefreshableProvider>;
  readonly idleTimeoutMs: number;
  readonly now: () => number;
  /** Writes and lists a session, unless everything of the person was ended meanwhile. */
  readonly admit: (session: Session, record: Omit<StoredRecord, 'generation'>) => Promise<void>;
  /** Ends a session; whether there was one. */
  readonly end: (sessionId: string) => Promise<boolean>;
}

/** Beyond the longest time that a provider may take for a refresh which is under way. */
const patienceMs = 2000;
const longestPauseMs = 250;

/**
 * Moves a session with new tokens of one provider, and all that others gave, to a new ticket. The locks of those other tokens are held
 * meanwhile, so none is used up after it was copied. Whatever ends the old session meanwhile has ended both: then, as where a lock was
 * lost or the browser has another session by now, `login_expired` is thrown. `login_person_mismatch` where the provider speaks of somebody else than before,
 * `provider_unavailable` where a refresh under way takes too long.
 */
export async function reauthorize(
  options: ReauthorizationOptions,
  request: Reauthorization,
): Promise<ReauthorizedSession> {
  const { previousTicket, sessionId } = request;
  const ticket = previousTicket === undefined ? undefined : readTicket(previousTicket);
  if (ticket?.sessionId !== sessionId) throw expired();
  const timeouts = [...options.providers.values()].map(({ timeoutMs }) => timeoutMs);
  const deadlineMs = performance.now() + Math.max(0, ...timeouts) + patienceMs;
  for (;;) {
    const moved = await tryOnce(options, ticket, request);
    if (moved !== undefined) return moved;
    if (performance.now() >= deadlineMs) {
      const detail = 'a refresh of the same session does not come to an end';
      throw new CoatcheckError('provider_unavailable', { detail, retryAfterMs: patienceMs });
    }
    await delay(Math.random() * longestPauseMs);
  }
}

/** `undefined` where other tokens of the session are being refreshed just now. */
async function tryOnce(
  options: ReauthorizationOptions,
  ticket: Ticket,
  request: Reauthorization,
): Promise<ReauthorizedSession | undefined> {
  const { provider, tokens } = request;
  const before = await read(options, ticket);
  checkSamePerson(provider, tokens, before.tokenSets.get(provider));
  const leases = new Map<string, Lease>();
  let outcome: LockOutcome = 'unsent';
  try {
    for (const [name, { refreshToken }] of before.tokenSets) {
      if (name === provider || refreshToken === undefined || !options.providers.has(name)) continue;
      const result = await takeLease(options.store, refreshLock(ticket, name, refreshToken));
      if (result.kind === 'held') return undefined;
      leases.set(name, result.lease);
    }
    const session = await read(options, ticket);
    const isAsBefore = ([name]: readonly [string, Lease]): boolean =>
      session.tokenSets.get(name)?.refreshToken === before.tokenSets.get(name)?.refreshToken;
    if (![...leases].every(isAsBefore)) return undefined;
    const moved = await move(options, request, { session, leases });
    outcome = 'settled';
    return moved;
  } finally {
    // Not waited for: nothing was begun, so a lock that runs out leaves nothing behind.
    for (const lease of leases.values()) void lease.release(outcome);
  }
}

async function move(
  { keyring, admit, end, now, idleTimeoutMs }: ReauthorizationOptions,
  { provider, tokens }: Reauthorization,
  { session, leases }: { readonly session: Session; readonly leases: ReadonlyMap<string, Lease> },
): Promise<ReauthorizedSession> {
  const ticket = issueTicket();
  const tokenSets = new Map(session.tokenSets).set(provider, tokens);
  for (const [name, { unfinished }] of leases) {
    const other = tokenSets.get(name);
    // Under the new ticket nobody would know that it may have been used: it serves until the access token ends.
    if (other !== undefined && unfinished > 0 && other.refreshTokenReusable !== true)
      tokenSets.set(name, withoutRefreshToken(other));
  }
  const content = { ...session, tokenSets, idleDeadlineMs: now() + idleTimeoutMs };
  const moved: Session = { ...content, id: ticket.sessionId, generation: 1 };
  try {
    await admit(moved, sealRecord(content, ticket, keyring));
    // From now on nobody can use a token of the old session; until now nobody has begun, if the locks are still ours.
    if (!(await end(session.id)) || !(await allHeld(leases))) throw expired();
  } catch (error) {
    await undo(() => end(moved.id));
    throw error;
  }
  return { ticket, session: moved };
}

async function allHeld(leases: ReadonlyMap<string, Lease>): Promise<boolean> {
  const held = await Promise.all(Array.from(leases.values(), (lease) => lease.isHeld()));
  return held.every(Boolean);
}

/** Where the store is away a record stays whose ticket nobody was given; it opens for no one. */
async function undo(end: () => Promise<boolean>): Promise<void> {
  try {
    await end();
  } catch (error) {
    if (!CoatcheckError.is(error)) throw error;
  }
}

async function read({ records }: ReauthorizationOptions, ticket: Ticket): Promise<Session> {
  const session = await records.read(ticket);
  if (typeof session === 'string') throw expired();
  return session;
}

/** Who the provider named at the login, it must name again. */
function checkSamePerson(provider: string, tokens: TokenSet, before: TokenSet | undefined): void {
  if (before?.issuer === tokens.issuer && before.subject === tokens.subject) return;
  throw new CoatcheckError('login_person_mismatch', {
    detail: `providers.${provider}: somebody else has signed in there than at the session's start`,
    shown: { provider },
  });
}

function expired(): CoatcheckError {
  return new CoatcheckError('login_expired', {
    detail: 'the session has ended while one of its providers was asked again',
  });
}
