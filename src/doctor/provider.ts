import { createLocalJWKSet, errors, type JSONWebKeySet } from 'jose';
import type { CustomFetch } from 'openid-client';
import type { Config, ProviderConfig } from '../config.ts';
import { CoatcheckError } from '../errors.ts';
import { certificateEndMs, readAssertionKey } from '../oauth/client-key.ts';
import { createProviderFetch, isSecureOrLoopback } from '../oauth/provider-fetch.ts';
import type { Telemetry } from '../telemetry.ts';
import { judgeCertificate, judgeDays, tlsPlaceOf } from './certificate.ts';
import {
  type Check,
  codeInBrackets,
  examine,
  type Finding,
  fine,
  quote,
  risky,
  type Verdict,
  wrong,
} from './finding.ts';
import { judgeAnswer } from './http-answer.ts';

/** What a provider tells about itself, unverified (OpenID Connect Discovery §3). */
type Metadata = Readonly<Record<string, unknown>>;

/** A provider, and what it says of itself or the configuration says for it. */
interface ExaminedProvider {
  readonly name: string;
  readonly config: ProviderConfig;
  readonly redirectUri: string;
  readonly fetchJson: (url: string) => Promise<JsonAnswer>;
  readonly metadata: MetadataAnswer;
  readonly now: () => number;
}

type JsonAnswer =
  | { readonly kind: 'json'; readonly value: Metadata }
  | { readonly kind: 'fault'; readonly what: string };
type MetadataAnswer = JsonAnswer | { readonly kind: 'configured'; readonly value: Metadata };

/** What the doctor has for all providers. */
export interface ProviderSetting {
  readonly config: Config;
  readonly telemetry: Telemetry;
  readonly now: () => number;
}

/** Examines one provider, without signing anybody in. */
export async function examineProvider(
  name: string,
  config: ProviderConfig,
  setting: ProviderSetting,
): Promise<Finding[]> {
  const { telemetry, now } = setting;
  const fetchJson = jsonFetcher(
    createProviderFetch({ provider: name, timeoutMs: config.timeoutMs, telemetry }),
  );
  const subject: ExaminedProvider = {
    name,
    config,
    redirectUri: `${setting.config.publicUrl}/auth/callback/${name}`,
    fetchJson,
    metadata: config.discovery
      ? await fetchJson(discoveryUrl(config.issuer))
      : { kind: 'configured', value: configuredMetadata(config) },
    now,
  };
  const checks =
    subject.metadata.kind === 'fault' ? { discovery, certificate, clientKey, redirectUri } : checksOfMetadata;
  return examine({ name: `providers.${name}`, subject, checks, limitMs: config.timeoutMs + 5000 });
}

const checksOfMetadata: Readonly<Record<string, Check<ExaminedProvider>>> = {
  discovery,
  certificate,
  issuer,
  endpoints,
  tokenEndpoint,
  keys,
  pkce,
  clientAuthentication,
  clientKey,
  pushedRequests,
  redirectUri,
};

function discoveryUrl(issuer: string): string {
  return `${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`;
}

function jsonFetcher(fetch: CustomFetch): ExaminedProvider['fetchJson'] {
  return async (url) => {
    const { host } = new URL(url);
    try {
      const headers = { accept: 'application/json' };
      const response = await fetch(url, { method: 'GET', headers, body: undefined, redirect: 'manual' });
      if (!response.ok) return { kind: 'fault', what: `${host} answers ${response.status}` };
      const value: unknown = await response.json();
      if (typeof value === 'object' && value !== null) return { kind: 'json', value: { ...value } };
      return { kind: 'fault', what: `${host} answers with what is no JSON object` };
    } catch (fault) {
      if (fault instanceof SyntaxError)
        return { kind: 'fault', what: `${host} answers with what is no JSON` };
      if (!CoatcheckError.is(fault)) throw fault;
      return { kind: 'fault', what: `${fault.message}${codeInBrackets(fault)}` };
    }
  };
}

