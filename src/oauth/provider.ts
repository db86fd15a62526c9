import * as client from 'openid-client';
import type { ProviderConfig } from '../config.ts';
import { CoatcheckError } from '../errors.ts';
import type { TokenSet } from '../session/session.ts';
import type { Telemetry } from '../telemetry.ts';
import { invalidAnswer, providerFault } from './provider-fault.ts';
import { createProviderFetch, isSecureOrLoopback } from './provider-fetch.ts';
import type { Authorization, Transaction } from './transaction.ts';

/** One configured authorization server. The protocol is openid-client's; what is stricter here than there says why. */
export interface Provider {
  readonly name: string;
  /** Where to send the browser (RFC 6749 §4.1.1, RFC 7636 §4.3, OpenID Connect Core §3.1.2.1). */
  authorizationUrl(transaction: Transaction): Promise<URL>;
  /**
   * Redeems a callback: state, `iss` (RFC 9207), code and PKCE verifier, ID token (signature, iss, aud, exp, iat, nonce),
   * userinfo subject. Nothing is returned unless every check has passed.
   */
  redeem(callbackUrl: URL, transaction: Transaction): Promise<Authorization>;
}

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
  let discovered: Promise<client.Configuration> | undefined;

  async function configuration(): Promise<client.Configuration> {
    discovered ??= configure(options);
    try {
      return await discovered;
    } catch (error) {
      discovered = undefined;
      throw error;
    }
  }

  return {
    name,

    async authorizationUrl({ state, nonce, codeVerifier }) {
      return client.buildAuthorizationUrl(await configuration(), {
        ...config.authorizationParameters,
        redirect_uri: redirectUri,
        scope: config.scope,
        state,
        code_challenge: await client.calculatePKCECodeChallenge(codeVerifier),
        code_challenge_method: 'S256',
        ...(usesOpenid(config) ? { nonce } : {}),
      });
    },

    async redeem(callbackUrl, { state, nonce, codeVerifier }) {
      return telemetry.span('coatcheck.provider', { 'coatcheck.provider': name }, async () => {
        const settings = await configuration();
        checkIssuer(name, callbackUrl, settings.serverMetadata());
        try {
          const answer = await client.authorizationCodeGrant(settings, callbackUrl, {
            expectedState: state,
            pkceCodeVerifier: codeVerifier,
            ...(usesOpenid(config) ? { expectedNonce: nonce, idTokenExpected: true } : {}),
          });
          return await authorizationOf(options, settings, answer);
        } catch (error) {
          throw providerFault(name, error);
        }
      });
    },
  };
}

async function configure(options: ProviderOptions): Promise<client.Configuration> {
  const { name, config, telemetry } = options;
  const metadata = {
    id_token_signed_response_alg: config.idTokenSignedResponseAlg,
    [client.clockTolerance]: 30,
  };
  const fetch = createProviderFetch({ provider: name, timeoutMs: config.timeoutMs, telemetry });
  try {
    const settings = config.discovery
      ? await client.discovery(new URL(config.issuer), config.clientId, metadata, authenticationOf(config), {
          [client.customFetch]: fetch,
          execute: insecureSteps(config.issuer),
          timeout: config.timeoutMs / 1000,
        })
      : new client.Configuration(staticMetadata(config), config.clientId, metadata, authenticationOf(config));
    if (!config.discovery) for (const step of insecureSteps(config.issuer)) step(settings);
    settings[client.customFetch] = fetch;
    settings.timeout = config.timeoutMs / 1000;
    // OpenID Connect Core §3.1.3.7(6) would let TLS stand in for the signature; tokens that pass other hands need more.
    client.enableNonRepudiationChecks(settings);
    checkMetadata(name, config, settings.serverMetadata());
    return settings;
  } catch (error) {
    // Thrown by the URL class, here and in the library.
    if (error instanceof TypeError) throw invalidAnswer(name, 'its metadata hold what is no URL', error);
    throw providerFault(name, error);
  }
}

function usesOpenid({ scope }: ProviderConfig): boolean {
  return scope.split(' ').includes('openid');
}

/** openid-client refuses plain http; on loopback, and only there, it is told not to. */
function insecureSteps(issuer: string): ((settings: client.Configuration) => void)[] {
  return new URL(issuer).protocol === 'http:' ? [client.allowInsecureRequests] : [];
}

