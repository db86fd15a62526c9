import { createRemoteJWKSet, customFetch, type JWTVerifyGetKey } from 'jose';
import * as client from 'openid-client';
import type { ProviderConfig } from '../config.ts';
import type { Telemetry } from '../telemetry.ts';
import { createClientAuthentication, usesCertificate } from './client-authentication.ts';
import { createKeySet, type KeySet } from './key-set.ts';
import { invalidAnswer, providerFault } from './provider-fault.ts';
import { createProviderFetch, isSecureOrLoopback } from './provider-fetch.ts';

/** Options of {@link createProviderSettings}. */
export interface ProviderSettingsOptions {
  readonly name: string;
  readonly config: ProviderConfig;
  readonly telemetry: Telemetry;
}

/** What is needed for one exchange with a provider. */
export interface ProviderSettings {
  /** All that openid-client must know. */
  current(): Promise<client.Configuration>;
  /** The provider's keys, for what it sends unasked. */
  keys(): Promise<JWTVerifyGetKey>;
}

/**
 * Metadata are fetched at first use and kept; a failed fetch is tried again by the next caller. Each call gives settings of
 * its own, for the library holds on to keys in them (see {@link createKeySet}). Throws `config_invalid` at once where our own
 * key or certificate is no good.
 */
export function createProviderSettings(options: ProviderSettingsOptions): ProviderSettings {
  const { name, config, telemetry } = options;
  const { method, certificate } = createClientAuthentication(name, config);
  const fetch = createProviderFetch({
    provider: name,
    timeoutMs: config.timeoutMs,
    telemetry,
    ...(certificate && { certificate }),
  });
  const ourMetadata = {
    id_token_signed_response_alg: config.idTokenSignedResponseAlg,
    use_mtls_endpoint_aliases: usesCertificate(config),
    [client.clockTolerance]: 30,
  };
  let known: Promise<Discovered> | undefined;

  async function discovered(): Promise<Discovered> {
    known ??= discover(name, config, fetch);
    try {
      return await known;
    } catch (error) {
      known = undefined;
      throw error;
    }
  }

  async function current(): Promise<client.Configuration> {
    const { metadata, keySet } = await discovered();
    const settings = new client.Configuration(metadata, config.clientId, ourMetadata, method);
    for (const step of insecureSteps(config.issuer)) step(settings);
    settings[client.customFetch] = keySet.fetch;
    settings.timeout = config.timeoutMs / 1000;
    // OpenID Connect Core §3.1.3.7(6) would let TLS stand in for the signature; tokens that pass other hands need more.
    client.enableNonRepudiationChecks(settings);
    keySet.lend(settings);
    return settings;
  }

  return { current, keys: async () => (await discovered()).keys };
}

/** Whether the scope asks for an ID token. */
export function usesOpenid({ scope }: ProviderConfig): boolean {
  return scope.split(' ').includes('openid');
}

/** Whether authorization requests are pushed (RFC 9126). What the provider requires, no setting undoes (§5). */
export function pushesRequests(
  { pushedAuthorizationRequests: rule }: ProviderConfig,
  metadata: client.ServerMetadata,
): boolean {
  const required: unknown = metadata.require_pushed_authorization_requests ?? false;
  if (required !== false || rule === 'always') return true;
  return rule === 'if-offered' && metadata.pushed_authorization_request_endpoint !== undefined;
}

interface Discovered {
  readonly metadata: client.ServerMetadata;
  readonly keySet: KeySet;
  readonly keys: JWTVerifyGetKey;
}

async function discover(
  name: string,
  config: ProviderConfig,
  fetch: client.CustomFetch,
): Promise<Discovered> {
  try {
    const metadata = config.discovery ? await announcedMetadata(config, fetch) : staticMetadata(config);
    checkMetadata(name, config, metadata);
    const keySet = createKeySet({ jwksUri: metadata.jwks_uri, fetch });
    return { metadata, keySet, keys: keysOf(metadata, keySet) };
  } catch (error) {
    // Thrown by the URL class, here and in the library.
    if (error instanceof TypeError) throw invalidAnswer(name, 'its metadata hold what is no URL', error);
    throw providerFault(name, error);
  }
}

