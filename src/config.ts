/**
 * Configuration: from a YAML file or from the same object in code to one normalised, immutable-by-habit value.
 * Durations become milliseconds, sizes bytes, keys buffers. Nothing is guessed: what is missing, unknown or wrong
 * is a {@link ConfigProblem} that names the key, what was seen and what is expected.
 */

import { dirname, resolve as resolvePath } from 'node:path';
import { crossCheck } from './config/cross-check.ts';
import { readDocument } from './config/document.ts';
import { type ConfigProblem, problemLine, problemsOf } from './config/problem.ts';
import { type ResolveContext, resolve } from './config/resolve.ts';
import { schema } from './config/schema.ts';
import type { StoreConfig } from './config/store-config.ts';
import { CoatcheckError } from './errors.ts';
import type { OutagePolicy } from './policy.ts';

export { type ConfigRow, describeConfig, jsonSchema, printable } from './config/description.ts';
export { type ConfigProblem, problemLine } from './config/problem.ts';
export type { StoreConfig } from './config/store-config.ts';

/** All of the configuration, normalised. */
export interface Config {
  /** Origin only, such as `https://apps.example.com`. */
  publicUrl: string;
  listen: ListenConfig;
  store: StoreConfig;
  /** The first seals, all open. At least one; ids are unique. */
  keys: KeyConfig[];
  session: SessionConfig;
  /** By name. Has no prototype. */
  providers: Record<string, ProviderConfig>;
  /** Names of providers, in the order of the sign-in. At least one. */
  login: string[];
  /** By name. Has no prototype. Default: none. */
  upstreams: Record<string, UpstreamConfig>;
  /** The app behind the gateway. Default: none. */
  app?: AppConfig;
  outage: OutageConfig;
  limits: LimitsConfig;
  log: LogConfig;
}

/** Where the process listens. */
export interface ListenConfig {
  /** Default: `0.0.0.0`. */
  host: string;
  /** Default: 8080. 0 takes a free port. */
  port: number;
  /** Default: `0.0.0.0`, for probes come from outside of the pod. Must not be exposed further. */
  adminHost: string;
  /** Default: 9090. 0 takes a free port. */
  adminPort: number;
  /** Default: none, and no `/admin/…`. Secret. */
  adminToken?: string;
  /** Sent as `coatcheck-replica` with every answer. Default: none, and no such header. */
  replicaName?: string;
}

/** What happens while the store does not answer, by path. */
export interface OutageConfig {
  /** Where no route matches. Default: fail-closed. */
  default: OutagePolicy;
  /** By path, or prefix with a final `/*`; the longest match decides. Has no prototype. Default: none. */
  routes: Record<string, OutagePolicy>;
}

/** One server key. */
export interface KeyConfig {
  /** 1 to 16 of `[A-Za-z0-9_-]`. */
  id: string;
  /** At least 32 bytes. Secret. */
  secret: Buffer;
}

/** How long sessions live and what they keep. */
export interface SessionConfig {
  /** ms. Default: 1 h. At most the absolute timeout. */
  idleTimeoutMs: number;
  /** ms. Default: 12 h. */
  absoluteTimeoutMs: number;
  /** Of one person at a time. Default: 0, no limit. */
  limit: number;
  /** Default: sessions count whenever their person signed in. */
  validFrom?: Date;
  /** Names of claims. Default: `name`, `email`. */
  claims: string[];
}

/** How we prove to be the client. */
export type ClientAuthenticationMethod =
  | 'client_secret_basic'
  | 'client_secret_post'
  | 'private_key_jwt'
  | 'tls_client_auth'
  | 'self_signed_tls_client_auth'
  | 'none';

/** Asymmetric ones only (RFC 7518 §3.1, RFC 8037). */
export type SignatureAlgorithm = `${'RS' | 'PS' | 'ES'}${256 | 384 | 512}` | 'EdDSA';

