import * as client from 'openid-client';
import type { ProviderConfig } from '../config.ts';
import { CoatcheckError } from '../errors.ts';
import type { TokenSet } from '../session/session.ts';
import type { Telemetry } from '../telemetry.ts';
import { checkIdToken, foreignClaim } from './id-token.ts';
import { type LogoutOrder, readLogoutToken } from './logout-token.ts';
import {
  foreignIdToken,
  invalidAnswer,
  providerFault,
  type RefreshFault,
  refreshFault,
} from './provider-fault.ts';
import {
  type EndedSession,
  type EndSessionRequest,
  endSessionRequest,
  type RevocableToken,
  type RevocationAnswer,
  revokeToken,
} from './provider-logout.ts';
import {
  createProviderSettings,
  type ProviderSettings,
  pushesRequests,
  usesOpenid,
} from './provider-settings.ts';
import { checkTokenType, tokenSetOf } from './token-answer.ts';
import type { Authorization, Transaction } from './transaction.ts';

/** One configured authorization server. The protocol is openid-client's; what is stricter here than there says why. */
export interface Provider {
  readonly name: string;
  /**
   * Where to send the browser (RFC 6749 §4.1.1, RFC 7636 §4.3, OpenID Connect Core §3.1.2.1). Where requests are pushed
   * (RFC 9126), the address works once and for about a minute: to be used at once.
   */
  authorizationUrl(transaction: Transaction): Promise<URL>;
  /**
   * Redeems a callback: state, `iss` (RFC 9207), code and PKCE verifier, ID token (signature, iss, aud, exp, iat, nonce),
   * userinfo subject. Nothing is returned unless every check has passed.
   */
  redeem(callbackUrl: URL, transaction: Transaction): Promise<Authorization>;
  /**
   * Exchanges the refresh token of a token set that has one (RFC 6749 §6) and checks what comes: an ID token as at the login,
   * and against the one before (OpenID Connect Core §12.2). What the answer leaves out stays as it was. Never throws.
   */
  refresh(tokens: TokenSet): Promise<RefreshAnswer>;
  /** Takes a token back (RFC 7009 §2.1). Never throws. */
  revoke(token: RevocableToken): Promise<RevocationAnswer>;
  /**
   * How the browser asks the provider to end its own session (OpenID Connect RP-Initiated Logout 1.0 §2); `undefined` where that is not
   * wanted or not offered.
   */
  endSession(session: EndedSession): Promise<EndSessionRequest | undefined>;
  /** Validates a logout token; see {@link readLogoutToken}. Throws `not_found` where this provider ends no sessions. */
  readLogoutToken(token: string): Promise<LogoutOrder>;
  /** Longest wait for one answer, ms. */
  readonly timeoutMs: number;
}

/** The answer to `refresh`. */
export type RefreshAnswer = { readonly kind: 'refreshed'; readonly tokens: TokenSet } | RefreshFault;

/** Options of {@link createProvider}. */
export interface ProviderOptions {
  readonly name: string;
  readonly config: ProviderConfig;
  /** `<publicUrl>/auth/callback/<name>`, as registered with the provider. */
  readonly redirectUri: string;
  readonly telemetry: Telemetry;
  /** Lifetime in ms of an access token whose provider tells none. */
  readonly lifetimeIfUntoldMs: number;
  readonly now?: () => number;
}

/** A provider over openid-client. Metadata is fetched at first use and kept; a failed fetch is tried again by the next caller. */
export function createProvider(options: ProviderOptions): Provider {
  const { name, config, redirectUri, telemetry } = options;
  const { current: configuration, keys } = createProviderSettings(options);

  return {
    name,

    async authorizationUrl({ state, nonce, codeVerifier, maxAgeMs, acrValues }) {
      const settings = await configuration();
      const parameters = {
        ...config.authorizationParameters,
        redirect_uri: redirectUri,
        scope: config.scope,
        state,
        code_challenge: await client.calculatePKCECodeChallenge(codeVerifier),
        code_challenge_method: 'S256',
        ...(usesOpenid(config) ? { nonce } : {}),
        ...(maxAgeMs === undefined ? {} : { max_age: String(secondsOf(maxAgeMs)) }),
        ...(acrValues === undefined ? {} : { acr_values: acrValues.join(' ') }),
      };
      if (!pushesRequests(config, settings.serverMetadata())) {
        return client.buildAuthorizationUrl(settings, parameters);
      }
      return telemetry.span('coatcheck.provider', { 'coatcheck.provider': name }, () =>
        client.buildAuthorizationUrlWithPAR(settings, parameters).catch((error: unknown) => {
          throw providerFault(name, error);
        }),
      );
    },

    async redeem(callbackUrl, { state, nonce, codeVerifier, maxAgeMs, acrValues }) {
      return telemetry.span('coatcheck.provider', { 'coatcheck.provider': name }, async () => {
        const settings = await configuration();
        checkIssuer(name, callbackUrl, settings.serverMetadata());
        try {
          const answer = await client.authorizationCodeGrant(settings, callbackUrl, {
            expectedState: state,
            pkceCodeVerifier: codeVerifier,
            ...(usesOpenid(config) ? { expectedNonce: nonce, idTokenExpected: true } : {}),
            ...(maxAgeMs === undefined ? {} : { maxAge: secondsOf(maxAgeMs) }),
          });
          if (acrValues !== undefined) checkAcr(name, acrValues, answer.claims());
          return await authorizationOf(options, settings, answer);
        } catch (error) {
          throw providerFault(name, error);
        }
      });
    },

    timeoutMs: config.timeoutMs,

    refresh: (before) =>
      telemetry.span('coatcheck.provider', { 'coatcheck.provider': name }, () =>
        refreshed(options, configuration, before),
      ),

    revoke: (token) =>
      telemetry.span('coatcheck.provider', { 'coatcheck.provider': name }, () =>
        revokeToken(options, configuration, token),
      ),

    endSession: async (session) =>
      config.endSession === 'off' ? undefined : endSessionRequest(options, await configuration(), session),

    async readLogoutToken(token) {
      const { now = Date.now } = options;
      if (!config.backchannelLogout) throw new CoatcheckError('not_found');
      return readLogoutToken(token, { name, config, keys: await keys(), nowMs: now() });
    },
  };
}

