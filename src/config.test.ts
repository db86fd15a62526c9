// biome-ignore-all lint/suspicious/noTemplateCurlyInString: such references are what is tested
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { env, type Input, identity, input, keySecret, problems, upstream } from '../test/config-input.ts';
import { type Config, checkConfig, parseConfig } from './config.ts';
import { CoatcheckError } from './errors.ts';

const directory = mkdtempSync(join(tmpdir(), 'coatcheck-config-'));
afterAll(() => rmSync(directory, { recursive: true }));

describe('a valid configuration', () => {
  test('gets its defaults and normalised units', () => {
    expect(parseConfig(input(), env)).toEqual({
      publicUrl: 'https://apps.example.com',
      listen: { host: '0.0.0.0', port: 8080, adminHost: '0.0.0.0', adminPort: 9090 },
      store: {
        cluster: false,
        url: 'rediss://apps:canary-store@sessions.example.com:6379',
        deadlineMs: 250,
        keyPrefix: 'cc:',
        nearCache: { mode: 'tracked', maximumAgeMs: 30_000, maximumEntries: 10_000 },
      },
      outage: { default: { policy: 'fail-closed' }, routes: {} },
      keys: [{ id: 'k1', secret: Buffer.from('canary-key-0123456789-0123456789-') }],
      session: {
        idleTimeoutMs: 3_600_000,
        absoluteTimeoutMs: 43_200_000,
        limit: 0,
        claims: ['name', 'email'],
      },
      providers: {
        identity: {
          issuer: 'https://identity.example.com',
          clientId: 'apps',
          clientSecret: 'canary-client-secret',
          clientAuthentication: 'client_secret_basic',
          scope: 'openid profile email',
          discovery: true,
          pushedAuthorizationRequests: 'if-required',
          idTokenSignedResponseAlg: 'RS256',
          revokeAtLogout: true,
          endSession: 'off',
          backchannelLogout: false,
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
    expect(
      problems(identity({ clientSecret: undefined, clientSecretFile: join(directory, 'secret') })),
    ).toEqual([
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

describe('a bad configuration', () => {
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
