import { randomBytes } from 'node:crypto';
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import { exportJWK, generateKeyPair } from 'jose';
import Provider, { type Configuration, errors, type JWK, type KoaContextWithOIDC } from 'oidc-provider';
import { byCertificate, type DoorCertificates, endpointsAt, startDoor } from './certificate-door.ts';
import { asListener, pathOf, readText, startHttpServer } from './http-server.ts';
import type { Seen } from './seen.ts';
import { type Appearance, answerPage, faultPage, signInPage, signOutPage } from './sign-in-page.ts';
import { TokenStore } from './token-store.ts';

/** An OAuth client that a simulated provider knows. */
export interface OpenidClient {
  readonly clientId: string;
  /** Absent only where `authentication` needs none. */
  readonly clientSecret?: string;
  readonly redirectUris: readonly string[];
  /** Where logout tokens go, each with a `sid` (OpenID Connect Back-Channel Logout 1.0). Default: nowhere. */
  readonly backchannelLogoutUri?: string;
  /** Where people may be sent after they have logged out here. Default: nowhere. */
  readonly postLogoutRedirectUris?: readonly string[];
  /** Default `client_secret_basic`. Certificates need {@link OpenidProviderOptions.certificates}. */
  readonly authentication?:
    | 'client_secret_basic'
    | 'client_secret_post'
    | 'private_key_jwt'
    | 'tls_client_auth'
    | 'self_signed_tls_client_auth'
    | 'none';
  /** Public keys, for `private_key_jwt`; with `x5c` for `self_signed_tls_client_auth`. Default: none. */
  readonly keys?: readonly JWK[];
  /** What the certificate is made out to, for `tls_client_auth`, e.g. `apps.example.com`. */
  readonly certificateName?: string;
}

/** What a provider says about a person. */
export interface PersonClaims {
  readonly sub: string;
  readonly name: string;
  readonly email: string;
}

/** The rules by which a simulated provider issues tokens. */
export interface TokenRules {
  /** Default `opaque`. A JWT access token has an audience, so there is no userinfo endpoint then. */
  readonly accessTokenFormat?: 'opaque' | 'jwt';
  /** `aud` of JWT access tokens, an absolute URI; required with format `jwt`. */
  readonly accessTokenAudience?: string;
  /** Default 3600. */
  readonly accessTokenTtlSeconds?: number;
  /** Default 86400. */
  readonly refreshTokenTtlSeconds?: number;
  /** Default 3600. */
  readonly idTokenTtlSeconds?: number;
  /** Default `RS256`. */
  readonly signingAlgorithm?: 'RS256' | 'PS256' | 'ES256' | 'EdDSA';
  /** Issued at every sign-in, whether `offline_access` was asked for or not. Default true. */
  readonly refreshTokens?: boolean;
  /** A used refresh token dies; using it again revokes the whole grant (RFC 9700 §4.14.2). Default true. */
  readonly rotateRefreshTokens?: boolean;
  /** `iss` in authorization responses (RFC 9207). Default true. */
  readonly issuerInResponses?: boolean;
  /** Whether authorization requests may or must be pushed (RFC 9126). Default: they may. */
  readonly pushedRequests?: 'offered' | 'required';
  /** `acr` of every sign-in, as far as anybody asks. Default: none. */
  readonly acr?: string;
}

/** Options of {@link startOpenidProvider}. */
export interface OpenidProviderOptions extends TokenRules {
  /** Part of the cookies' names: cookies are not kept apart by port, and providers share 127.0.0.1. */
  readonly name: string;
  readonly appearance: Appearance;
  /** Default 0: any free port. */
  readonly port?: number;
  readonly clients: readonly OpenidClient[];
  /** Username → claims. The first six are offered on the sign-in page; all can sign in. */
  readonly users: Readonly<Record<string, PersonClaims>>;
  /** Put in front of the whole provider, e.g. a fault switch. Default: nothing. */
  readonly guard?: (listener: RequestListener) => RequestListener;
  /** A second door with TLS that asks for certificates, announced as `mtls_endpoint_aliases` (RFC 8705 §5). Default: none. */
  readonly certificates?: DoorCertificates;
}