/** Looked up anew for each request: the secret may be changed while we run. */
function authenticationOf(config: ProviderConfig): client.ClientAuth {
  return (...parameters) => presentAuthentication(config)(...parameters);
}

function presentAuthentication({ clientAuthentication, clientSecret }: ProviderConfig): client.ClientAuth {
  if (clientAuthentication === 'none' || clientSecret === undefined) return client.None();
  return clientAuthentication === 'client_secret_post'
    ? client.ClientSecretPost(clientSecret)
    : client.ClientSecretBasic(clientSecret);
}

function staticMetadata(config: ProviderConfig): client.ServerMetadata {
  return {
    issuer: config.issuer,
    ...(config.authorizationEndpoint === undefined
      ? {}
      : { authorization_endpoint: config.authorizationEndpoint }),
    ...(config.tokenEndpoint === undefined ? {} : { token_endpoint: config.tokenEndpoint }),
    ...(config.jwksUri === undefined ? {} : { jwks_uri: config.jwksUri }),
    ...(config.userinfoEndpoint === undefined ? {} : { userinfo_endpoint: config.userinfoEndpoint }),
  };
}

const endpoints = ['authorization_endpoint', 'token_endpoint', 'jwks_uri', 'userinfo_endpoint'] as const;

/** Stricter than the library: the issuer by plain string comparison, every endpoint that is needed, none that takes secrets in the clear. */
function checkMetadata(name: string, config: ProviderConfig, metadata: client.ServerMetadata): void {
  if (metadata.issuer !== config.issuer) {
    throw invalidAnswer(
      name,
      'its metadata name another issuer than the configured one (OpenID Connect Discovery §4.3)',
    );
  }
  for (const key of endpoints) {
    const url = metadata[key];
    const optional = key === 'userinfo_endpoint' || (key === 'jwks_uri' && !usesOpenid(config));
    if (url === undefined ? optional : isSecureOrLoopback(url)) continue;
    throw invalidAnswer(name, `${key} is missing or not https`);
  }
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

type GrantAnswer = Awaited<ReturnType<typeof client.authorizationCodeGrant>>;

async function authorizationOf(
  options: ProviderOptions,
  settings: client.Configuration,
  answer: GrantAnswer,
): Promise<Authorization> {
  const { name, config, lifetimeIfUntoldMs, now = Date.now } = options;
  // The library takes `dpop` too; without a proof of possession such a token is of no use (RFC 9449 §5).
  if (answer.token_type !== 'bearer') throw invalidAnswer(name, 'the token is not of the type Bearer');
  const idToken = answer.claims();
  if (idToken !== undefined) checkIdToken(name, config, idToken);
  const userinfo = await userinfoOf(config, settings, answer);
  const subject = idToken?.sub ?? userinfo?.sub ?? '';
  const expiresIn = answer.expires_in;
  const tokens: TokenSet = {
    issuer: config.issuer,
    subject,
    scope: answer.scope ?? config.scope,
    accessToken: answer.access_token,
    accessTokenExpiresAtMs:
      now() + (expiresIn === undefined ? lifetimeIfUntoldMs : Math.min(expiresIn * 1000, lifetimeIfUntoldMs)),
    ...(answer.refresh_token === undefined ? {} : { refreshToken: answer.refresh_token }),
    ...(answer.id_token === undefined ? {} : { idToken: answer.id_token }),
  };
  return { provider: name, tokens, claims: stringClaims({ ...idToken, ...userinfo }) };
}

/** Furthest moment that a JavaScript Date can name, in seconds: an `exp` beyond it is no date. */
const lastDateSeconds = 8.64e12;

/** What the library lets pass and we do not. */
function checkIdToken(name: string, config: ProviderConfig, claims: client.IDToken): void {
  const audiences = Array.isArray(claims.aud) ? claims.aud : [claims.aud];
  if (audiences.length !== 1 || audiences[0] !== config.clientId) {
    throw invalidAnswer(
      name,
      'the ID token names audiences beside this client (OpenID Connect Core §3.1.3.7(3))',
    );
  }
  if (!(claims.exp < lastDateSeconds)) throw invalidAnswer(name, "the ID token's exp is no date");
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
