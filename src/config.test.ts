import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Ajv2020 from 'ajv/dist/2020.js';
import { afterAll, describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import {
  type Config,
  checkConfig,
  checkConfigFile,
  describeConfig,
  jsonSchema,
  parseConfig,
  printable,
  problemLine,
  readConfig,
} from './config.ts';
import { CoatcheckError } from './errors.ts';

const directory = mkdtempSync(join(tmpdir(), 'coatcheck-config-'));
afterAll(() => rmSync(directory, { recursive: true }));

const keySecret = Buffer.from('canary-key-0123456789-0123456789-').toString('base64');
// Whatever happens, none of these may be seen.
const canaries = [keySecret, 'canary-'];
const env = { CLIENT_SECRET: 'canary-client-secret', PORT: '8443', NAME: 'replica-1' };

type Input = Record<string, unknown>;

const provider = (changes: Input = {}): Input => ({
  issuer: 'https://identity.example.com',
  clientId: 'apps',
  clientSecret: '${CLIENT_SECRET}',
  ...changes,
});

const input = (changes: Input = {}): Input => ({
  publicUrl: 'https://apps.example.com',
  store: { url: 'rediss://apps:canary-store@sessions.example.com:6379' },
  keys: [{ id: 'k1', secret: keySecret }],
  providers: { identity: provider() },
  login: ['identity'],
  ...changes,
});

const identity = (changes: Input): Input => input({ providers: { identity: provider(changes) } });
const upstream = (changes: Input): Input =>
  input({ upstreams: { eln: { url: 'https://eln.example.com', provider: 'identity', ...changes } } });
const second = (changes: Input): Input =>
  input({
    providers: {
      identity: provider(),
      notebook: provider({ issuer: 'https://notebook.example.com', ...changes }),
    },
    login: ['identity', 'notebook'],
  });

/** All problems, one line each; fails if one of them shows a secret or has more than one line. */
const problems = (value: unknown, environment: Record<string, string> = env): string[] => {
  const result = checkConfig(value, environment, directory);
  const lines = result.kind === 'valid' ? [] : result.problems.map(problemLine);
  for (const line of lines) {
    expect(line).not.toContain('\n');
    for (const canary of canaries) expect(line).not.toContain(canary);
  }
  return lines;
};

describe('a valid configuration', () => {
  test('gets its defaults and normalised units', () => {
    expect(parseConfig(input(), env)).toEqual({
      publicUrl: 'https://apps.example.com',
      listen: { host: '0.0.0.0', port: 8080, adminHost: '0.0.0.0', adminPort: 9090 },
      store: {
        url: 'rediss://apps:canary-store@sessions.example.com:6379',
        deadlineMs: 250,
        keyPrefix: 'cc:',
      },
      keys: [{ id: 'k1', secret: Buffer.from('canary-key-0123456789-0123456789-') }],
      session: { idleTimeoutMs: 3_600_000, absoluteTimeoutMs: 43_200_000, claims: ['name', 'email'] },
      providers: {
        identity: {
          issuer: 'https://identity.example.com',
          clientId: 'apps',
          clientSecret: 'canary-client-secret',
          clientAuthentication: 'client_secret_basic',
          scope: 'openid profile email',
          discovery: true,
          idTokenSignedResponseAlg: 'RS256',
          userinfo: true,
          authorizationParameters: {},
          timeoutMs: 5000,
        },
      },
      login: ['identity'],
      upstreams: {},
      limits: {
        requestBodyBytes: 10_485_760,
        headersTimeoutMs: 10_000,
        requestTimeoutMs: 300_000,
        connections: 10_000,
        drainDelayMs: 3000,
        drainTimeoutMs: 25_000,
      },
      log: { level: 'info' },
    } satisfies Config);
  });

  test('gives upstreams defaults and drops the slash at the end of their address', () => {
    const config = parseConfig(upstream({ url: 'https://eln.example.com/v1/' }), env);
    expect(config.upstreams.eln).toEqual({
      url: 'https://eln.example.com/v1',
      provider: 'identity',
      headers: {},
      methods: ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'],
      headersTimeoutMs: 30_000,
      bodyTimeoutMs: 300_000,
      connections: 64,
    });
  });

  test('takes environment variables inside of texts and for numbers, and leaves $${ alone', () => {
    const listen = { port: '${PORT}', replicaName: '${NAME}.a' };
    const config = parseConfig(
      { ...identity({ authorizationParameters: { hint: '$${NAME}' } }), listen },
      env,
    );
    expect(config.listen).toMatchObject({ port: 8443, replicaName: 'replica-1.a' });
    expect(config.providers.identity?.authorizationParameters.hint).toBe('${NAME}');
  });

  test('takes base64 and base64url keys alike', () => {
    const bytes = Buffer.alloc(32, 0xfb);
    for (const encoding of ['base64', 'base64url'] as const) {
      const { keys } = parseConfig(input({ keys: [{ id: 'k', secret: bytes.toString(encoding) }] }), env);
      expect(keys[0]?.secret).toEqual(bytes);
    }
  });

  test('reads secrets from files, without one newline at the end', () => {
    writeFileSync(join(directory, 'secret'), 'canary-file \n\r\n');
    writeFileSync(join(directory, 'key'), `${keySecret}\n`);
    writeFileSync(join(directory, 'header'), 'canary-header\n');
    const config = checkConfig(
      {
        ...upstream({ headers: { 'x-api-key': { file: 'header' } } }),
        keys: [{ id: 'k1', secretFile: 'key' }],
      },
      env,
      directory,
    );
    expect(config).toMatchObject({
      kind: 'valid',
      config: { upstreams: { eln: { headers: { 'x-api-key': 'canary-header' } } } },
    });
    expect(problems(identity({ clientSecret: undefined, clientSecretFile: 'secret' }))).toEqual([
      'providers.identity.clientSecret: (secret, 13 characters); expected printable ASCII on one line',
    ]);
  });

  test('does not ask a provider without discovery and userinfo endpoint about the person', () => {
    const endpoints = {
      authorizationEndpoint: 'https://a.example.com/authorize',
      tokenEndpoint: 'https://a.example.com/token',
      jwksUri: 'https://a.example.com/jwks',
    };
    expect(parseConfig(identity({ discovery: false, ...endpoints }), env).providers.identity?.userinfo).toBe(
      false,
    );
  });

  test.each([
    ['http://localhost:8080', 'memory://'],
    ['http://127.8.9.1', 'redis://127.0.0.1:6379/3'],
    ['http://[::1]:8080', 'redis://[::1]:6379'],
  ])('takes plain %s and %s on loopback', (publicUrl, url) => {
    expect(problems(input({ publicUrl, store: { url } }))).toEqual([]);
  });
});

const http = 'https:// URL (http:// only on 127.0.0.0/8, [::1] or localhost)';
const redis = 'rediss://host:port (redis:// only on 127.0.0.0/8, [::1] or localhost) or memory://';
const anEndpoint = 'https://identity.example.com/x';

// What is wrong, the input, and the line that says so.
const bad: readonly (readonly [string, Input, string])[] = [
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
    input({ store: { urlFil: 'x' } }),
    'store.urlFil: unknown key; expected urlFile, the nearest known key',
  ],
  ['missing key', identity({ clientId: undefined }), 'providers.identity.clientId: missing; expected text'],
  [
    'missing client secret',
    identity({ clientSecret: undefined }),
    'providers.identity.clientSecret: missing; expected clientSecret or clientSecretFile (or clientAuthentication: none)',
  ],
  [
    'missing key secret',
    input({ keys: [{ id: 'k1' }] }),
    'keys[0].secret: missing; expected base64 or base64url of at least 32 bytes',
  ],
  ['no keys', input({ keys: [] }), 'keys: an empty list; expected at least 1'],
  ['no login', input({ login: [] }), 'login: an empty list; expected at least 1'],
  [
    'needless client secret',
    identity({ clientAuthentication: 'none' }),
    'providers.identity.clientSecret: given; expected none, for clientAuthentication is none',
  ],
  [
    'http issuer',
    identity({ issuer: 'http://identity.example.com' }),
    `providers.identity.issuer: "http://identity.example.com"; expected ${http}`,
  ],
  [
    'almost loopback',
    identity({ issuer: 'http://127.0.0.1.example.com' }),
    `providers.identity.issuer: "http://127.0.0.1.example.com"; expected ${http}`,
  ],
  [
    'http publicUrl',
    input({ publicUrl: 'http://apps.example.com' }),
    `publicUrl: "http://apps.example.com"; expected ${http}`,
  ],
  [
    'publicUrl with path',
    input({ publicUrl: 'https://apps.example.com/x' }),
    'publicUrl: "https://apps.example.com/x"; expected origin only, as browsers write it (https://apps.example.com)',
  ],
  [
    'publicUrl with query',
    input({ publicUrl: 'https://apps.example.com?canary-q' }),
    'publicUrl: "https://apps.example.com?…"; expected URL without query',
  ],
  [
    'http upstream',
    upstream({ url: 'http://eln.example.com' }),
    `upstreams.eln.url: "http://eln.example.com"; expected ${http}`,
  ],
  ['http app', input({ app: { url: 'http://10.0.0.1' } }), `app.url: "http://10.0.0.1"; expected ${http}`],
  ['other scheme', input({ app: { url: 'file:///etc' } }), `app.url: "file:///etc"; expected ${http}`],
  ['no URL', input({ app: { url: 'apps' } }), 'app.url: "apps"; expected https:// URL'],
  [
    'credentials in issuer',
    identity({ issuer: 'https://u:canary-p@identity.example.com' }),
    'providers.identity.issuer: (secret, 39 characters); expected URL without user name and password',
  ],
  [
    'credentials in upstream',
    upstream({ url: 'https://canary-u@eln.example.com' }),
    'upstreams.eln.url: (secret, 32 characters); expected URL without user name and password',
  ],
  [
    'plain redis',
    input({ store: { url: 'redis://u:canary-p@sessions.example.com' } }),
    `store.url: redis://(secret, 10 characters)@sessions.example.com; expected ${redis}`,
  ],
  [
    'redis password with a slash',
    input({ store: { url: 'rediss://u:12/canary-p@sessions.example.com' } }),
    'store.url: (secret, 43 characters); expected nothing after the host, or a database number such as /1',
  ],
  [
    'memory store off loopback',
    input({ store: { url: 'memory://' } }),
    'store.url: "memory://"; expected a shared store, for publicUrl is not on loopback',
  ],
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
    'same key id',
    input({ keys: [1, 2].map(() => ({ id: 'k1', secret: keySecret })) }),
    'keys[1].id: "k1"; expected each name only once',
  ],
  [
    'keys as text',
    input({ keys: 'canary-keys' }),
    'keys: text of 11 characters; expected list, each: mapping',
  ],
  [
    'unreadable file',
    identity({ clientSecret: undefined, clientSecretFile: 'nowhere' }),
    `providers.identity.clientSecretFile: "${directory}/nowhere" cannot be read (ENOENT); expected a readable file`,
  ],
  [
    'unreadable header file',
    upstream({ headers: { 'x-api-key': { file: '/dev/null/x' } } }),
    'upstreams.eln.headers.x-api-key.file: "/dev/null/x" cannot be read (ENOTDIR); expected a readable file',
  ],
  [
    'both forms',
    identity({ clientSecretFile: 'x' }),
    'providers.identity.clientSecretFile: given beside clientSecret; expected either clientSecret or clientSecretFile',
  ],
  [
    'missing variable',
    identity({ clientSecret: '${ABSENT}' }),
    'providers.identity.clientSecret: environment variable ABSENT is not set; expected a value in ABSENT',
  ],
  [
    'malformed reference',
    identity({ clientId: '${A:-b}' }),
    'providers.identity.clientId: a malformed reference; expected ${NAME}, or $${ for a plain ${',
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
    'bad size',
    input({ limits: { requestBody: '10MB' } }),
    'limits.requestBody: "10MB"; expected size from 1KiB to 1GiB',
  ],
  ['bad port', input({ listen: { port: 65_536 } }), 'listen.port: 65536; expected integer from 0 to 65535'],
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
    'provider name',
    input({ providers: { Identity: provider() } }),
    'providers.Identity: this name; expected name of lower-case letters, digits and hyphens, a letter first',
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
    'http endpoint',
    identity({ discovery: false, tokenEndpoint: 'http://identity.example.com' }),
    `providers.identity.tokenEndpoint: "http://identity.example.com"; expected ${http}`,
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
    'app claim',
    input({ app: { url: 'https://a.example.com', claims: ['groups'] } }),
    'app.claims[0]: "groups"; expected one of session.claims (name, email)',
  ],
  [
    'public path',
    input({ app: { url: 'https://a.example.com', public: ['/a*b'] } }),
    'app.public[0]: "/a*b"; expected path that begins with /, with * only at its end',
  ],
];