function configuredMetadata(config: ProviderConfig): Metadata {
  return {
    issuer: config.issuer,
    authorization_endpoint: config.authorizationEndpoint,
    token_endpoint: config.tokenEndpoint,
    jwks_uri: config.jwksUri,
    userinfo_endpoint: config.userinfoEndpoint,
    pushed_authorization_request_endpoint: config.pushedAuthorizationRequestEndpoint,
  };
}

function metadataOf({ metadata }: ExaminedProvider, key: string): unknown {
  return metadata.kind === 'fault' ? undefined : metadata.value[key];
}

function listOf(subject: ExaminedProvider, key: string): unknown[] | undefined {
  const value = metadataOf(subject, key);
  return Array.isArray(value) ? value : undefined;
}

function discovery({ metadata, config }: ExaminedProvider): Verdict {
  switch (metadata.kind) {
    case 'configured':
      return fine('none: the endpoints are those of the configuration');
    case 'json':
      return fine(`${discoveryUrl(config.issuer)} answers`);
    case 'fault':
      return wrong(
        `no metadata: ${metadata.what}`,
        `see whether ${quote(discoveryUrl(config.issuer))} is the right address; for a provider that has none, set discovery: false and give its endpoints`,
      );
  }
}

function certificate({ config, now }: ExaminedProvider): ReturnType<Check<ExaminedProvider>> {
  const place = tlsPlaceOf(config.issuer);
  return place === undefined ? undefined : judgeCertificate(place, now);
}

function issuer(subject: ExaminedProvider): Verdict | undefined {
  const { config, metadata } = subject;
  if (metadata.kind === 'configured') return undefined;
  const announced = metadataOf(subject, 'issuer');
  if (announced === config.issuer) return fine(`calls itself ${config.issuer}, as configured`);
  return wrong(
    `calls itself ${quote(announced)}, but configured is ${quote(config.issuer)}; they are compared letter by letter`,
    'correct the issuer in the configuration, if you trust what it says',
  );
}

function endpoints(subject: ExaminedProvider): Verdict {
  const needed = ['authorization_endpoint', 'token_endpoint', ...(usesOpenid(subject) ? ['jwks_uri'] : [])];
  const missing = needed.filter((key) => metadataOf(subject, key) === undefined);
  if (missing.length > 0) {
    return wrong(`${missing.join(', ')} missing`, 'have the provider announce it, or set discovery: false');
  }
  const unsafe = [...needed, 'userinfo_endpoint'].filter((key) => {
    const url = metadataOf(subject, key);
    return url !== undefined && safeUrl(subject, key) === undefined;
  });
  return unsafe.length > 0
    ? wrong(`${unsafe.join(', ')} not https`, 'have the provider use https: secrets go there')
    : fine('all endpoints that are needed are there, and safe');
}

/** An endpoint, where there is one that may be asked. */
function safeUrl(subject: ExaminedProvider, key: string): string | undefined {
  const url = metadataOf(subject, key);
  return typeof url === 'string' && URL.canParse(url) && isSecureOrLoopback(url) ? url : undefined;
}

/** A grant without code and client: some refusal is the answer, and shows that this is the place. */
function tokenEndpoint(subject: ExaminedProvider): Promise<Verdict> | undefined {
  const url = safeUrl(subject, 'token_endpoint');
  const body = new URLSearchParams({ grant_type: 'authorization_code' });
  return url === undefined ? undefined : judgeAnswer(url, subject.config.timeoutMs, { method: 'POST', body });
}

