import { createHmac, randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { CoatcheckError } from '../errors.ts';
import type { LockOutcome, LockResult, SessionStore } from '../session/store.ts';
import type { Ticket } from '../session/ticket.ts';

/** A lock of the store, held while work goes on. */
export interface Lease {
  /** How many holders before this one have begun, and nobody knows how it ended. */
  readonly unfinished: number;
  /** Just before what cannot be repeated at will; remembered for so long beyond the holding. False where the lock was lost. One command. */
  begin(forMs: number): Promise<boolean>;
  /** Whether nobody else has taken it. One command. */
  isHeld(): Promise<boolean>;
  /** The work has come to an end. One command. */
  release(outcome: LockOutcome): Promise<void>;
}

/** The answer to {@link takeLease}. */
export type LeaseResult =
  | { readonly kind: 'taken'; readonly lease: Lease }
  | { readonly kind: 'held'; readonly forMs: number };

/** Name of the lock of one refresh token, in its session's slot. A keyed hash: whoever reads the store learns nothing of the token. */
export function refreshLock({ sessionId, secret }: Ticket, provider: string, refreshToken: string): string {
  const hash = createHmac('sha256', secret).update(
    JSON.stringify(['coatcheck/lock/1', provider, refreshToken]),
  );
  return `${sessionId}:${provider}:${hash.digest('base64url').slice(0, 22)}`;
}

/** A process that has died is noticed this late. */
const ttlMs = 5000;

/** Takes a lock, unless another holds it, and renews it until it is released. One command, one per renewal. */
export async function takeLease(store: SessionStore, name: string): Promise<LeaseResult> {
  const owner = randomUUID();
  const release = (outcome: LockOutcome): Promise<void> => unlock(() => store.unlock(name, owner, outcome));
  const result = await lockOrUndo(
    () => store.lock(name, owner, ttlMs),
    () => release('unsent'),
  );
  if (result.kind === 'held') return result;
  const renewing = setInterval(
    () => void unlessAway(() => store.renewLock(name, owner, { ttlMs })),
    ttlMs / 3,
  );
  return {
    kind: 'taken',
    lease: {
      unfinished: result.unfinished,
      begin: (begunForMs) => store.renewLock(name, owner, { ttlMs, begunForMs }),
      isHeld: () => store.renewLock(name, owner, { ttlMs }),
      release(outcome) {
        clearInterval(renewing);
        return release(outcome);
      },
    },
  };
}

/** A lock whose answer did not come may have been taken all the same. */
async function lockOrUndo(lock: () => Promise<LockResult>, undo: () => Promise<void>): Promise<LockResult> {
  try {
    return await lock();
  } catch (error) {
    void undo();
    throw error;
  }
}

/** Tries for half a minute: a lock that runs out would count as a holder who has crashed. */
async function unlock(tryOnce: () => Promise<boolean>): Promise<void> {
  for (let attempt = 0; attempt < 60; attempt += 1) {
    if ((await unlessAway(tryOnce)) !== undefined) return;
    await delay(500, undefined, { ref: false });
  }
}

/** `undefined` where the store does not answer. */
async function unlessAway(ask: () => Promise<boolean>): Promise<boolean | undefined> {
  try {
    return await ask();
  } catch (error) {
    if (!CoatcheckError.is(error)) throw error;
    return undefined;
  }
}
