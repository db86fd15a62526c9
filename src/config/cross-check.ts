/** What no single key can tell: whether the parts of a configuration fit together. */
import type { ClientAuthenticationMethod, Config, ProviderConfig } from '../config.ts';
import { isLoopback } from './address.ts';
import { type ConfigProblem, keyPath, show } from './problem.ts';

type Problems = Generator<ConfigProblem>;

const problem = (path: readonly PropertyKey[], seen: string, expected: string): ConfigProblem => ({
  key: keyPath(path),
  seen,
  expected,
});

const list = (names: readonly string[]): string =>
  names.length === 0 ? 'none is configured' : names.join(', ');

function* duplicates(names: readonly string[], path: (index: number) => PropertyKey[]): Problems {
  for (const [index, name] of names.entries()) {
    if (names.indexOf(name) < index) yield problem(path(index), show(name), 'each name only once');
  }
}

function* checkProcess({ publicUrl, listen, store, keys, limits }: Config): Problems {
  if (store.url === 'memory://' && !isLoopback(publicUrl)) {
    yield problem(['store', 'url'], '"memory://"', 'a shared store, for publicUrl is not on loopback');
  }
  if (listen.port !== 0 && listen.port === listen.adminPort) {
    yield problem(['listen', 'adminPort'], String(listen.adminPort), 'another port than listen.port');
  }
  yield* duplicates(
    keys.map(({ id }) => id),
    (index) => ['keys', index, 'id'],
  );
  if (limits.headersTimeoutMs > limits.requestTimeoutMs) {
    yield problem(['limits', 'headersTimeout'], 'more than limits.requestTimeout', 'at most that');
  }
}

function* checkStore({ store }: Config): Problems {
  const { url, cluster, sentinel, passwordFile, auth } = store;
  if (cluster && sentinel !== undefined) {
    yield problem(['store', 'sentinel'], 'given beside cluster: true', 'either, for a cluster has none');
  }
  if (passwordFile !== undefined && new URL(url).password !== '') {
    yield problem(['store', 'passwordFile'], 'given beside a password in url', 'either');
  }
  if (auth !== undefined) {
    const { username, password } = new URL(url);
    const named = `${username}${password}` !== '' ? 'a user in url' : passwordFile && 'passwordFile';
    if (named) yield problem(['store', 'auth'], `given beside ${named}`, 'either');
    if (sentinel !== undefined) yield problem(['store', 'auth'], 'given beside sentinel', 'either');
  }
  for (const [index, node] of (sentinel?.nodes ?? []).entries()) {
    if (!url.startsWith('redis:') || isLoopback(`http://${node}`)) continue;
    yield problem(['store', 'sentinel', 'nodes', index], show(node), 'loopback, or rediss:// in store.url');
  }
}

function* checkSession({ session, app }: Config): Problems {
  if (session.idleTimeoutMs > session.absoluteTimeoutMs) {
    yield problem(['session', 'idleTimeout'], 'more than session.absoluteTimeout', 'at most that');
  }
  for (const [index, claim] of (app?.claims ?? []).entries()) {
    if (session.claims.includes(claim)) continue;
    yield problem(['app', 'claims', index], show(claim), `one of session.claims (${list(session.claims)})`);
  }
}

function* checkLogin({ login, providers }: Config): Problems {
  yield* duplicates(login, (index) => ['login', index]);
  for (const [index, name] of login.entries()) {
    const provider = providers[name];
    if (provider === undefined) {
      yield problem(['login', index], show(name), `one of providers (${list(Object.keys(providers))})`);
    } else if (login.indexOf(name) > 0 && provider.sameUser === undefined) {
      const expected = 'the claim that must equal that of the first provider (or dangerously-anyone)';
      yield problem(['providers', name, 'sameUser'], 'missing', expected);
    }
  }
}

const endpoints = [
  'authorizationEndpoint',
  'tokenEndpoint',
  'jwksUri',
  'userinfoEndpoint',
  'pushedAuthorizationRequestEndpoint',
  'revocationEndpoint',
  'endSessionEndpoint',
] as const;

