import { decodeProtectedHeader, errors, type JWTPayload, type JWTVerifyGetKey, jwtVerify } from 'jose';
import type { ProviderConfig } from '../config.ts';
import { CoatcheckError } from '../errors.ts';
import { invalidAnswer } from './provider-fault.ts';

/** What a provider says has ended (OpenID Connect Back-Channel Logout 1.0 §2.4). At least one of `subject` and `sid`. */
export interface LogoutOrder {
  readonly issuer: string;
  /** `jti`: names the token; the issuer never uses it again. */
  readonly tokenId: string;
  /** The person at this provider. */
  readonly subject?: string;
  /** The provider's own session. */
  readonly sid?: string;
}

/** What a logout token is checked against. */
export interface LogoutTokenContext {
  readonly name: string;
  readonly config: ProviderConfig;
  readonly keys: JWTVerifyGetKey;
  readonly nowMs: number;
}

/** From its issue on a token is good for 2 minutes, whatever its `exp`, and for as long as clocks may differ. */
export const logoutTokenLifetimeMs: number = 120_000;
const clockToleranceSeconds = 30;

const event = 'http://schemas.openid.net/event/backchannel-logout';

/** Tokens of another kind that the same provider signs for us must not pass; not all providers name the kind (§2.4). */
const types: ReadonlySet<unknown> = new Set([undefined, 'jwt', 'logout+jwt', 'application/logout+jwt']);

/**
 * Validates a logout token as OpenID Connect Back-Channel Logout 1.0 §2.6 says; the signature algorithm is that of ID tokens and
 * no other. Throws `logout_token_invalid`, or `provider_unavailable` or `provider_answer_invalid` where the keys cannot be had.
 */
export async function readLogoutToken(token: string, context: LogoutTokenContext): Promise<LogoutOrder> {
  const { name, config, keys, nowMs } = context;
  const refuse = (what: string, cause?: unknown): CoatcheckError =>
    new CoatcheckError('logout_token_invalid', { detail: `providers.${name}: ${what}`, cause });
  try {
    const { payload } = await jwtVerify(token, keys, {
      algorithms: [config.idTokenSignedResponseAlg],
      issuer: config.issuer,
      audience: config.clientId,
      clockTolerance: clockToleranceSeconds,
      maxTokenAge: logoutTokenLifetimeMs / 1000,
      requiredClaims: ['iat', 'exp', 'jti'],
      currentDate: new Date(nowMs),
    });
    if (!types.has(decodeProtectedHeader(token).typ?.toLowerCase())) throw refuse('typ is another');
    const fault = faultOf(payload, config);
    if (fault !== undefined) throw refuse(fault);
    return orderOf(payload, config);
  } catch (error) {
    if (!(error instanceof errors.JOSEError)) throw error;
    if (keyFaults.has(error.code)) throw invalidAnswer(name, 'its key set cannot be used', error);
    throw refuse(`a check failed: ${error.code}`, error);
  }
}

/** The keys are at fault, not the token. */
const keyFaults: ReadonlySet<string> = new Set(['ERR_JOSE_GENERIC', 'ERR_JWKS_INVALID', 'ERR_JWKS_TIMEOUT']);

/** What the library leaves to us. */
function faultOf(
  { aud, jti, sub, sid, events, ...rest }: JWTPayload,
  { clientId }: ProviderConfig,
): string | undefined {
  if ([aud].flat().some((audience) => audience !== clientId)) return 'it names audiences beside this client';
  if (!isName(jti)) return 'jti is no name';
  if (!isObject(events) || !Object.hasOwn(events, event) || !isObject(Reflect.get(events, event)))
    return 'events does not tell of a logout';
  // Or an ID token could be shown as a logout token, and the other way round.
  if (Object.hasOwn(rest, 'nonce')) return 'it has a nonce';
  if (sub === undefined && sid === undefined) return 'it names neither sub nor sid';
  return [sub, sid].every((value) => value === undefined || isName(value))
    ? undefined
    : 'sub or sid is no name';
}

function orderOf({ jti = '', sub, sid }: JWTPayload, { issuer }: ProviderConfig): LogoutOrder {
  return {
    issuer,
    tokenId: jti,
    ...(sub !== undefined && { subject: sub }),
    ...(isName(sid) && { sid }),
  };
}

function isName(value: unknown): value is string {
  return typeof value === 'string' && value !== '';
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