async function keys(subject: ExaminedProvider): Promise<Verdict | undefined> {
  const { config, fetchJson } = subject;
  const alg = config.idTokenSignedResponseAlg;
  const url = safeUrl(subject, 'jwks_uri');
  if (!usesOpenid(subject) || url === undefined) return undefined;
  const answer = await fetchJson(url);
  if (answer.kind === 'fault') {
    return wrong(`no key set: ${answer.what}`, 'without it no ID token can be verified: see jwks_uri');
  }
  const announced = listOf(subject, 'id_token_signing_alg_values_supported');
  const next = `set idTokenSignedResponseAlg to what the provider signs with${announced === undefined ? '' : `; it announces ${quote(announced.join(' '))}`}`;
  if (announced !== undefined && !announced.includes(alg)) {
    return wrong(`the provider does not sign ID tokens with ${alg}`, next);
  }
  return (await hasKeyFor(alg, answer.value))
    ? fine(`the key set has a key for ${alg}`)
    : wrong(`the key set has no key for ${alg}`, next);
}

async function hasKeyFor(alg: string, keySet: Metadata): Promise<boolean> {
  try {
    await createLocalJWKSet(keySet as unknown as JSONWebKeySet)({ alg });
    return true;
  } catch (fault) {
    if (fault instanceof errors.JWKSMultipleMatchingKeys) return true;
    if (fault instanceof errors.JOSEError) return false;
    throw fault;
  }
}

function pkce(subject: ExaminedProvider): Verdict | undefined {
  if (subject.metadata.kind === 'configured') return undefined;
  return listOf(subject, 'code_challenge_methods_supported')?.includes('S256') === true
    ? fine('announces PKCE with S256')
    : risky(
        'does not announce PKCE with S256 (RFC 8414 §2); we send it all the same',
        'ask whether the provider checks it, or merely ignores it',
      );
}

function clientAuthentication(subject: ExaminedProvider): Verdict | undefined {
  if (subject.metadata.kind === 'configured') return undefined;
  const { clientAuthentication: method } = subject.config;
  // Where nothing is announced, that is this method (OpenID Connect Discovery §3).
  const announced = listOf(subject, 'token_endpoint_auth_methods_supported') ?? ['client_secret_basic'];
  return announced.includes(method)
    ? fine(`takes ${method}`)
    : risky(
        `announces ${quote(announced.join(' '))}, but configured is ${method}`,
        'set clientAuthentication to one of these',
      );
}

/** Whether our own key or certificate would be used, and for how long yet. */
function clientKey({ name, config, now }: ExaminedProvider): Verdict | undefined {
  try {
    if (config.clientAuthentication === 'private_key_jwt') {
      readAssertionKey(name, config);
      return fine(`our key can sign with ${config.clientKeyAlgorithm}`);
    }
    return config.clientCertificateFile === undefined
      ? undefined
      : judgeDays('our certificate', certificateEndMs(name, config) - now());
  } catch (fault) {
    if (!CoatcheckError.is(fault)) throw fault;
    return wrong(
      fault.message,
      'put a key there that is strong enough, and a certificate that belongs to it',
    );
  }
}

function pushedRequests(subject: ExaminedProvider): Verdict | undefined {
  const { pushedAuthorizationRequests: rule } = subject.config;
  const offered = metadataOf(subject, 'pushed_authorization_request_endpoint') !== undefined;
  const required = (metadataOf(subject, 'require_pushed_authorization_requests') ?? false) !== false;
  if (!offered && (required || rule === 'always')) {
    return wrong(
      'authorization requests must be pushed, but the provider has no endpoint for it (RFC 9126)',
      'ask the provider for pushed_authorization_request_endpoint',
    );
  }
  if (required) return fine('requires pushed authorization requests, and gets them');
  if (!offered) return undefined;
  return rule === 'if-required'
    ? fine(
        'offers pushed authorization requests, which are not used',
        'set pushedAuthorizationRequests to keep requests out of addresses',
      )
    : fine('takes pushed authorization requests');
}

function redirectUri(subject: ExaminedProvider): Verdict {
  return fine(
    `sends people back to ${subject.redirectUri}`,
    'see that exactly this is registered there as a redirect URI',
  );
}

function usesOpenid({ config }: ExaminedProvider): boolean {
  return config.scope.split(' ').includes('openid');
}