/** One authorization server. */
export interface ProviderConfig {
  /** Exactly as the provider writes it (RFC 8414 §2). */
  issuer: string;
  clientId: string;
  /** Present with `client_secret_basic` and `client_secret_post`. Secret. */
  clientSecret?: string;
  /** RFC 6749 §2.3.1, RFC 7523 §2.2, RFC 8705 §2. Default: `client_secret_basic`. */
  clientAuthentication: ClientAuthenticationMethod;
  /** Absolute path, PEM or JWK; read anew for each use. Present with `private_key_jwt` and certificates. */
  clientKeyFile?: string;
  /** `kid` of our assertions. Default: that of the JWK, if any. */
  clientKeyId?: string;
  /** `alg` of our assertions. Present with `private_key_jwt`. */
  clientKeyAlgorithm?: SignatureAlgorithm;
  /** Absolute path, PEM with the chain; read anew for each use. Present with `tls_client_auth`, `self_signed_tls_client_auth`. */
  clientCertificateFile?: string;
  /** RFC 9126. Whatever is written, always where the provider requires it. Default: `if-required`. */
  pushedAuthorizationRequests: 'if-required' | 'if-offered' | 'always';
  /** Separated by spaces (RFC 6749 §3.3). Default: `openid profile email`. */
  scope: string;
  /** Default: true. With false the endpoints below are given, and only then. */
  discovery: boolean;
  authorizationEndpoint?: string;
  tokenEndpoint?: string;
  /** Present without discovery where the scope has `openid`. */
  jwksUri?: string;
  /** Present without discovery where `userinfo` is true. */
  userinfoEndpoint?: string;
  pushedAuthorizationRequestEndpoint?: string;
  /** Default: with discovery the announced one, else none. */
  revocationEndpoint?: string;
  /** RFC 7009. Default: true. */
  revokeAtLogout: boolean;
  /** Default: with discovery the announced one, else none. */
  endSessionEndpoint?: string;
  /** OpenID Connect RP-Initiated Logout 1.0; `hint` with the ID token. Default: `off`. */
  endSession: 'off' | 'confirm' | 'hint';
  /** Whether logout tokens of this provider end sessions (OpenID Connect Back-Channel Logout 1.0). Default: false. */
  backchannelLogout: boolean;
  /** Default: `RS256`. */
  idTokenSignedResponseAlg: SignatureAlgorithm;
  /** Longest since the person proved who they are, ms (OpenID Connect Core §3.1.2.1 `max_age`). Default: any time. */
  maxAgeMs?: number;
  /** Ways of proving it, of which one must have been used (`acr`). At least one. Default: any way. */
  acrValues?: string[];
  /** Whether to call userinfo and compare `sub`. Default: true, but false without discovery and `userinfoEndpoint`. */
  userinfo: boolean;
  /** Claim compared with the first provider's, or `dangerously-anyone`. Present on every later provider of the login. */
  sameUser?: string;
  /** Extra parameters of the authorization request, never one of the protocol. Has no prototype. Default: none. */
  authorizationParameters: Record<string, string>;
  /** Of an access token whose `expires_in` the provider does not tell, ms. Default: as long as the session may live. */
  accessTokenLifetimeMs?: number;
  /** From authorization, however often it is used, ms. Default: what the provider tells, or as long as the session may live. */
  refreshTokenLifetimeMs?: number;
  /** Without being used, ms. Default: what the provider tells, or as long as the session may live. */
  refreshTokenIdleTimeoutMs?: number;
  /** Longest wait for one answer, ms. Default: 5 s. */
  timeoutMs: number;
}

/** One system that is called on the person's behalf. */
export interface UpstreamConfig {
  /** Without a slash at its end. */
  url: string;
  /** One of `login`. */
  provider: string;
  /** Fixed request headers, names in lower case. Values are secret. Has no prototype. Default: none. */
  headers: Record<string, string>;
  /** Default: GET, HEAD, POST, PUT, PATCH, DELETE. */
  methods: string[];
  /** Until the answer begins, ms. Default: 30 s. */
  headersTimeoutMs: number;
  /** Between two pieces of the answer, ms. Default: 5 min. */
  bodyTimeoutMs: number;
  /** At a time. Default: 64. */
  connections: number;
}

