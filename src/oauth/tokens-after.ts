import type { TokenSet } from '../session/session.ts';
import type { RefreshAnswer } from './provider.ts';

/** Our own configuration is at fault: somebody must change it. */
const configurationBackOffMs = 60_000;
const longestBackOffMs = 60_000;
/** A provider that wants more than 5 minutes is asked once before that. */
const longestToldBackOffMs = 300_000;

/** What a provider's answer makes of the tokens that it was asked to refresh. */
export function tokensAfter(
  before: TokenSet,
  answer: RefreshAnswer,
  { nowMs, isRejected }: { readonly nowMs: number; readonly isRejected: boolean },
): TokenSet {
  if (answer.kind === 'refreshed') return answer.tokens;
  if (answer.kind === 'refused') {
    const rest = withoutRefreshToken(before);
    // An access token that an upstream refuses as well is dead.
    const endsAtMs = isRejected ? Math.min(nowMs, rest.accessTokenExpiresAtMs) : rest.accessTokenExpiresAtMs;
    return { ...rest, accessTokenExpiresAtMs: endsAtMs };
  }
  const { refreshFailures = 0 } = before;
  const waitMs = answer.isOurs
    ? configurationBackOffMs
    : (toldBackOffMs(answer.error.retryAfterMs) ?? backOffMs(refreshFailures));
  return { ...before, refreshFailures: refreshFailures + 1, refreshNotBeforeMs: Math.round(nowMs + waitMs) };
}

function toldBackOffMs(retryAfterMs: number | undefined): number | undefined {
  return retryAfterMs === undefined
    ? undefined
    : Math.min(Math.max(retryAfterMs, 1000), longestToldBackOffMs);
}

/** Full jitter, from 1 s to a bound that doubles with each failure up to 60 s. */
function backOffMs(failures: number): number {
  return 1000 + Math.random() * (Math.min(2000 * 2 ** failures, longestBackOffMs) - 1000);
}

/** The same tokens, to be used until the access token ends. */
export function withoutRefreshToken(tokens: TokenSet): TokenSet {
  const {
    refreshToken,
    refreshTokenExpiresAtMs,
    refreshTokenReusable,
    refreshFailures,
    refreshNotBeforeMs,
    ...rest
  } = tokens;
  return rest;
}
