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

/** Why a refresh brought no tokens. */
export type RefreshFault =
  /** The refresh token is dead: only the person can help. */
  { readonly kind: 'refused'; readonly error: CoatcheckError } | FailedRefresh;

/** The refresh token may be good yet. */
export interface FailedRefresh {
  readonly kind: 'failed';
  readonly error: CoatcheckError;
  /** Our own configuration is at fault, and asking again soon changes nothing. */
  readonly isOurs: boolean;
  /** The provider may have acted on it all the same: a token that works once may be used up. */
  readonly isUnsure: boolean;
}

/** RFC 6749 §5.2 and, for what some providers answer instead, OpenID Connect Core §3.1.2.6: what a person alone can change. */
const personsCodes: ReadonlySet<string> = new Set([
  'invalid_grant',
  'interaction_required',
  'login_required',
  'consent_required',
]);

/** Meant for the authorization endpoint (RFC 6749 §4.1.2.1), yet some token endpoints answer so, with 400. */
const passingCodes: ReadonlySet<string> = new Set(['server_error', 'temporarily_unavailable']);

/**
 * What a failed refresh means, by types and codes alone. An OAuth error that does not concern the grant concerns the client, so
 * it is ours. An ID token about anybody or anything else ends the authorization; any other unusable answer may be a passing fault.
 *
 * @param isUnsure whether the provider may have acted on the request.
 */
export function refreshFault(provider: string, error: unknown, isUnsure: boolean): RefreshFault {
  if (error instanceof client.ResponseBodyError && personsCodes.has(error.error)) {
    const detail = `providers.${provider}: refused to refresh: ${safeCode(error.error)}`;
    return { kind: 'refused', error: new CoatcheckError('token_unavailable', { detail, cause: error }) };
  }
  if (error instanceof client.ClientError && error.code === 'OAUTH_JWT_CLAIM_COMPARISON_FAILED') {
    return foreignIdToken(provider, 'iss or aud', error);
  }
  const isOurs =
    error instanceof client.WWWAuthenticateChallengeError ||
    (error instanceof client.ResponseBodyError && !passingCodes.has(error.error));
  return { kind: 'failed', error: providerFault(provider, error), isOurs, isUnsure };
}

/** A refreshed ID token that is not about the same person, client or sign-in: nothing of the answer is used. */
export function foreignIdToken(provider: string, claim: string, cause?: unknown): RefreshFault {
  const what = `refreshed with an ID token of another ${claim} (OpenID Connect Core §12.2)`;
  return { kind: 'refused', error: invalidAnswer(provider, what, cause) };
}