/** A running provider. */
export interface OpenidProvider {
  readonly issuer: string;
  readonly authorizationEndpoint: string;
  readonly tokenEndpoint: string;
  readonly jwksUri: string;
  readonly revocationEndpoint: string;
  readonly endSessionEndpoint: string;
  /** Absent with JWT access tokens. */
  readonly userinfoEndpoint?: string;
  /** What an opaque access token of this provider is worth; `undefined` where it is not valid. */
  introspect(token: string): Promise<Seen | undefined>;
  /** Signs with a new key from now on; the old one is not in the key set any more. */
  rotateKeys(): Promise<void>;
  /** Takes back all tokens, as an administrator can. */
  revokeAll(): void;
  close(): Promise<void>;
}

const choicesShown = 6;

/** Starts an OpenID provider on 127.0.0.1: discovery, code flow with PKCE S256, refresh, revocation, single sign-on. */
export async function startOpenidProvider(options: OpenidProviderOptions): Promise<OpenidProvider> {
  const server = await startHttpServer(options.port);
  const door = await startDoor(options.certificates);
  const store = new TokenStore();
  const settings = configuration(options, { store, doorUrl: door?.url });
  let provider: Provider;
  let protocol: RequestListener;

  /** What has been issued is in the store, and outlives the provider that issued it. */
  const begin = async (): Promise<void> => {
    provider = new Provider(server.url, { ...settings, jwks: { keys: [await signingKey(options)] } });
    if (options.issuerInResponses === false) leaveOutIssuer(provider);
    protocol = provider.callback();
  };
  await begin();

  const page = asListener((request, response) => answerSignIn({ provider, options, request, response }));
  const listener: RequestListener = (request, response) =>
    pathOf(request).startsWith('/interaction/') ? page(request, response) : protocol(request, response);
  for (const front of [server, door]) front?.serve(options.guard ? options.guard(listener) : listener);
  const urlFor = (route: string): string => provider.urlFor(route);
  return {
    issuer: server.url,
    authorizationEndpoint: urlFor('authorization'),
    tokenEndpoint: urlFor('token'),
    jwksUri: urlFor('jwks'),
    revocationEndpoint: urlFor('revocation'),
    endSessionEndpoint: urlFor('end_session'),
    ...(options.accessTokenFormat === 'jwt' ? {} : { userinfoEndpoint: urlFor('userinfo') }),
    introspect: async (token) => {
      const found = await provider.AccessToken.find(token);
      if (!found?.isValid || !found.clientId) return undefined;
      return { subject: found.accountId, audience: null, clientId: found.clientId };
    },
    rotateKeys: begin,
    revokeAll: () => store.revokeAll(),
    close: async () => void (await Promise.all([server.close(), door?.close()])),
  };
}

async function signingKey({ signingAlgorithm: alg = 'RS256' }: OpenidProviderOptions): Promise<JWK> {
  const { privateKey } = await generateKeyPair(alg, { extractable: true });
  return { ...(await exportJWK(privateKey)), alg, use: 'sig' };
}

interface Surroundings {
  readonly store: TokenStore;
  readonly doorUrl: string | undefined;
}

