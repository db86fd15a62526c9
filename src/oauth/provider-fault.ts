import * as client from 'openid-client';
import { CoatcheckError, type ErrorCode } from '../errors.ts';

/** OAuth error codes are short tokens (RFC 6749 §5.2); anything else a provider or a forger wrote there is not repeated. */
const oauthErrorCode = /^[a-z_]{1,64}$/;

/**
 * What a failed exchange with a provider means, by the types and codes of openid-client alone; messages are for people.
 * `login_refused`: the provider said no. `login_callback_invalid`: the callback or its code is no good.
 * `provider_unavailable`: try again. `provider_answer_invalid`: the answer broke a rule, nothing of it is used.
 */
export function providerFault(provider: string, error: unknown): CoatcheckError {
  const own = [error, error instanceof Error ? error.cause : undefined].find((value) =>
    CoatcheckError.is(value),
  );
  if (own !== undefined) return own;
  const { code, what } = classify(error);
  return new CoatcheckError(code, {
    detail: `providers.${provider}: ${what}`,
    shown: { provider },
    cause: error,
  });
}

/** An answer that broke a rule which only we have. */
export function invalidAnswer(provider: string, what: string, cause?: unknown): CoatcheckError {
  return new CoatcheckError('provider_answer_invalid', {
    detail: `providers.${provider}: ${what}`,
    shown: { provider },
    cause,
  });
}

function classify(error: unknown): { readonly code: ErrorCode; readonly what: string } {
  if (error instanceof client.AuthorizationResponseError) {
    return { code: 'login_refused', what: `answered with the error ${safeCode(error.error)}` };
  }
  if (error instanceof client.ResponseBodyError) {
    const code = error.error === 'invalid_grant' ? 'login_callback_invalid' : 'provider_answer_invalid';
    return { code, what: `answered ${error.status} ${safeCode(error.error)}` };
  }
  if (error instanceof client.ClientError) {
    if (error.code === 'OAUTH_TIMEOUT' || error.code === 'OAUTH_ABORT')
      return { code: 'provider_unavailable', what: 'did not answer in time' };
    return { code: 'provider_answer_invalid', what: `a check failed: ${error.code ?? 'unnamed'}` };
  }
  if (error instanceof client.WWWAuthenticateChallengeError) {
    return { code: 'provider_answer_invalid', what: `userinfo answered ${error.status}` };
  }
  return { code: 'internal', what: 'an exchange failed in a way that no rule foresaw' };
}

function safeCode(code: string): string {
  return oauthErrorCode.test(code) ? code : '(unprintable)';
}
