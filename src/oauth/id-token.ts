import { decodeJwt } from 'jose';
import type { IDToken } from 'openid-client';
import type { ProviderConfig } from '../config.ts';
import type { TokenSet } from '../session/session.ts';
import { invalidAnswer } from './provider-fault.ts';

/** Furthest moment that a JavaScript Date can name, in seconds: an `exp` beyond it is no date. */
const lastDateSeconds = 8.64e12;

/** What the library lets pass and we do not. Its signature, issuer and times have been checked. */
export function checkIdToken(name: string, config: ProviderConfig, claims: IDToken): void {
  const audiences = Array.isArray(claims.aud) ? claims.aud : [claims.aud];
  if (audiences.length !== 1 || audiences[0] !== config.clientId) {
    throw invalidAnswer(
      name,
      'the ID token names audiences beside this client (OpenID Connect Core §3.1.3.7(3))',
    );
  }
  if (!(claims.exp < lastDateSeconds)) throw invalidAnswer(name, "the ID token's exp is no date");
}

/**
 * Whether a refreshed ID token, checked as any, may follow the one before it (OpenID Connect Core §12.2): the same person;
 * `azp` and `auth_time` unchanged; a nonce only where the first had it, and the same. The name of the claim that is wrong.
 */
export function foreignClaim(claims: IDToken, before: TokenSet): string | undefined {
  const first = before.idToken === undefined ? undefined : decodeJwt<IDToken>(before.idToken);
  if (claims.iss !== before.issuer) return 'iss';
  if (claims.sub !== (first?.sub ?? (before.subject || claims.sub))) return 'sub';
  if (first === undefined) return undefined;
  if (claims.azp !== first.azp) return 'azp';
  if (claims.nonce !== undefined && claims.nonce !== first.nonce) return 'nonce';
  const times = [claims.auth_time, first.auth_time].filter((time) => time !== undefined);
  return new Set(times).size > 1 ? 'auth_time' : undefined;
}
