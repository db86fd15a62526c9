import { randomBytes } from 'node:crypto';
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import { exportJWK, generateKeyPair } from 'jose';
import Provider, { type Configuration, errors, type JWK, type KoaContextWithOIDC } from 'oidc-provider';
import { asListener, pathOf, readText, startHttpServer } from './http-server.ts';
import type { Seen } from './seen.ts';
import { type Appearance, answerPage, faultPage, signInPage } from './sign-in-page.ts';
import { TokenStore } from './token-store.ts';

/** An OAuth client that a simulated provider knows. */
export interface OpenidClient {
  readonly clientId: string;
  /** Absent only with authentication `none`. */
  readonly clientSecret?: string;
  readonly redirectUris: readonly string[];
  /** Default `client_secret_basic`. */
  readonly authentication?: 'client_secret_basic' | 'client_secret_post' | 'none';
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
}

/** A running provider. */
export interface OpenidProvider {
  readonly issuer: string;
  readonly authorizationEndpoint: string;
  readonly tokenEndpoint: string;
  readonly jwksUri: string;
  readonly revocationEndpoint: string;
  /** Absent with JWT access tokens. */
  readonly userinfoEndpoint?: string;
  /** What an opaque access token of this provider is worth; `undefined` where it is not valid. */
  introspect(token: string): Promise<Seen | undefined>;
  /** Takes back all tokens, as an administrator can. */
  revokeAll(): void;
  close(): Promise<void>;
}

const choicesShown = 6;

/** Starts an OpenID provider on 127.0.0.1: discovery, code flow with PKCE S256, refresh, revocation, single sign-on. */
export async function startOpenidProvider(options: OpenidProviderOptions): Promise<OpenidProvider> {
  const server = await startHttpServer(options.port);
  const store = new TokenStore();
  const provider = new Provider(server.url, await configuration(options, store));
  if (options.issuerInResponses === false) leaveOutIssuer(provider);
  const protocol = provider.callback();
  const page = asListener((request, response) => answerSignIn({ provider, options, request, response }));
  const listener: RequestListener = (request, response) =>
    pathOf(request).startsWith('/interaction/') ? page(request, response) : protocol(request, response);
  server.serve(options.guard ? options.guard(listener) : listener);
  return {
    issuer: server.url,
    authorizationEndpoint: provider.urlFor('authorization'),
    tokenEndpoint: provider.urlFor('token'),
    jwksUri: provider.urlFor('jwks'),
    revocationEndpoint: provider.urlFor('revocation'),
    ...(options.accessTokenFormat === 'jwt' ? {} : { userinfoEndpoint: provider.urlFor('userinfo') }),
    introspect: async (token) => {
      const found = await provider.AccessToken.find(token);
      if (!found?.isValid || !found.clientId) return undefined;
      return { subject: found.accountId, audience: null, clientId: found.clientId };
    },
    revokeAll: () => store.revokeAll(),
    close: () => server.close(),
  };
}

async function configuration(options: OpenidProviderOptions, store: TokenStore): Promise<Configuration> {
  const algorithm = options.signingAlgorithm ?? 'RS256';
  const refreshTokenTtlSeconds = options.refreshTokenTtlSeconds ?? 86_400;
  const { privateKey } = await generateKeyPair(algorithm, { extractable: true });
  const key: JWK = { ...(await exportJWK(privateKey)), alg: algorithm, use: 'sig' };
  const claimsBySubject = new Map(Object.values(options.users).map((claims) => [claims.sub, claims]));
  const refreshTokens = options.refreshTokens ?? true;
  return {
    adapter: (model) => store.adapter(model),
    jwks: { keys: [key] },
    clients: options.clients.map((client) => clientMetadata(client, refreshTokens)),
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
    renderError: (context, out) => {
      answerPage(
        context.res,
        context.status,
        faultPage(options.appearance, out.error_description ?? out.error),
      );
      context.respond = false;
    },
  };
}

function features(
  options: OpenidProviderOptions,
  algorithm: NonNullable<TokenRules['signingAlgorithm']>,
): NonNullable<Configuration['features']> {
  const audience = options.accessTokenAudience;
  const common: NonNullable<Configuration['features']> = {
    devInteractions: { enabled: false },
    dPoP: { enabled: false },
    rpInitiatedLogout: { enabled: false },
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
  interaction.result = { login: { accountId: claims.sub } };
  await interaction.save(interaction.exp - Math.floor(Date.now() / 1000));
  response
    .writeHead(303, { location: interaction.returnTo, 'content-length': 0, 'cache-control': 'no-store' })
    .end();
}
