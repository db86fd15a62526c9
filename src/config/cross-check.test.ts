import { expect, test } from 'vitest';
import {
  type BadRow,
  badTitle,
  identity,
  input,
  keySecret,
  problems,
  second,
  upstream,
} from '../../test/config-input.ts';

const anEndpoint = 'https://identity.example.com/x';

const byKey = {
  clientSecret: undefined,
  clientAuthentication: 'private_key_jwt',
  clientKeyFile: '/dev/null',
  clientKeyAlgorithm: 'ES256',
};
const byCertificate = {
  clientSecret: undefined,
  clientAuthentication: 'tls_client_auth',
  clientKeyFile: '/dev/null',
  clientCertificateFile: '/dev/null',
};

const store = { url: 'rediss://sessions.example.com' };

const bad: readonly BadRow[] = [
  [
    'missing client secret',
    identity({ clientSecret: undefined }),
    'providers.identity.clientSecret: missing; expected clientSecret or clientSecretFile (or clientAuthentication: none)',
  ],
  [
    'needless client secret',
    identity({ clientAuthentication: 'none' }),
    'providers.identity.clientSecret: given; expected none, for clientAuthentication is none',
  ],
  [
    'a secret and a key',
    identity({ ...byKey, clientSecret: 'canary-x' }),
    'providers.identity.clientSecret: given; expected none, for clientAuthentication is private_key_jwt',
  ],
  [
    'assertions without an algorithm',
    identity({ ...byKey, clientKeyAlgorithm: undefined }),
    'providers.identity.clientKeyAlgorithm: missing; expected the algorithm to sign with',
  ],
  [
    'a certificate without its key',
    identity({ ...byCertificate, clientKeyFile: undefined }),
    'providers.identity.clientKeyFile: missing; expected the file of a private key',
  ],
  [
    'a key without its certificate',
    identity({ ...byCertificate, clientCertificateFile: undefined }),
    'providers.identity.clientCertificateFile: missing; expected the file of a certificate',
  ],
  [
    'the name of a key that signs nothing',
    identity({ ...byCertificate, clientKeyId: 'k' }),
    'providers.identity.clientKeyId: given; expected none, for clientAuthentication is tls_client_auth',
  ],
  [
    'pushing without an endpoint',
    identity({
      discovery: false,
      authorizationEndpoint: anEndpoint,
      tokenEndpoint: anEndpoint,
      jwksUri: anEndpoint,
      pushedAuthorizationRequests: 'always',
    }),
    'providers.identity.pushedAuthorizationRequestEndpoint: missing; expected an https:// URL, for discovery is false',
  ],
  [
    'an age that no ID token will tell',
    identity({ scope: 'read', maxAge: '1h' }),
    'providers.identity.maxAge: given; expected openid in scope, for the ID token is what says so',
  ],
  [
    'memory store off loopback',
    input({ store: { url: 'memory://' } }),
    'store.url: "memory://"; expected a shared store, for publicUrl is not on loopback',
  ],
  [
    'sentinels of a cluster',
    input({ store: { ...store, cluster: true, sentinel: { name: 'sessions', nodes: ['a:1'] } } }),
    'store.sentinel: given beside cluster: true; expected either, for a cluster has none',
  ],
  [
    'two passwords of the store',
    input({ store: { url: 'rediss://u:canary-p@sessions.example.com', passwordFile: '/dev/null' } }),
    'store.passwordFile: given beside a password in url; expected either',
  ],
  ...(
    [
      [{ url: 'rediss://apps@sessions.example.com' }, 'a user in url'],
      [{ url: 'rediss://sessions.example.com', passwordFile: '/dev/null' }, 'passwordFile'],
      [{ url: 'rediss://sessions.example.com', sentinel: { name: 's', nodes: ['a:1'] } }, 'sentinel'],
    ] as const
  ).map(
    ([changes, seen]): BadRow => [
      `a cloud's token and ${seen}`,
      input({
        store: {
          ...changes,
          auth: { type: 'elasticache-iam', user: 'apps', cache: 'sessions', region: 'eu-central-1' },
        },
      }),
      `store.auth: given beside ${seen}; expected either`,
    ],
  ),
  [
    'plain text to a sentinel elsewhere',
    input({ store: { url: 'redis://[::1]', sentinel: { name: 'sessions', nodes: ['[::1]:1', 'a:1'] } } }),
    'store.sentinel.nodes[1]: "a:1"; expected loopback, or rediss:// in store.url',
  ],
  [
    'same key id',
    input({ keys: [1, 2].map(() => ({ id: 'k1', secret: keySecret })) }),
    'keys[1].id: "k1"; expected each name only once',
  ],
  [
    'same ports',
    input({ listen: { adminPort: 8080 } }),
    'listen.adminPort: 8080; expected another port than listen.port',
  ],
  [
    'idle over absolute',
    input({ session: { idleTimeout: '13h' } }),
    'session.idleTimeout: more than session.absoluteTimeout; expected at most that',
  ],
  [
    'headers over request',
    input({ limits: { requestTimeout: '9s' } }),
    'limits.headersTimeout: more than limits.requestTimeout; expected at most that',
  ],
  [
    'unknown login',
    input({ login: ['identty'] }),
    'login[0]: "identty"; expected one of providers (identity)',
  ],
  [
    'login twice',
    input({ login: ['identity', 'identity'] }),
    'login[1]: "identity"; expected each name only once',
  ],
  [
    'no sameUser',
    second({}),
    'providers.notebook.sameUser: missing; expected the claim that must equal that of the first provider (or dangerously-anyone)',
  ],
  [
    'same provider twice',
    second({ issuer: 'https://identity.example.com', sameUser: 'email' }),
    'providers.notebook: same issuer and clientId as identity; expected each provider only once',
  ],
  [
    'unknown upstream provider',
    upstream({ provider: 'other' }),
    'upstreams.eln.provider: "other"; expected one of login (identity)',
  ],
  [
    'no authorization endpoint',
    identity({ discovery: false, tokenEndpoint: anEndpoint, jwksUri: anEndpoint }),
    'providers.identity.authorizationEndpoint: missing; expected an https:// URL, for discovery is false',
  ],
  [
    'no key set',
    identity({ discovery: false, tokenEndpoint: anEndpoint, authorizationEndpoint: anEndpoint }),
    'providers.identity.jwksUri: missing; expected an https:// URL, for discovery is false',
  ],
  [
    'endpoint beside discovery',
    identity({ jwksUri: anEndpoint }),
    `providers.identity.jwksUri: "${anEndpoint}"; expected discovery: false beside it, or nothing here`,
  ],
  [
    'app claim',
    input({ app: { url: 'https://a.example.com', claims: ['groups'] } }),
    'app.claims[0]: "groups"; expected one of session.claims (name, email)',
  ],
];

test.each(bad)(badTitle, (_, value, line) => {
  expect(problems(value)).toEqual([line]);
});
