import { createHash, randomBytes } from 'node:crypto';
import type { Keyring } from '../session/seal.ts';
import type { TokenSet } from '../session/session.ts';
import type { SessionStore } from '../session/store.ts';

/**
 * What lives between the redirect to a provider and its callback. It is kept in the store, so any replica may take the
 * callback; sealed under a secret that only the browser that began the login holds; found by (provider, state); handed
 * out once.
 *
 * One login cookie serves all logins that a browser has under way at once (several tabs), so the number of cookies does not grow:
 * each transaction has its own state, nonce and verifier, and its own entry in the store.
 */
export interface Transaction extends SealedStep {
  /** OpenID Connect Core §3.1.2.1. 256 random bits. */
  readonly nonce: string;
  /** RFC 7636 §4.1. */
  readonly codeVerifier: string;
  /** Longest since the person proved who they are, as asked of the provider; checked in its answer. Default: any time. */
  readonly maxAgeMs?: number;
  /** Ways of proving it that were asked for; one of them must be in the answer. Default: any way. */
  readonly acrValues?: readonly string[];
  /** Where the browser goes in the end; a path of this site. */
  readonly returnTo: string;
  /** What earlier providers of the same login have answered. */
  readonly answers: readonly Authorization[];
  /** The session that goes on, where only this provider is asked again. Default: all are asked, for a new session. */
  readonly sessionId?: string;
  /** When the login began, Unix time in ms. */
  readonly startedAtMs: number;
  /** The epoch of the person's sessions when the first provider had said who they are. */
  readonly personEpoch?: number;
}

/** By what a transaction is found. */
export interface SealedStep {
  /** Which provider was asked. */
  readonly provider: string;
  /** RFC 6749 §4.1.1. 256 random bits. */
  readonly state: string;
}

/** What one provider has answered: who the person is there, and the tokens. */
export interface Authorization {
  readonly provider: string;
  readonly tokens: TokenSet;
  /** String claims from ID token and userinfo, for the `sameUser` rule and the session's claims. */
  readonly claims: Readonly<Record<string, string>>;
}

/** How long a person may take at one provider: 10 minutes. */
export const transactionLifetimeMs: number = 600_000;

const pattern = /^l1\.([A-Za-z0-9_-]{43})$/;

/** The secret in the login cookie, with the cookie's value. */
export interface LoginSecret {
  readonly value: string;
  readonly secret: Buffer;
}

/** A new login cookie: `l1.` and 32 random bytes in base64url. Its prefix and its derivations keep it from ever passing as a ticket. */
export function issueLoginSecret(): LoginSecret {
  const secret = randomBytes(32);
  return { value: `l1.${secret.toString('base64url')}`, secret };
}

/** Reads a login cookie; `undefined` for anything that we cannot have issued. */
export function readLoginSecret(value: string): LoginSecret | undefined {
  const encoded = pattern.exec(value)?.[1];
  return encoded === undefined ? undefined : { value, secret: Buffer.from(encoded, 'base64url') };
}

/** A transaction with the secret of the browser that began it. */
export interface TakenTransaction<Kept = Transaction> {
  readonly transaction: Kept;
  readonly loginSecret: LoginSecret;
}

/** Keeps transactions in the store. */
export interface TransactionStore<Kept extends SealedStep = Transaction> {
  /** One command. */
  put(transaction: Kept, login: LoginSecret): Promise<void>;
  /**
   * One command. The transaction, and which of the browser's secrets opened it; `undefined` where there is none, where it was
   * taken before, or where another browser began it.
   */
  take(
    provider: string,
    state: string,
    logins: readonly LoginSecret[],
  ): Promise<TakenTransaction<Kept> | undefined>;
}

/** Transactions, sealed, on a session store. */
export function createTransactionStore<Kept extends SealedStep = Transaction>(
  store: SessionStore,
  keyring: Keyring,
): TransactionStore<Kept> {
  return {
    async put(transaction, { secret }) {
      const id = transactionId(transaction.provider, transaction.state);
      const { keyId, bytes } = keyring.seal(Buffer.from(JSON.stringify(transaction)), placeOf(id, secret));
      const named = Buffer.from(keyId);
      await store.putOnce(
        id,
        Buffer.concat([Buffer.from([named.length]), named, bytes]),
        transactionLifetimeMs,
      );
    },

    async take(provider, state, logins) {
      const id = transactionId(provider, state);
      const value = await store.takeOnce(id);
      if (value === undefined) return undefined;
      const nameEnd = 1 + (value[0] ?? 0);
      const sealed = { keyId: value.subarray(1, nameEnd).toString(), bytes: value.subarray(nameEnd) };
      for (const loginSecret of logins) {
        const plain = keyring.open(sealed, placeOf(id, loginSecret.secret));
        if (plain !== undefined) return { transaction: JSON.parse(plain.toString()) as Kept, loginSecret };
      }
      return undefined;
    },
  };
}

function placeOf(id: string, secret: Buffer): Parameters<Keyring['seal']>[1] {
  return { purpose: 'transaction', id, slot: 'transaction', secret };
}

/** The provider is part of the name: a state that was made for one provider does not exist at another's callback. */
function transactionId(provider: string, state: string): string {
  return createHash('sha256')
    .update('coatcheck/transaction/1')
    .update(JSON.stringify([provider, state]))
    .digest('base64url');
}