/** The app behind the gateway. */
export interface AppConfig {
  url: string;
  /** Paths without session; a final `*` stands for anything. Default: none. */
  public: string[];
  /** Claims handed on in headers; a part of `session.claims`. Default: none. */
  claims: string[];
}

/** What clients may use up. */
export interface LimitsConfig {
  /** Bytes. Default: 10 MiB. */
  requestBodyBytes: number;
  /** ms. Default: 10 s. At most `requestTimeoutMs`. */
  headersTimeoutMs: number;
  /** ms. Default: 5 min. */
  requestTimeoutMs: number;
  /** At a time. Default: 10,000. */
  connections: number;
  /** Between "not ready" and the first refused connection, ms. Default: 3 s. */
  drainDelayMs: number;
  /** ms. Default: 25 s. */
  drainTimeoutMs: number;
}

/** The log. */
export interface LogConfig {
  /** Default: `info`. */
  level: 'debug' | 'info' | 'warn' | 'error' | 'silent';
}

/** Environment variables. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** A configuration, or everything that is wrong with it (at least one problem). */
export type ConfigResult =
  | { readonly kind: 'valid'; readonly config: Config }
  | { readonly kind: 'invalid'; readonly problems: readonly ConfigProblem[] };

/** Checks an object in the written form. Relative paths in it start at `baseDirectory` (default: the working directory). */
export const checkConfig = (
  input: unknown,
  env: Environment,
  baseDirectory: string = process.cwd(),
): ConfigResult => {
  const context: ResolveContext = { env, baseDirectory, problems: [] };
  if (env.NODE_TLS_REJECT_UNAUTHORIZED === '0') {
    const expected = 'nothing, for TLS verification cannot be turned off';
    context.problems.push({ key: 'NODE_TLS_REJECT_UNAUTHORIZED', seen: '"0"', expected });
  }
  const resolved = resolve(schema, [input, []], context);
  const result = schema.safeParse(resolved);
  const found = result.success
    ? crossCheck(result.data)
    : result.error.issues.flatMap((issue) => problemsOf(schema, resolved, issue));
  // What could not be resolved is missing for the schema too; once is enough.
  const known = new Set(context.problems.flatMap(({ key }) => [key, key.replace(/(File|\.file)$/, '')]));
  const problems = [...context.problems, ...found.filter(({ key }) => !known.has(key))];
  return result.success && problems.length === 0
    ? { kind: 'valid', config: result.data }
    : { kind: 'invalid', problems };
};

/** Checks a YAML file. Relative paths in it start at its own directory. */
export const checkConfigFile = (file: string, env: Environment): ConfigResult => {
  const document = readDocument(file);
  return document.kind === 'read'
    ? checkConfig(document.input, env, dirname(resolvePath(file)))
    : { kind: 'invalid', problems: document.problems };
};

const unwrap = (result: ConfigResult): Config => {
  if (result.kind === 'valid') return result.config;
  const [first, ...more] = result.problems.map(problemLine);
  const rest = more.length === 0 ? '' : ` (and ${more.length} more)`;
  throw new CoatcheckError('config_invalid', { detail: `${first}${rest}` });
};

/** The configuration in an object of the written form. Throws `config_invalid` with the first problem in one line. */
export const parseConfig = (input: unknown, env: Environment, baseDirectory?: string): Config =>
  unwrap(checkConfig(input, env, baseDirectory));

/** The configuration in a YAML file. Throws `config_invalid` with the first problem in one line. */
export const readConfig = (file: string, env: Environment): Config => unwrap(checkConfigFile(file, env));