async function announcedMetadata(
  { issuer, clientId, timeoutMs }: ProviderConfig,
  fetch: client.CustomFetch,
): Promise<client.ServerMetadata> {
  const settings = await client.discovery(new URL(issuer), clientId, undefined, undefined, {
    [client.customFetch]: fetch,
    execute: insecureSteps(issuer),
    timeout: timeoutMs / 1000,
  });
  return settings.serverMetadata();
}

/** How often an unknown key is asked for is the key set's business. */
function keysOf({ issuer, jwks_uri: jwksUri }: client.ServerMetadata, keySet: KeySet): JWTVerifyGetKey {
  return createRemoteJWKSet(new URL(jwksUri ?? issuer), {
    cooldownDuration: 0,
    cacheMaxAge: 300_000,
    [customFetch]: (url, { method, redirect }) =>
      keySet.fetch(url, { method, redirect, headers: { accept: 'application/json' }, body: undefined }),
  });
}

/** openid-client refuses plain http; on loopback, and only there, it is told not to. */
function insecureSteps(issuer: string): ((settings: client.Configuration) => void)[] {
  return new URL(issuer).protocol === 'http:' ? [client.allowInsecureRequests] : [];
}

function staticMetadata(config: ProviderConfig): client.ServerMetadata {
  const given = {
    authorization_endpoint: config.authorizationEndpoint,
    token_endpoint: config.tokenEndpoint,
    jwks_uri: config.jwksUri,
    userinfo_endpoint: config.userinfoEndpoint,
    pushed_authorization_request_endpoint: config.pushedAuthorizationRequestEndpoint,
    revocation_endpoint: config.revocationEndpoint,
    end_session_endpoint: config.endSessionEndpoint,
  };
  const present = Object.entries(given).filter(([, url]) => url !== undefined);
  return { issuer: config.issuer, ...Object.fromEntries(present) };
}

const endpoints = ['authorization_endpoint', 'token_endpoint', 'jwks_uri', 'userinfo_endpoint'] as const;
const pushing = 'pushed_authorization_request_endpoint';
const revoking = 'revocation_endpoint';
const ending = 'end_session_endpoint';

/** Stricter than the library: the issuer by plain string comparison, every endpoint that is needed, none that takes secrets in the clear. */
function checkMetadata(name: string, config: ProviderConfig, metadata: client.ServerMetadata): void {
  if (metadata.issuer !== config.issuer) {
    throw invalidAnswer(
      name,
      'its metadata name another issuer than the configured one (OpenID Connect Discovery §4.3)',
    );
  }
  const aliases = usesCertificate(config) ? metadata.mtls_endpoint_aliases : undefined;
  const asked = [
    ...endpoints,
    ...(pushesRequests(config, metadata) ? ([pushing] as const) : []),
    ...(config.revokeAtLogout ? ([revoking] as const) : []),
    ...(config.endSession === 'off' ? [] : ([ending] as const)),
  ];
  for (const key of asked) {
    const alias =
      key === 'authorization_endpoint' || key === 'jwks_uri' || key === ending ? undefined : aliases?.[key];
    const url = alias ?? metadata[key];
    const optional =
      key === 'userinfo_endpoint' ||
      key === revoking ||
      key === ending ||
      (key === 'jwks_uri' && !usesOpenid(config));
    const takesProof = key === 'token_endpoint' || key === pushing || key === revoking;
    const safe = takesProof && usesCertificate(config) ? isSecure : isSecureOrLoopback;
    if (url === undefined ? optional : safe(url)) continue;
    throw invalidAnswer(name, `${key} is missing or not https`);
  }
}

/** No certificate is shown without TLS, on loopback either. */
function isSecure(url: string): boolean {
  return new URL(url).protocol === 'https:';
}