describe('a bad configuration', () => {
  test.each(bad)('%s: names key, value seen and expectation, and no secret', (_, value, line) => {
    expect(problems(value)).toEqual([line]);
  });

  test('tells every problem, and throws config_invalid with the first', () => {
    const value = input({ listen: { port: 'x' }, login: [] });
    expect(problems(value)).toHaveLength(2);
    const thrown = (() => {
      try {
        return parseConfig(value, env);
      } catch (error) {
        return error;
      }
    })();
    expect(CoatcheckError.is(thrown) && thrown.code).toBe('config_invalid');
    expect(thrown).toHaveProperty(
      'message',
      'listen.port: "x"; expected integer from 0 to 65535 (and 1 more)',
    );
  });

  test.each([null, [], 'canary-text', 5])('%j is no configuration', (value) => {
    expect(problems(value)).toHaveLength(1);
  });

  test('S-141 TLS verification cannot be turned off', () => {
    expect(problems(input(), { ...env, NODE_TLS_REJECT_UNAUTHORIZED: '0' })).toEqual([
      'NODE_TLS_REJECT_UNAUTHORIZED: "0"; expected nothing, for TLS verification cannot be turned off',
    ]);
  });

  test('S-073 names with special meaning are refused, and pollute nothing', () => {
    const value: unknown = JSON.parse(
      `{ "__proto__": { "polluted": 1 }, "providers": { "constructor": {}, "__proto__": { "polluted": 1 } } }`,
    );
    const refused = problems({ ...input(), ...Object.fromEntries(Object.entries(Object(value))) });
    expect(refused).toContain('providers.constructor: this name; expected a name without special meaning');
    expect(refused).toContain('providers.__proto__: this name; expected a name without special meaning');
    expect(problems(value)).toContain('__proto__: this name; expected a name without special meaning');
    expect(({} as Input).polluted).toBeUndefined();
  });

  test('S-073 names that nobody configured find nothing', () => {
    const { providers, upstreams } = parseConfig(upstream({ headers: { 'x-a': 'b' } }), env);
    for (const map of [
      providers,
      upstreams,
      upstreams.eln?.headers,
      providers.identity?.authorizationParameters,
    ]) {
      for (const name of ['constructor', '__proto__', 'hasOwnProperty']) expect(map?.[name]).toBeUndefined();
    }
  });
});