function* checkEndpoints(name: string, provider: ProviderConfig): Problems {
  const needed: ReadonlySet<string> = new Set([
    'authorizationEndpoint',
    'tokenEndpoint',
    ...(provider.scope.split(' ').includes('openid') ? ['jwksUri'] : []),
    ...(provider.userinfo ? ['userinfoEndpoint'] : []),
    ...(provider.pushedAuthorizationRequests === 'always' ? ['pushedAuthorizationRequestEndpoint'] : []),
  ]);
  for (const endpoint of endpoints) {
    const value = provider[endpoint];
    const path = ['providers', name, endpoint];
    if (provider.discovery && value !== undefined) {
      yield problem(path, show(value), 'discovery: false beside it, or nothing here');
    }
    if (!provider.discovery && value === undefined && needed.has(endpoint)) {
      yield problem(path, 'missing', 'an https:// URL, for discovery is false');
    }
  }
}

const secretForms = 'clientSecret or clientSecretFile (or clientAuthentication: none)';
const keyForm = 'the file of a private key';

/** What each way to prove to be the client needs, in words for where it is missing. It takes nothing else. */
const clientProofs: Readonly<Record<ClientAuthenticationMethod, Readonly<Record<string, string>>>> = {
  client_secret_basic: { clientSecret: secretForms },
  client_secret_post: { clientSecret: secretForms },
  private_key_jwt: { clientKeyFile: keyForm, clientKeyAlgorithm: 'the algorithm to sign with' },
  tls_client_auth: { clientKeyFile: keyForm, clientCertificateFile: 'the file of a certificate' },
  self_signed_tls_client_auth: { clientKeyFile: keyForm, clientCertificateFile: 'the file of a certificate' },
  none: {},
};

function* checkClientProof(name: string, provider: ProviderConfig): Problems {
  const { clientAuthentication: method } = provider;
  for (const key of [
    'clientSecret',
    'clientKeyFile',
    'clientKeyAlgorithm',
    'clientKeyId',
    'clientCertificateFile',
  ] as const) {
    const needed = clientProofs[method][key];
    const given = provider[key] !== undefined;
    const optional = key === 'clientKeyId' && method === 'private_key_jwt';
    if (optional || given === (needed !== undefined)) continue;
    const expected = needed ?? `none, for clientAuthentication is ${method}`;
    yield problem(['providers', name, key], given ? 'given' : 'missing', expected);
  }
}

function* checkPersonProof(name: string, provider: ProviderConfig): Problems {
  if (provider.scope.split(' ').includes('openid')) return;
  if (provider.backchannelLogout) {
    yield problem(
      ['providers', name, 'backchannelLogout'],
      'true',
      'openid in scope, for its keys are needed',
    );
  }
  for (const [key, value] of Object.entries({ maxAge: provider.maxAgeMs, acrValues: provider.acrValues })) {
    if (value === undefined) continue;
    yield problem(['providers', name, key], 'given', 'openid in scope, for the ID token is what says so');
  }
}

function* checkProviders({ providers }: Config): Problems {
  const seen = new Map<string, string>();
  for (const [name, provider] of Object.entries(providers)) {
    const identity = JSON.stringify([provider.issuer, provider.clientId]);
    const twin = seen.get(identity);
    seen.set(identity, name);
    if (twin !== undefined) {
      yield problem(['providers', name], `same issuer and clientId as ${twin}`, 'each provider only once');
    }
    yield* checkClientProof(name, provider);
    yield* checkPersonProof(name, provider);
    yield* checkEndpoints(name, provider);
  }
}

function* checkUpstreams({ upstreams, login }: Config): Problems {
  for (const [name, { provider }] of Object.entries(upstreams)) {
    if (login.includes(provider)) continue;
    yield problem(['upstreams', name, 'provider'], show(provider), `one of login (${list(login)})`);
  }
}

/** Everything in which the parts of the configuration contradict each other. */
export const crossCheck = (config: Config): ConfigProblem[] =>
  [checkProcess, checkStore, checkSession, checkLogin, checkProviders, checkUpstreams].flatMap((check) => [
    ...check(config),
  ]);
