import { createHash, randomUUID } from 'node:crypto';
import { CoatcheckError } from '../errors.ts';
import type { SessionStore } from '../session/store.ts';
import type { Telemetry } from '../telemetry.ts';
import { type LogoutOrder, logoutTokenLifetimeMs } from './logout-token.ts';
import type { Provider } from './provider.ts';

/** Parts of {@link BackchannelLogout}. */
export interface BackchannelLogoutOptions {
  /** By name. */
  readonly providers: ReadonlyMap<string, Pick<Provider, 'readLogoutToken'>>;
  readonly store: SessionStore;
  /** Ends what a provider says is over, and whatever login of it is under way; how many sessions have ended. May be repeated. */
  readonly end: (order: LogoutOrder) => Promise<number>;
  readonly telemetry: Telemetry;
}

/** A replica that dies while it ends sessions keeps others from that for so long. */
const workingMs = 15_000;
/** Longer than any token is good for, clocks that differ included. */
const usedMs = logoutTokenLifetimeMs + 180_000;

/** Takes logout tokens of providers (OpenID Connect Back-Channel Logout 1.0), each once across the fleet. */
export class BackchannelLogout {
  readonly #options: BackchannelLogoutOptions;

  constructor(options: BackchannelLogoutOptions) {
    this.#options = options;
  }

  /**
   * Ends what a logout token says; that nobody here is meant is no fault. Throws `logout_token_invalid`, `not_found` where that provider
   * ends no sessions, and, to be sent again, `provider_unavailable` without its keys and `store_unavailable` without the store.
   */
  async receive(provider: string, token: string): Promise<void> {
    const { providers, telemetry, end } = this.#options;
    const sender = providers.get(provider);
    if (sender === undefined) throw new CoatcheckError('not_found');
    const count = (outcome: string): void => telemetry.metrics.backchannelLogouts.inc({ provider, outcome });
    try {
      const order = await sender.readLogoutToken(token);
      const ended = await this.#once(order, () => end(order));
      count(ended > 0 ? 'ended' : 'nobody');
      telemetry.log('logout.received', { provider, why: order.sid === undefined ? 'sub' : 'sid' });
    } catch (error) {
      const isRefused = CoatcheckError.is(error) && error.code === 'logout_token_invalid';
      count(isRefused ? 'refused' : 'failed');
      if (isRefused) telemetry.log('logout.refused', { provider, error });
      throw error;
    }
  }

  /**
   * The token counts as used when the work is done, and not before: a lock that is held shortly while it is done and then for as long as
   * the token is good. So what failed can be sent again, at the latest when the lock has run out.
   */
  async #once({ issuer, tokenId }: LogoutOrder, work: () => Promise<number>): Promise<number> {
    const { store } = this.#options;
    const name = createHash('sha256')
      .update('coatcheck/logout-token/1')
      .update(JSON.stringify([issuer, tokenId]))
      .digest('base64url');
    const owner = randomUUID();
    const lock = await store.lock(name, owner, workingMs);
    if (lock.kind === 'held') throw lock.forMs > workingMs ? usedBefore() : inUse(lock.forMs);
    try {
      const ended = await work();
      await store.renewLock(name, owner, { ttlMs: usedMs });
      return ended;
    } catch (error) {
      await store.unlock(name, owner, 'settled').catch((fault: unknown) => {
        if (!CoatcheckError.is(fault)) throw fault;
      });
      throw error;
    }
  }
}

function usedBefore(): CoatcheckError {
  return new CoatcheckError('logout_token_invalid', { detail: 'the logout token was used before' });
}

function inUse(retryAfterMs: number): CoatcheckError {
  const detail = 'what the logout token says is being done, or was not finished';
  return new CoatcheckError('store_unavailable', { detail, retryAfterMs });
}