describe('a file', () => {
  const inFile = (yaml: string): string[] => {
    const file = join(directory, 'coatcheck.yaml');
    writeFileSync(file, yaml);
    const result = checkConfigFile(file, env);
    return result.kind === 'valid' ? [] : result.problems.map(problemLine);
  };

  test('with a key given twice is refused, naming path and line', () => {
    expect(
      inFile('login: [a]\nproviders:\n  a: { clientSecret: canary-1 }\n  a: { clientSecret: canary-2 }\n'),
    ).toEqual(['providers.a: given again in line 4; expected each key only once']);
  });

  test.each([
    ['an unquoted reference', 'keys: [{ id: k1, secret: ${CLIENT_SECRET} }]', 'line 1: not valid YAML'],
    ['a broken text', 'publicUrl: x\nstore: "canary-\\q"\n', 'line 2: not valid YAML (bad dq escape)'],
    ['an unknown tag', 'publicUrl: !canary-tag x', 'line 1: not valid YAML (tag resolve failed)'],
    ['two documents', 'a: canary-1\n---\nb: canary-2\n', 'line 2: not valid YAML (multiple docs)'],
    [
      'an alias bomb',
      `a: &a [1,1]\n${'bcdefghij'
        .split('')
        .map((name, i) => `${name}: &${name} [${`*${'abcdefghij'[i]},`.repeat(9)}]`)
        .join('\n')}`,
      'too many aliases',
    ],
  ])('with %s is refused without quoting it', (_, yaml, expected) => {
    const lines = inFile(yaml);
    expect(lines[0]).toContain(expected);
    expect(lines.join()).not.toContain('canary');
  });

  test('that cannot be read is named', () => {
    expect(() => readConfig(join(directory, 'absent.yaml'), env)).toThrow(
      /absent\.yaml: cannot be read \(ENOENT\)/,
    );
  });
});

