import { expect, test } from 'vitest';
import {
  type BadRow,
  badTitle,
  identity,
  input,
  keySecret,
  problems,
  provider,
  upstream,
} from '../../test/config-input.ts';

const bad: readonly BadRow[] = [
  [
    'unknown key',
    input({ lisen: { port: 1 } }),
    'lisen: unknown key; expected listen, the nearest known key',
  ],
  [
    'unknown secret',
    identity({ clientSecrt: 'canary-x' }),
    'providers.identity.clientSecrt: unknown key; expected clientSecret, the nearest known key',
  ],
  [
    'unknown file',
    identity({ clientSecretFil: 'x' }),
    'providers.identity.clientSecretFil: unknown key; expected clientSecretFile, the nearest known key',
  ],
  ['missing key', identity({ clientId: undefined }), 'providers.identity.clientId: missing; expected text'],
  [
    'missing key secret',
    input({ keys: [{ id: 'k1' }] }),
    'keys[0].secret: missing; expected base64 or base64url of at least 32 bytes',
  ],
  ['no keys', input({ keys: [] }), 'keys: an empty list; expected at least 1'],
  ['no login', input({ login: [] }), 'login: an empty list; expected at least 1'],
  [
    'short key',
    input({ keys: [{ id: 'k1', secret: Buffer.from('canary-16-bytes!').toString('base64') }] }),
    'keys[0].secret: (secret, 24 characters); expected base64 or base64url of at least 32 bytes, not of 16',
  ],
  [
    'key in hex with spaces',
    input({ keys: [{ id: 'k1', secret: 'canary- '.repeat(8) }] }),
    'keys[0].secret: (secret, 64 characters); expected base64 or base64url of at least 32 bytes',
  ],
  [
    'long key id',
    input({ keys: [{ id: 'k'.repeat(17), secret: keySecret }] }),
    'keys[0].id: "kkkkkkkkkkkkkkkkk"; expected at most 16 letters, digits, _ -',
  ],
  [
    'keys as text',
    input({ keys: 'canary-keys' }),
    'keys: text of 11 characters; expected list, each: mapping',
  ],
  [
    'bad duration',
    input({ session: { idleTimeout: '1 hour' } }),
    'session.idleTimeout: "1 hour"; expected duration from 1m to 30d',
  ],
  [
    'number as duration',
    input({ session: { idleTimeout: 60 } }),
    'session.idleTimeout: 60; expected duration from 1m to 30d',
  ],
  [
    'short duration',
    input({ session: { idleTimeout: '59s' } }),
    'session.idleTimeout: "59s"; expected duration from 1m to 30d',
  ],
  [
    'a moment without its offset',
    input({ session: { validFrom: '2026-01-31T12:00:00' } }),
    'session.validFrom: "2026-01-31T12:00:00"; expected moment such as 2026-01-31T12:00:00Z',
  ],
  [
    'a moment that there is not',
    input({ session: { validFrom: '2026-13-31T12:00:00Z' } }),
    'session.validFrom: "2026-13-31T12:00:00Z"; expected moment such as 2026-01-31T12:00:00Z',
  ],
  [
    'a short admin token',
    input({ listen: { adminToken: 'canary-x' } }),
    'listen.adminToken: (secret, 8 characters); expected 32 to 256 letters, digits, - . _ ~ + / =',
  ],
  [
    'bad size',
    input({ limits: { requestBody: '10MB' } }),
    'limits.requestBody: "10MB"; expected size from 1KiB to 1GiB',
  ],
  ['bad port', input({ listen: { port: 65_536 } }), 'listen.port: 65536; expected integer from 0 to 65535'],
  [
    'provider name',
    input({ providers: { Identity: provider() } }),
    'providers.Identity: this name; expected name of lower-case letters, digits and hyphens, a letter first',
  ],
  [
    'protocol parameter',
    identity({ authorizationParameters: { redirect_uri: 'https://evil.example' } }),
    'providers.identity.authorizationParameters.redirect_uri: this name; expected a parameter that the protocol does not set itself',
  ],
  [
    'unsigned ID tokens',
    identity({ idTokenSignedResponseAlg: 'none' }),
    'providers.identity.idTokenSignedResponseAlg: "none"; expected one of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA',
  ],
  [
    'symmetric ID tokens',
    identity({ idTokenSignedResponseAlg: 'HS256' }),
    'providers.identity.idTokenSignedResponseAlg: "HS256"; expected one of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA',
  ],
  [
    'scope',
    identity({ scope: 'openid  email' }),
    'providers.identity.scope: "openid  email"; expected scopes separated by single spaces',
  ],
  [
    'symmetric assertions',
    identity({ clientKeyAlgorithm: 'HS256' }),
    'providers.identity.clientKeyAlgorithm: "HS256"; expected one of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA',
  ],
  [
    'no acr at all',
    identity({ acrValues: [] }),
    'providers.identity.acrValues: an empty list; expected at least 1',
  ],
  [
    'authorization header',
    upstream({ headers: { authorization: 'canary-x' } }),
    'upstreams.eln.headers.authorization: this name; expected a header that the gateway does not set or remove itself',
  ],
  [
    'hop-by-hop header',
    upstream({ headers: { 'transfer-encoding': 'x' } }),
    'upstreams.eln.headers.transfer-encoding: this name; expected a header that the gateway does not set or remove itself',
  ],
  [
    'header in upper case',
    upstream({ headers: { 'X-Key': 'canary-x' } }),
    'upstreams.eln.headers.X-Key: this name; expected header name in lower case (RFC 9110 §5.1)',
  ],
  [
    'header with a line break',
    upstream({ headers: { 'x-key': 'canary-x\r\nx: y' } }),
    'upstreams.eln.headers.x-key: (secret, 14 characters); expected header value of printable ASCII on one line',
  ],
  [
    'method',
    upstream({ methods: ['TRACE'] }),
    'upstreams.eln.methods[0]: "TRACE"; expected one of GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS',
  ],
  [
    'public path',
    input({ app: { url: 'https://a.example.com', public: ['/a*'] } }),
    'app.public[0]: "/a*"; expected path that begins with /, with * only as its last segment',
  ],
  [
    'inherited claim',
    identity({ sameUser: 'constructor' }),
    'providers.identity.sameUser: "constructor"; expected claim name',
  ],
];

test.each(bad)(badTitle, (_, value, line) => {
  expect(problems(value)).toEqual([line]);
});

test('every parameter that the protocol sets itself is refused', () => {
  const names =
    'client_id redirect_uri response_type response_mode scope state nonce code_challenge code_challenge_method request request_uri max_age acr_values';
  for (const name of names.split(' ')) {
    const [line] = problems(identity({ authorizationParameters: { [name]: 'x' } }));
    expect(line).toContain(`authorizationParameters.${name}: this name`);
  }
});

test('every header that belongs to the connection or the person is refused', () => {
  const names =
    'authorization cookie host connection keep-alive proxy-authenticate proxy-authorization te trailer transfer-encoding upgrade content-length';
  for (const name of names.split(' ')) {
    const [line] = problems(upstream({ headers: { [name]: 'x' } }));
    expect(line).toContain(`headers.${name}: this name`);
  }
});
