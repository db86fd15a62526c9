import { createHash, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { type CryptoKey, exportJWK, generateKeyPair, type JWTHeaderParameters, SignJWT } from 'jose';

/** A JSON object. A member that is `undefined` is left out. */
export type Json = Record<string, unknown>;

/** One of the addresses of a provider. */
export type Endpoint =
  | 'discovery'
  | 'jwks'
  | 'pushed'
  | 'authorization'
  | 'token'
  | 'userinfo'
  | 'revocation'
  | 'elsewhere';

/** A request as it came. */
export interface RecordedRequest {
  readonly endpoint: Endpoint;
  readonly method: string;
  /** Path and query. */
  readonly target: string;
  readonly headers: IncomingHttpHeaders;
  /** Of the query, or of the form in the body. */
  readonly parameters: URLSearchParams;
}

/** What departs from an honest answer. */
export interface Behaviour {
  /** Merged into the discovery document. */
  metadata?: Json;
  /** Instead of the key set. */
  jwks?: unknown;
  /** Changes the parameters with which the browser is sent back. */
  callback?: (parameters: URLSearchParams) => void;
  /** Merged into the ID token's claims. */
  claims?: Json;
  /** Makes the ID token from its claims. */
  idToken?: (claims: Json) => string | Promise<string>;
  /** Merged into the token answer. */
  token?: Json;
  /** Merged into the userinfo answer. */
  userinfo?: Json;
  /** Answers instead of the endpoint. */
  answer?: Partial<Record<Endpoint, (response: ServerResponse) => void>>;
}

/** An OpenID provider that says what a test wants; honest where nothing is asked of it. */
export interface FakeProvider {
  readonly issuer: string;
  /** Everything asked so far. */
  readonly requests: readonly RecordedRequest[];
  readonly publicKey: CryptoKey;
  /** Departures from honesty; assign to change them. */
  behaviour: Behaviour;
  /** Claims of whoever signs in next; `sub` is one. */
  person: Json;
  /** How often an endpoint was asked. */
  count(endpoint: Endpoint): number;
  /** The provider's part of a gateway's configuration. */
  config(changes?: Json): Json;
  /** Signs with the provider's key. */
  sign(claims: Json, header?: Partial<JWTHeaderParameters>): Promise<string>;
  close(): Promise<void>;
}

interface Grant {
  readonly asked: URLSearchParams;
  readonly person: Json;
}

const keyPair = generateKeyPair('RS256', { extractable: true });
const clientSecret = 'fake secret: 100% & more';

/** Starts a provider on a free port of loopback. */
export async function startFakeProvider(): Promise<FakeProvider> {
  const { publicKey, privateKey } = await keyPair;
  const key = { ...(await exportJWK(publicKey)), kid: 'first', alg: 'RS256', use: 'sig' };
  const requests: RecordedRequest[] = [];
  const grants = new Map<string, Grant>();
  const people = new Map<string, Json>();
  const pushed = new Map<string, URLSearchParams>();
  const server = createServer((request, response) => {
    void record(request).then((recorded) => {
      requests.push(recorded);
      const answer = provider.behaviour.answer?.[recorded.endpoint] ?? answers[recorded.endpoint];
      return answer(response, recorded);
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const endpoints = {
    authorization_endpoint: `${issuer}/authorization`,
    token_endpoint: `${issuer}/token`,
    jwks_uri: `${issuer}/jwks`,
    userinfo_endpoint: `${issuer}/userinfo`,
    pushed_authorization_request_endpoint: `${issuer}/pushed`,
  };

  const provider: FakeProvider = {
    issuer,
    requests,
    publicKey,
    behaviour: {},
    person: { sub: 'ada', name: 'Ada', email: 'ada@example.com' },
    count: (endpoint) => requests.filter((request) => request.endpoint === endpoint).length,
    config: (changes = {}) => ({ issuer, clientId: 'apps', clientSecret, ...changes }),
    sign: (claims, header = {}) =>
      new SignJWT(claims).setProtectedHeader({ alg: 'RS256', kid: 'first', ...header }).sign(privateKey),
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };

  type Answering = (response: ServerResponse, request: RecordedRequest) => unknown;
  const answers: Record<Endpoint, Answering> = {
    discovery(response) {
      const support = {
        response_types_supported: ['code'],
        subject_types_supported: ['public'],
        id_token_signing_alg_values_supported: ['RS256', 'ES256', 'HS256', 'none'],
        code_challenge_methods_supported: ['S256'],
        authorization_response_iss_parameter_supported: true,
      };
      answerJson(response, { issuer, ...endpoints, ...support, ...provider.behaviour.metadata });
    },
    jwks: (response) => answerJson(response, provider.behaviour.jwks ?? { keys: [key] }),
    pushed(response, { parameters }) {
      const request_uri = `urn:ietf:params:oauth:request_uri:${randomUUID()}`;
      pushed.set(request_uri, parameters);
      answerJson(response, { request_uri, expires_in: 60 }, 201);
    },
    authorization(response, { parameters }) {
      const asked = pushed.get(parameters.get('request_uri') ?? '') ?? parameters;
      const code = randomUUID();
      grants.set(code, { asked, person: provider.person });
      const back = new URLSearchParams({ code, state: asked.get('state') ?? '', iss: issuer });
      provider.behaviour.callback?.(back);
      response.writeHead(302, { location: `${asked.get('redirect_uri')}?${back}` }).end();
    },
    async token(response, { parameters }) {
      const grant = grants.get(parameters.get('code') ?? '');
      if (grant === undefined || !fits(grant, parameters)) {
        answerJson(response, { error: 'invalid_grant' }, 400);
        return;
      }
      const accessToken = `access-${randomUUID()}`;
      people.set(accessToken, grant.person);
      answerJson(response, {
        access_token: accessToken,
        token_type: 'Bearer',
        expires_in: 3600,
        id_token: grant.asked.get('scope')?.includes('openid') ? await idTokenOf(grant) : undefined,
        ...provider.behaviour.token,
      });
    },
    userinfo(response, { headers }) {
      const person = people.get(headers.authorization?.replace('Bearer ', '') ?? '');
      if (person === undefined) response.writeHead(401, { 'www-authenticate': 'Bearer' }).end();
      else answerJson(response, { ...person, ...provider.behaviour.userinfo });
    },
    revocation: (response) => response.writeHead(200).end(),
    elsewhere: (response) => response.writeHead(404).end(),
  };

  async function idTokenOf({ asked, person }: Grant): Promise<string> {
    const seconds = Math.floor(Date.now() / 1000);
    const { behaviour } = provider;
    const claims = withoutUndefined({
      iss: issuer,
      aud: asked.get('client_id'),
      iat: seconds,
      exp: seconds + 300,
      nonce: asked.get('nonce') ?? undefined,
      ...person,
      ...behaviour.claims,
    });
    return behaviour.idToken === undefined ? provider.sign(claims) : behaviour.idToken(claims);
  }

  return provider;
}

/** Answers with JSON, as all endpoints do that are not for the browser. */
export function answerJson(response: ServerResponse, value: unknown, status = 200): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value));
}

const paths: Readonly<Record<string, Endpoint>> = {
  '/.well-known/openid-configuration': 'discovery',
  '/jwks': 'jwks',
  '/pushed': 'pushed',
  '/authorization': 'authorization',
  '/token': 'token',
  '/userinfo': 'userinfo',
  // Announced only where a test does so.
  '/revocation': 'revocation',
};

async function record(request: IncomingMessage): Promise<RecordedRequest> {
  const { method = '', url: target = '', headers } = request;
  const { pathname, searchParams } = new URL(target, 'http://provider');
  const parameters = method === 'POST' ? new URLSearchParams(await text(request)) : searchParams;
  return { endpoint: paths[pathname] ?? 'elsewhere', method, target, headers, parameters };
}

/** Redirect address and PKCE verifier are those of the authorization request (RFC 6749 §4.1.3, RFC 7636 §4.6). */
function fits({ asked }: Grant, given: URLSearchParams): boolean {
  const verifier = given.get('code_verifier') ?? '';
  const challenge = createHash('sha256').update(verifier).digest('base64url');
  return asked.get('redirect_uri') === given.get('redirect_uri') && asked.get('code_challenge') === challenge;
}

function withoutUndefined(value: Json): Json {
  return Object.fromEntries(Object.entries(value).filter(([, member]) => member !== undefined));
}
