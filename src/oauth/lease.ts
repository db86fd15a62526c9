import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { CoatcheckError } from '../errors.ts';
import type { LockResult, SessionStore } from '../session/store.ts';

/** A lock of the store, held while work goes on. */
export interface Lease {
  /** How many holders before this one let it run out without a word. */
  readonly unfinished: number;
  /** Whether it is known that another has taken it meanwhile. */
  readonly isLost: boolean;
  /** The work has come to an end. One command. */
  release(): Promise<void>;
  /** The work has come to no end that others need not know of: the lock runs out, and whoever takes it next is told. */
  abandon(): void;
}

/** The answer to {@link takeLease}. */
export type LeaseResult =
  | { readonly kind: 'taken'; readonly lease: Lease }
  | { readonly kind: 'held'; readonly forMs: number };

/** A process that has died is noticed this late. */
const lockTtlMs = 5000;

/** Takes a lock, unless another holds it, and renews it until it is released or abandoned. One command, one per renewal. */
export async function takeLease(store: SessionStore, name: string): Promise<LeaseResult> {
  const owner = randomUUID();
  const release = (): Promise<void> => unlock(() => store.unlock(name, owner));
  const result = await lockOrUndo(() => store.lock(name, owner, lockTtlMs), release);
  if (result.kind === 'held') return result;
  let isLost = false;
  const renew = async (): Promise<void> => {
    isLost = (await unlessAway(() => store.renewLock(name, owner, lockTtlMs))) === false;
  };
  const renewing = setInterval(() => void renew(), lockTtlMs / 3);
  return {
    kind: 'taken',
    lease: {
      unfinished: result.unfinished,
      get isLost() {
        return isLost;
      },
      release() {
        clearInterval(renewing);
        return release();
      },
      abandon: () => clearInterval(renewing),
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