describe('the documented configuration', () => {
  const example = new URL('../docs/coatcheck.yaml', import.meta.url);
  const readExample = (): Config => {
    const place = join(directory, 'example');
    mkdirSync(join(place, 'secrets'), { recursive: true });
    cpSync(example, join(place, 'coatcheck.yaml'));
    for (const name of ['key-1', 'key-2', 'identity-client-secret', 'facade-client-secret']) {
      writeFileSync(join(place, 'secrets', name), `${keySecret}\n`);
    }
    return readConfig(join(place, 'coatcheck.yaml'), {
      HOSTNAME: 'a-1',
      STORE_PASSWORD: 'canary-s',
      NOTEBOOK_CLIENT_SECRET: 'canary-c',
    });
  };

  const keysOf = (value: unknown, path = ''): string[] => {
    if (Array.isArray(value))
      return [
        path,
        ...value.flatMap((element) => (typeof element === 'object' ? keysOf(element, `${path}[]`) : [])),
      ];
    if (typeof value !== 'object' || value === null) return [path];
    if (/\.(headers|authorizationParameters)$/.test(path)) return [path];
    const named = path === 'providers' || path === 'upstreams';
    return [
      path,
      ...Object.entries(value).flatMap(([key, inner]) =>
        keysOf(inner, `${path === '' ? '' : `${path}.`}${named ? '<name>' : key}`),
      ),
    ];
  };

  test('has in its full example every key, and no other', () => {
    const written = keysOf(parse(readFileSync(example, 'utf8'))).map((key) => key.replace(/File$/, ''));
    const known = describeConfig().map(({ key }) => key);
    const members = ['', 'keys[]', 'providers.<name>', 'upstreams.<name>'];
    expect(new Set(written)).toEqual(new Set([...known, ...members]));
  });

  test('has the types that the code declares, and no other', () => {
    const source = readFileSync(new URL('config.ts', import.meta.url), 'utf8');
    const declared = source.split('/** Environment variables. */')[0]?.matchAll(/^ {2}(\w+)\??: /gm) ?? [];
    const suffix = { ms: 'Ms', bytes: 'Bytes' };
    const known = describeConfig().map(
      ({ key, unit }) => `${key.split('.').at(-1)?.replace('keys[]', '')}${unit ? suffix[unit] : ''}`,
    );
    expect(new Set([...declared].map(([, name]) => name))).toEqual(new Set(known));
  });

  test('prints as written, with every secret masked', () => {
    const config = readExample();
    const printed = printable(config);
    expect(JSON.stringify(printed)).not.toContain('canary');
    expect(JSON.stringify(printed)).not.toContain(keySecret);
    expect(printed).toMatchObject({
      store: { url: 'rediss://(secret, 13 characters)@sessions.example.com:6379', deadline: '250ms' },
      keys: [{ id: 'k2', secret: '(secret, 33 bytes)' }, { id: 'k1' }],
      session: { idleTimeout: '1h', absoluteTimeout: '12h' },
      providers: { identity: { clientSecret: '(secret, 44 characters)', timeout: '5s' } },
      upstreams: { eln: { headers: { client_id: '(secret, 4 characters)' } } },
      limits: { requestBody: '10MiB', drainTimeout: '25s' },
    });
  });

  test('has a JSON Schema that takes the example and refuses what is unknown', () => {
    const validate = new Ajv2020.default({ strict: true, strictRequired: false }).compile(jsonSchema());
    const value: unknown = parse(readFileSync(example, 'utf8'));
    expect(validate(value), JSON.stringify(validate.errors)).toBe(true);
    expect(validate({ ...Object(value), lisen: {} })).toBe(false);
    expect(validate({ ...Object(value), keys: [{ id: 'k1' }] })).toBe(false);
    expect(validate({ ...Object(value), keys: [{ id: 'k1', secret: 'a', secretFile: 'b' }] })).toBe(false);
  });

  test('has defaults that the schema itself accepts', () => {
    const defaults = describeConfig().filter((row) => row.default !== undefined);
    expect(defaults.length).toBeGreaterThan(20);
    const config = printable(
      parseConfig(input({ app: { url: 'https://a.example.com' }, ...Object(upstream({})) }), env),
    );
    for (const row of defaults) {
      const path = row.key
        .replace('providers.<name>', 'providers.identity')
        .replace('upstreams.<name>', 'upstreams.eln');
      const value = path.split('.').reduce<unknown>((at, step) => Object(at)[step], config);
      if (row.key === 'upstreams') continue;
      expect([row.key, typeof value === 'string' ? value : JSON.stringify(value)]).toEqual([
        row.key,
        row.default,
      ]);
    }
  });
});
