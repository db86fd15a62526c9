import type { TokenEndpointResponse } from 'openid-client';
import type { ProviderConfig } from '../config.ts';
import type { TokenSet } from '../session/session.ts';
import { invalidAnswer } from './provider-fault.ts';

/** What a token set is made of beside the answer. */
export interface TokenAnswerContext {
  readonly name: string;
  readonly config: ProviderConfig;
  /** Lifetime in ms of an access token whose provider tells none and has none configured; none lasts longer. */
  readonly lifetimeIfUntoldMs: number;
  readonly nowMs: number;
  /** Who the person is at this provider; empty where nobody says. */
  readonly subject: string;
  /** The provider's own session, as its ID token names it. */
  readonly sid?: string | undefined;
  /** The token set that was refreshed. What the answer leaves out, stays (RFC 6749 §6). */
  readonly before?: TokenSet;
}

/** The library takes `dpop` too; without a proof of possession such a token is of no use (RFC 9449 §5). */
export function checkTokenType(name: string, answer: TokenEndpointResponse): void {
  if (answer.token_type !== 'bearer') throw invalidAnswer(name, 'the token is not of the type Bearer');
}

/** The token set in a token endpoint's answer (RFC 6749 §5.1), with every life of it as a moment. */
export function tokenSetOf(answer: TokenEndpointResponse, context: TokenAnswerContext): TokenSet {
  const { name, config, nowMs, subject, before } = context;
  checkTokenType(name, answer);
  const refreshToken = answer.refresh_token ?? before?.refreshToken;
  const idToken = answer.id_token ?? before?.idToken;
  const authorizedAtMs =
    config.refreshTokenLifetimeMs === undefined ? undefined : (before?.authorizedAtMs ?? nowMs);
  const refreshTokenExpiresAtMs =
    refreshToken === undefined ? undefined : refreshTokenEnd(answer, { ...context, authorizedAtMs });
  const sid = before === undefined && config.backchannelLogout ? (context.sid ?? '') : before?.sid;
  return {
    issuer: config.issuer,
    subject,
    scope: answer.scope ?? before?.scope ?? config.scope,
    accessToken: answer.access_token,
    obtainedAtMs: nowMs,
    accessTokenExpiresAtMs: nowMs + accessTokenLifetimeMs(answer, context),
    ...(refreshToken !== undefined && { refreshToken }),
    ...(idToken !== undefined && { idToken }),
    ...(sid !== undefined && { sid }),
    ...(authorizedAtMs !== undefined && { authorizedAtMs }),
    ...(refreshTokenExpiresAtMs !== undefined && { refreshTokenExpiresAtMs }),
    ...(before?.refreshToken !== undefined &&
      before.refreshToken === refreshToken && { refreshTokenReusable: true as const }),
  };
}

function accessTokenLifetimeMs(
  { expires_in: seconds }: TokenEndpointResponse,
  { config, lifetimeIfUntoldMs }: TokenAnswerContext,
): number {
  const toldMs = seconds === undefined ? config.accessTokenLifetimeMs : seconds * 1000;
  return Math.min(toldMs ?? lifetimeIfUntoldMs, lifetimeIfUntoldMs);
}

interface RefreshTokenContext extends TokenAnswerContext {
  readonly authorizedAtMs: number | undefined;
}

/** The earliest of all ends that are told or configured. The same token in an answer that tells none ends as it did. */
function refreshTokenEnd(
  answer: TokenEndpointResponse,
  { config, nowMs, before, authorizedAtMs = nowMs }: RefreshTokenContext,
): number | undefined {
  const { refreshTokenIdleTimeoutMs: idleMs, refreshTokenLifetimeMs: lifetimeMs } = config;
  const toldMs = toldRefreshTokenLifetimeMs(answer);
  const ends = [
    ...(toldMs === undefined ? [] : [nowMs + toldMs]),
    ...(idleMs === undefined ? [] : [nowMs + idleMs]),
    ...(lifetimeMs === undefined ? [] : [authorizedAtMs + lifetimeMs]),
  ];
  if (ends.length > 0) return Math.min(...ends);
  return answer.refresh_token === undefined ? before?.refreshTokenExpiresAtMs : undefined;
}

/** In no standard, and under two names; 0 means to some providers that it does not end. Too odd a number is none. */
function toldRefreshTokenLifetimeMs(answer: TokenEndpointResponse): number | undefined {
  const seconds = Number(answer.refresh_token_expires_in ?? answer.refresh_expires_in ?? 0);
  return seconds > 0 && seconds < 1e10 ? seconds * 1000 : undefined;
}