async function refreshed(
  options: ProviderOptions,
  configuration: ProviderSettings['current'],
  before: TokenSet,
): Promise<RefreshAnswer> {
  const { name, config, now = Date.now } = options;
  let request: SentRequest | undefined;
  try {
    const settings = await configuration();
    request = watchRequest(settings);
    const answer = await client.refreshTokenGrant(settings, before.refreshToken ?? '');
    const idToken = answer.claims();
    const foreign = idToken && foreignClaim(idToken, before);
    if (foreign !== undefined) return foreignIdToken(name, foreign);
    if (idToken !== undefined) checkIdToken(name, config, idToken);
    const tokens = tokenSetOf(answer, { ...options, nowMs: now(), subject: before.subject, before });
    return { kind: 'refreshed', tokens };
  } catch (error) {
    return refreshFault(name, error, request?.isSent === true);
  }
}

/** Whether the token request may have reached the provider, and was not refused. */
interface SentRequest {
  readonly isSent: boolean;
}

/** Watches the one token request that these settings are for; keys may be asked for after it. */
function watchRequest(settings: client.Configuration): SentRequest {
  const sent = { isSent: false };
  const fetch = settings[client.customFetch];
  if (fetch === undefined) return { isSent: true };
  settings[client.customFetch] = async (url, request) => {
    if (request.method !== 'POST') return fetch(url, request);
    sent.isSent = true;
    try {
      const response = await fetch(url, request);
      // RFC 6749 §5.2: who answers with an error has issued nothing.
      sent.isSent = response.status < 400;
      return response;
    } catch (error) {
      const isOurs = CoatcheckError.is(error) && (error.isUnprocessed || error.code === 'config_invalid');
      sent.isSent = !isOurs;
      throw error;
    }
  };
  return sent;
}

/** RFC 9207 §2.4, by plain string comparison, on errors too. The library checks it as well, but blames the provider. */
function checkIssuer(name: string, callbackUrl: URL, metadata: client.ServerMetadata): void {
  const promised = metadata.authorization_response_iss_parameter_supported === true;
  const seen = callbackUrl.searchParams.get('iss');
  if (seen === null ? !promised : seen === metadata.issuer) return;
  throw new CoatcheckError('login_callback_invalid', {
    detail: `providers.${name}: the callback's iss is missing or names another issuer (RFC 9207 §2.4)`,
    shown: { provider: name },
  });
}

/** OpenID Connect Core §3.1.3.7(12): what was asked for, and nothing less. */
function checkAcr(name: string, asked: readonly string[], claims: client.IDToken | undefined): void {
  if (typeof claims?.acr === 'string' && asked.includes(claims.acr)) return;
  throw invalidAnswer(name, 'the ID token names none of the acrValues that were asked for');
}

function secondsOf(ms: number): number {
  return Math.floor(ms / 1000);
}

type GrantAnswer = Awaited<ReturnType<typeof client.authorizationCodeGrant>>;

async function authorizationOf(
  options: ProviderOptions,
  settings: client.Configuration,
  answer: GrantAnswer,
): Promise<Authorization> {
  const { name, config, now = Date.now } = options;
  checkTokenType(name, answer);
  const idToken = answer.claims();
  if (idToken !== undefined) checkIdToken(name, config, idToken);
  const userinfo = await userinfoOf(config, settings, answer);
  const tokens = tokenSetOf(answer, {
    ...options,
    nowMs: now(),
    subject: idToken?.sub ?? userinfo?.sub ?? '',
    sid: typeof idToken?.sid === 'string' ? idToken.sid : undefined,
  });
  return { provider: name, tokens, claims: stringClaims({ ...idToken, ...userinfo }) };
}

async function userinfoOf(
  config: ProviderConfig,
  settings: client.Configuration,
  answer: GrantAnswer,
): Promise<client.UserInfoResponse | undefined> {
  if (!config.userinfo || settings.serverMetadata().userinfo_endpoint === undefined) return undefined;
  const expectedSubject = answer.claims()?.sub ?? client.skipSubjectCheck;
  return client.fetchUserInfo(settings, answer.access_token, expectedSubject);
}

/** Claims that are strings of a sane size or truth values; an odd `email_verified` counts as false. No prototype: names come from outside. */
function stringClaims(claims: Readonly<Record<string, unknown>>): Record<string, string> {
  const result: Record<string, string> = Object.create(null);
  for (const [name, value] of Object.entries(claims)) {
    if (typeof value === 'string' && value.length <= 1024) result[name] = value;
    else if (typeof value === 'boolean') result[name] = String(value);
    else if (name === 'email_verified') result[name] = 'false';
  }
  return result;
}
