import { setMaxListeners } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import type { TokenSet } from '../session/session.ts';
import type { Telemetry } from '../telemetry.ts';
import type { Provider } from './provider.ts';
import type { RevocableToken, RevocationAnswer } from './provider-logout.ts';
import { within } from './within.ts';

/** Parts of {@link Revocation}. */
export interface RevocationOptions {
  /** Those that revoke, by name. */
  readonly providers: ReadonlyMap<string, Pick<Provider, 'revoke' | 'timeoutMs'>>;
  readonly telemetry: Telemetry;
}

/** One token is tried this often, */
const attempts = 5;
/** and all tokens of one provider for so long. */
const patienceMs = 20_000;
const shortestPauseMs = 250;

/**
 * Takes tokens back that nobody keeps any more (RFC 7009), each at the provider that issued it: the refresh token first,
 * because from it come others. Nobody waits for that and nothing depends on it. What a provider has answered is final, but
 * for 5xx, 429 and silence: the token is valid yet (§2.2.1), so that is tried again for a while.
 */
export class Revocation {
  readonly #options: RevocationOptions;
  readonly #underWay = new Set<Promise<void>>();
  readonly #closing = new AbortController();

  constructor(options: RevocationOptions) {
    this.#options = options;
  }

  /** Begins to revoke token sets, by provider. Returns at once, and never throws. */
  begin(tokenSets: ReadonlyMap<string, TokenSet>): void {
    for (const [provider, tokens] of tokenSets) {
      const work = this.#revokeSet(provider, tokens).finally(() => this.#underWay.delete(work));
      this.#underWay.add(work);
    }
  }

  /** Waits for what is under way, as long as a provider may take; nothing pauses any more, nor is tried again. */
  async close(): Promise<void> {
    this.#closing.abort();
    const timeouts = [...this.#options.providers.values()].map(({ timeoutMs }) => 2 * timeoutMs);
    await within(Promise.all(this.#underWay), Math.max(0, ...timeouts));
  }

  async #revokeSet(provider: string, { refreshToken, accessToken }: TokenSet): Promise<void> {
    const { metrics, log } = this.#options.telemetry;
    const deadlineMs = performance.now() + patienceMs;
    const tokens: readonly RevocableToken[] = [
      ...(refreshToken === undefined ? [] : [['refresh_token', refreshToken] as const]),
      ['access_token', accessToken],
    ];
    for (const token of tokens) {
      const answer = await this.#revoke(provider, token, deadlineMs);
      if (answer.kind === 'not-offered') return;
      metrics.revocations.inc({ provider, outcome: answer.kind });
      if (answer.kind !== 'revoked') log('token.not_revoked', { provider, error: answer.error });
    }
  }

  async #revoke(provider: string, token: RevocableToken, deadlineMs: number): Promise<RevocationAnswer> {
    for (let attempt = 1; ; attempt += 1) {
      const answer = (await this.#options.providers.get(provider)?.revoke(token)) ?? notOffered;
      if (answer.kind !== 'unavailable' || attempt === attempts) return answer;
      const pauseMs = Math.max(answer.error.retryAfterMs ?? 0, pauseAfter(attempt));
      if (performance.now() + pauseMs > deadlineMs || this.#closing.signal.aborted) return answer;
      await this.#pause(pauseMs);
    }
  }

  /** Ends at once when all is to end, so that there is one more attempt. */
  async #pause(pauseMs: number): Promise<void> {
    const { signal } = this.#closing;
    // As many wait as there are revocations under way: no leak.
    setMaxListeners(0, signal);
    await delay(pauseMs, undefined, { signal, ref: false }).catch((error: unknown) => {
      if (!signal.aborted) throw error;
    });
  }
}

const notOffered: RevocationAnswer = { kind: 'not-offered' };

/** Twice as long after each attempt, and up to half of that by chance. */
function pauseAfter(attempt: number): number {
  return shortestPauseMs * 2 ** attempt * (0.5 + Math.random() / 2);
}