function configuration(options: OpenidProviderOptions, { store, doorUrl }: Surroundings): Configuration {
  const algorithm = options.signingAlgorithm ?? 'RS256';
  const refreshTokenTtlSeconds = options.refreshTokenTtlSeconds ?? 86_400;
  const claimsBySubject = new Map(Object.values(options.users).map((claims) => [claims.sub, claims]));
  const refreshTokens = options.refreshTokens ?? true;
  return {
    adapter: (model) => store.adapter(model),
    clients: options.clients.map((client) => clientMetadata(client, refreshTokens)),
    clientAuthMethods: [
      'client_secret_basic',
      'client_secret_post',
      'private_key_jwt',
      ...(doorUrl === undefined ? [] : (['tls_client_auth', 'self_signed_tls_client_auth'] as const)),
      'none',
    ],
    acrValues: options.acr === undefined ? [] : [options.acr],
    discovery: doorUrl === undefined ? {} : { mtls_endpoint_aliases: endpointsAt(doorUrl) },
    clientDefaults: { id_token_signed_response_alg: algorithm },
    claims: { openid: ['sub'], profile: ['name'], email: ['email'] },
    conformIdTokenClaims: false,
    findAccount: (_context, subject) => {
      const claims = claimsBySubject.get(subject);
      return claims && { accountId: subject, claims: async () => ({ ...claims }) };
    },
    // Every authorization gets a grant of its own: revoking one session's tokens leaves the person's others alone.
    loadExistingGrant: (context) => grantAll(context, options.accessTokenAudience),
    cookies: cookies(options.name),
    interactions: { url: (_context, interaction) => `/interaction/${interaction.uid}` },
    pkce: { required: () => true },
    clientBasedCORS: () => false,
    issueRefreshToken: () => refreshTokens,
    rotateRefreshToken: options.rotateRefreshTokens ?? true,
    // Tokens outlive the provider's own session, as they do at providers that know offline access.
    expiresWithSession: () => false,
    clockTolerance: 0,
    fetch: fetchOnLoopback,
    ttl: {
      AccessToken: options.accessTokenTtlSeconds ?? 3600,
      AuthorizationCode: 60,
      IdToken: options.idTokenTtlSeconds ?? 3600,
      RefreshToken: refreshTokenTtlSeconds,
      Grant: Math.max(refreshTokenTtlSeconds, options.accessTokenTtlSeconds ?? 3600),
      Interaction: 600,
      Session: 86_400,
    },
    features: features(options, algorithm),
    renderError: (context, out) =>
      answerFault(context, options.appearance, out.error_description ?? out.error),
  };
}

function answerFault(context: KoaContextWithOIDC, appearance: Appearance, text: string): void {
  answerPage(context.res, context.status, faultPage(appearance, text));
  context.respond = false;
}

/** Without the library's own dispatcher, which refuses to connect to loopback; in a simulation everything is there. */
const fetchOnLoopback: NonNullable<Configuration['fetch']> = (url, options) => {
  const plain: object = { ...options, dispatcher: undefined };
  return fetch(url, plain);
};

function features(
  options: OpenidProviderOptions,
  algorithm: NonNullable<TokenRules['signingAlgorithm']>,
): NonNullable<Configuration['features']> {
  const audience = options.accessTokenAudience;
  const common: NonNullable<Configuration['features']> = {
    devInteractions: { enabled: false },
    dPoP: { enabled: false },
    backchannelLogout: { enabled: true },
    rpInitiatedLogout: {
      enabled: true,
      logoutSource: (context, form) => {
        context.body = signOutPage(options.appearance, form);
      },
    },
    pushedAuthorizationRequests: {
      enabled: true,
      requirePushedAuthorizationRequests: options.pushedRequests === 'required',
    },
    mTLS: byCertificate(options.certificates !== undefined),
    revocation: {
      enabled: true,
      allowedPolicy: (_context, client, token) => token.clientId === client.clientId,
    },
  };
  if (options.accessTokenFormat !== 'jwt') return common;
  if (!audience) throw new TypeError('accessTokenFormat jwt needs an accessTokenAudience');
  return {
    ...common,
    userinfo: { enabled: false },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => audience,
      useGrantedResource: () => true,
      getResourceServerInfo: () => ({
        audience,
        scope: 'openid profile email',
        accessTokenFormat: 'jwt',
        jwt: { sign: { alg: algorithm } },
      }),
    },
  };
}

