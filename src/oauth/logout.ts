import { randomBytes } from 'node:crypto';
import { CoatcheckError } from '../errors.ts';
import type { TokenSet } from '../session/session.ts';
import type { Telemetry } from '../telemetry.ts';
import type { Provider } from './provider.ts';
import type { EndSessionRequest } from './provider-logout.ts';
import { issueLoginSecret, type LoginSecret, type SealedStep, type TransactionStore } from './transaction.ts';

/** What is left to do while the browser is at a provider. */
export interface LogoutTransaction extends SealedStep {
  /** Providers still to be visited, with the ID tokens that they gave. */
  readonly remaining: readonly Visit[];
}

type Visit = readonly [provider: string, idToken: string | undefined];

/** Where a logout leads. `logoutSecret`: what the browser must bring back for the rest to be done; absent after the last. */
export type LogoutStep =
  | { readonly kind: 'done' }
  | { readonly kind: 'visit'; readonly request: EndSessionRequest; readonly logoutSecret?: LoginSecret };

/** Parts of {@link Logout}. */
export interface LogoutOptions {
  /** In the order in which they are visited. */
  readonly providers: readonly Pick<Provider, 'name' | 'endSession'>[];
  readonly transactions: TransactionStore<LogoutTransaction>;
  readonly telemetry: Telemetry;
}

/** All providers send the browser back to one address. */
const anyProvider = '';

/**
 * Sends the browser to each provider that is to end its own session too, one after the other (OpenID Connect RP-Initiated Logout 1.0).
 * Our session has ended before: what fails here is left out, and a browser that never comes back has lost nothing.
 */
export class Logout {
  readonly #options: LogoutOptions;

  constructor(options: LogoutOptions) {
    this.#options = options;
  }

  /** Begins with the first provider of a session that has ended. At most one store command. Never throws for want of store or provider. */
  async begin(tokenSets: ReadonlyMap<string, TokenSet>): Promise<LogoutStep> {
    const visits = this.#options.providers.flatMap(({ name }): Visit[] => {
      const tokens = tokenSets.get(name);
      return tokens === undefined ? [] : [[name, tokens.idToken]];
    });
    return this.#next(visits, issueLoginSecret());
  }

  /** Goes on where a provider has sent the browser back. What does not belong to a logout of this browser leads nowhere. */
  async resume(state: string, secrets: readonly LoginSecret[]): Promise<LogoutStep> {
    if (secrets.length === 0 || !/^[\w-]{43}$/.test(state)) return { kind: 'done' };
    const taken = await this.#unlessAway(() => this.#options.transactions.take(anyProvider, state, secrets));
    return taken === undefined
      ? { kind: 'done' }
      : this.#next(taken.transaction.remaining, taken.loginSecret);
  }

  async #next(visits: readonly Visit[], logoutSecret: LoginSecret): Promise<LogoutStep> {
    const { providers, transactions } = this.#options;
    for (const [position, [name, idToken]] of visits.entries()) {
      const state = randomBytes(32).toString('base64url');
      const provider = providers.find((one) => one.name === name);
      const request = await this.#unlessAway(async () => provider?.endSession({ state, idToken }), name);
      if (request === undefined) continue;
      const remaining = visits.slice(position + 1);
      if (remaining.length === 0) return { kind: 'visit', request };
      const transaction = { provider: anyProvider, state, remaining };
      await this.#unlessAway(() => transactions.put(transaction, logoutSecret), name);
      return { kind: 'visit', request, logoutSecret };
    }
    return { kind: 'done' };
  }

  /** `undefined` where store or provider fail. */
  async #unlessAway<Result>(work: () => Promise<Result>, provider?: string): Promise<Result | undefined> {
    try {
      return await work();
    } catch (error) {
      if (!CoatcheckError.is(error)) throw error;
      this.#options.telemetry.log('logout.incomplete', { provider, error });
      return undefined;
    }
  }
}