function clientMetadata(client: OpenidClient, refreshTokens: boolean) {
  return {
    client_id: client.clientId,
    ...(client.clientSecret ? { client_secret: client.clientSecret } : {}),
    redirect_uris: client.redirectUris,
    token_endpoint_auth_method: client.authentication ?? 'client_secret_basic',
    ...(client.backchannelLogoutUri
      ? { backchannel_logout_uri: client.backchannelLogoutUri, backchannel_logout_session_required: true }
      : {}),
    ...(client.postLogoutRedirectUris ? { post_logout_redirect_uris: client.postLogoutRedirectUris } : {}),
    ...(client.keys ? { jwks: { keys: [...client.keys] } } : {}),
    ...(client.certificateName ? { tls_client_auth_san_dns: client.certificateName } : {}),
    grant_types: refreshTokens ? ['authorization_code', 'refresh_token'] : ['authorization_code'],
  };
}

function cookies(name: string): NonNullable<Configuration['cookies']> {
  return {
    names: { session: `${name}_session`, interaction: `${name}_interaction`, resume: `${name}_resume` },
    keys: [randomBytes(32).toString('base64url')],
  };
}

async function grantAll(context: KoaContextWithOIDC, audience: string | undefined) {
  const { provider, client, session } = context.oidc;
  if (!client || !session?.accountId) return undefined;
  const grant = new provider.Grant({ clientId: client.clientId, accountId: session.accountId });
  grant.addOIDCScope('openid profile email offline_access');
  if (audience) grant.addResourceScope(audience, 'openid profile email');
  await grant.save();
  return grant;
}

/** oidc-provider always sends `iss`; a provider that does not exists in the field, so take it out again. */
function leaveOutIssuer(provider: Provider): void {
  provider.use(async (context, next) => {
    await next();
    const location = String(context.response.headers.location ?? '');
    if (location.startsWith('http') && !location.startsWith(provider.issuer)) {
      const target = new URL(location);
      target.searchParams.delete('iss');
      context.set('location', target.href);
    }
    if (context.path === '/.well-known/openid-configuration' && typeof context.body === 'object') {
      context.body = { ...context.body, authorization_response_iss_parameter_supported: false };
    }
  });
}

interface SignIn {
  readonly provider: Provider;
  readonly options: OpenidProviderOptions;
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
}

async function answerSignIn({ provider, options, request, response }: SignIn): Promise<void> {
  const interaction = await provider.interactionDetails(request, response).catch((error: unknown) => {
    if (error instanceof errors.SessionNotFound) return undefined;
    throw error;
  });
  if (!interaction) {
    answerPage(
      response,
      400,
      faultPage(options.appearance, 'This sign-in page has expired. Please start again.'),
    );
    return;
  }
  const username =
    request.method === 'POST' ? new URLSearchParams(await readText(request)).get('person') : null;
  const claims = username && Object.hasOwn(options.users, username) ? options.users[username] : undefined;
  if (!claims) {
    const choices = Object.entries(options.users).slice(0, choicesShown);
    const html = signInPage(
      options.appearance,
      choices.map(([name, person]) => ({ username: name, name: person.name, email: person.email })),
    );
    answerPage(response, request.method === 'POST' ? 400 : 200, html);
    return;
  }
  const { session } = interaction;
  if (session?.accountId && session.accountId !== claims.sub) {
    // Another person takes over this browser: end the former session here, where oidc-provider would need a script.
    await (await provider.Session.findByUid(session.uid))?.destroy();
    delete interaction.session;
  }
  const { acr } = options;
  interaction.result = { login: { accountId: claims.sub, ...(acr === undefined ? {} : { acr }) } };
  await interaction.save(interaction.exp - Math.floor(Date.now() / 1000));
  response
    .writeHead(303, { location: interaction.returnTo, 'content-length': 0, 'cache-control': 'no-store' })
    .end();
}
