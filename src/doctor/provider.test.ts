import { exportJWK, generateKeyPair } from 'jose';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { createAuthority } from '../../test/certificates.ts';
import { type FakeProvider, type Json, startFakeProvider } from '../../test/fake-provider.ts';
import { diagnose, plainInput } from '../../test/findings.ts';
import type { Finding } from '../doctor.ts';

let provider: FakeProvider;
beforeAll(async () => {
  provider = await startFakeProvider();
});
afterEach(() => {
  provider.behaviour = {};
});
afterAll(() => provider.close());

/** What the doctor says of the provider, by the last part of the check's name. */
const examined = async (changes: Json = {}): Promise<Record<string, Finding>> => {
  const findings = await diagnose(plainInput({ providers: { identity: provider.config(changes) } }));
  const before = 'providers.identity.';
  return Object.fromEntries(
    Object.entries(findings)
      .filter(([check]) => check.startsWith(before))
      .map(([check, finding]) => [check.slice(before.length), finding]),
  );
};

const levels = (findings: Record<string, Finding>): Record<string, string> =>
  Object.fromEntries(Object.entries(findings).map(([check, { level }]) => [check, level]));

const withoutDiscovery = (): Json => ({
  discovery: false,
  authorizationEndpoint: `${provider.issuer}/authorization`,
  tokenEndpoint: `${provider.issuer}/token`,
  jwksUri: `${provider.issuer}/jwks`,
});

describe('an honest provider', () => {
  test('is fine in all, and its redirect URI is printed', async () => {
    const findings = await examined();
    expect(levels(findings)).toEqual({
      discovery: 'fine',
      issuer: 'fine',
      endpoints: 'fine',
      tokenEndpoint: 'fine',
      keys: 'fine',
      pkce: 'fine',
      clientAuthentication: 'fine',
      pushedRequests: 'fine',
      redirectUri: 'fine',
    });
    expect(findings.redirectUri?.says).toContain('http://localhost:8080/auth/callback/identity');
  });

  test('is fine without discovery too, as far as can be seen', async () => {
    expect(levels(await examined(withoutDiscovery()))).toEqual({
      discovery: 'fine',
      endpoints: 'fine',
      tokenEndpoint: 'fine',
      keys: 'fine',
      redirectUri: 'fine',
    });
  });

  test('is never told our secret', async () => {
    const before = provider.requests.length;
    await examined({ clientSecret: 'canary-client-secret' });
    const requests = provider.requests.slice(before);
    expect(requests.length).toBeGreaterThan(2);
    expect(requests.every(({ headers }) => headers.authorization === undefined)).toBe(true);
    expect(JSON.stringify(requests.map(({ parameters }) => String(parameters)))).not.toContain('canary');
  });
});

describe('how we prove ourselves is looked at', () => {
  const authority = createAuthority();
  afterAll(() => authority.remove());
  const withKey = (clientKeyFile: string, clientKeyAlgorithm: string): Json => ({
    clientSecret: undefined,
    clientAuthentication: 'private_key_jwt',
    clientKeyFile,
    clientKeyAlgorithm,
  });

  test('a key that can sign, and one that cannot', async () => {
    const { keyFile } = authority.issue('DNS:apps.example.com', 1);
    expect((await examined(withKey(keyFile, 'ES256'))).clientKey).toMatchObject({
      level: 'fine',
      says: 'our key can sign with ES256',
    });
    expect((await examined(withKey(keyFile, 'PS256'))).clientKey).toMatchObject({
      level: 'wrong',
      says: 'providers.identity.clientKeyFile holds no key of sufficient strength for PS256',
    });
  });

  test.each([
    [30, 'fine', 'our certificate is valid for another 29 days'],
    [3, 'risky', 'our certificate is valid for another 2 days'],
    [0, 'wrong', 'our certificate has expired'],
  ])('a certificate with %s days left', async (days, level, says) => {
    const { certFile, keyFile } = authority.issue('DNS:apps.example.com', days);
    const method = { clientSecret: undefined, clientAuthentication: 'tls_client_auth' };
    const findings = await examined({ ...method, clientCertificateFile: certFile, clientKeyFile: keyFile });
    expect(findings.clientKey).toMatchObject({ level, says });
  });

  test('whether requests are pushed as the provider and we want it', async () => {
    const required = { require_pushed_authorization_requests: true };
    expect((await examined()).pushedRequests?.do).toContain('set pushedAuthorizationRequests');
    const always = { pushedAuthorizationRequests: 'always' };
    expect((await examined(always)).pushedRequests).toMatchObject({ level: 'fine' });
    provider.behaviour.metadata = required;
    expect((await examined()).pushedRequests).toMatchObject({ level: 'fine' });
    provider.behaviour.metadata = { pushed_authorization_request_endpoint: undefined };
    expect((await examined(always)).pushedRequests).toMatchObject({ level: 'wrong' });
    expect(await examined()).not.toHaveProperty('pushedRequests');
    provider.behaviour.metadata = { ...required, pushed_authorization_request_endpoint: undefined };
    expect((await examined()).pushedRequests).toMatchObject({ level: 'wrong' });
  });
});

describe('what breaks a sign-in is found before anybody tries', () => {
  test('another issuer than the configured one, if only by a slash', async () => {
    provider.behaviour.metadata = { issuer: `${provider.issuer}/` };
    expect((await examined()).issuer).toMatchObject({
      level: 'wrong',
      says: expect.stringContaining(
        `calls itself "${provider.issuer}/", but configured is "${provider.issuer}"`,
      ),
    });
  });

  test('an issuer cannot write to the terminal', async () => {
    provider.behaviour.metadata = { issuer: 'https://x\u001b[2J\u009b' };
    expect((await examined()).issuer?.says).toContain('"https://x?[2J?"');
  });

  test('no key for the configured algorithm', async () => {
    const findings = await examined({ idTokenSignedResponseAlg: 'ES256' });
    expect(findings.keys).toMatchObject({
      level: 'wrong',
      says: 'the key set has no key for ES256',
      do: expect.stringContaining('it announces "RS256 ES256 HS256 none"'),
    });
  });

  test('an algorithm that the provider does not announce', async () => {
    expect((await examined({ idTokenSignedResponseAlg: 'PS256' })).keys).toMatchObject({
      level: 'wrong',
      says: 'the provider does not sign ID tokens with PS256',
    });
  });

  test.each([
    ['empty', { keys: [] }],
    ['for encryption', { keys: [{ kty: 'RSA', use: 'enc', alg: 'RSA-OAEP', n: 'AQAB', e: 'AQAB' }] }],
    ['no key set', { error: 'x' }],
    ['no object', 'x'],
  ])('a key set that is %s', async (_, jwks) => {
    provider.behaviour.jwks = jwks;
    expect((await examined()).keys).toMatchObject({ level: 'wrong' });
  });

  test('two keys for the algorithm, as during a rotation, are fine', async () => {
    const { publicKey } = await generateKeyPair('RS256', { extractable: true });
    const keys = [await exportJWK(provider.publicKey), await exportJWK(publicKey)];
    provider.behaviour.jwks = { keys: keys.map((key, index) => ({ ...key, kid: `${index}` })) };
    expect((await examined()).keys).toMatchObject({ level: 'fine' });
  });

  test('PKCE that is not announced, and a way to prove the client that is not taken', async () => {
    provider.behaviour.metadata = {
      code_challenge_methods_supported: ['plain'],
      token_endpoint_auth_methods_supported: ['private_key_jwt'],
    };
    expect(await examined()).toMatchObject({
      pkce: { level: 'risky' },
      clientAuthentication: { level: 'risky', says: expect.stringContaining('"private_key_jwt"') },
    });
  });

  test('endpoints that are missing, or in the clear', async () => {
    provider.behaviour.metadata = { token_endpoint: undefined };
    expect((await examined()).endpoints).toMatchObject({ level: 'wrong', says: 'token_endpoint missing' });
    provider.behaviour.metadata = { jwks_uri: 'http://keys.example.com/' };
    const findings = await examined();
    expect(findings.endpoints).toMatchObject({ level: 'wrong', says: 'jwks_uri not https' });
    expect(findings).not.toHaveProperty('keys');
  });

  test('a token endpoint at the wrong path', async () => {
    const tokenEndpoint = `${provider.issuer}/tokens`;
    expect((await examined({ ...withoutDiscovery(), tokenEndpoint })).tokenEndpoint).toMatchObject({
      level: 'wrong',
      says: expect.stringContaining('404'),
    });
  });

  test.each([
    { status: 404, body: '{}', says: 'answers 404' },
    { status: 503, body: '', says: 'answered 503' },
    { status: 200, body: '<html>canary', says: 'what is no JSON' },
    { status: 200, body: '"canary"', says: 'no JSON object' },
  ])('metadata that are none: $status $body', async ({ status, body, says }) => {
    provider.behaviour.answer = { discovery: (response) => response.writeHead(status).end(body) };
    const findings = await examined();
    expect(levels(findings)).toEqual({ discovery: 'wrong', redirectUri: 'fine' });
    expect(findings.discovery).toMatchObject({
      says: expect.stringContaining(says),
      do: expect.stringContaining('/.well-known/openid-configuration'),
    });
    expect(JSON.stringify(findings)).not.toContain('canary');
  });

  test('a provider that hangs costs no more than its timeout', async () => {
    provider.behaviour.answer = { discovery: () => undefined };
    const startMs = performance.now();
    expect((await examined({ timeout: '100ms' })).discovery).toMatchObject({ level: 'wrong' });
    expect(performance.now() - startMs).toBeLessThan(2000);
  });

  test('nobody there', async () => {
    const findings = await diagnose(plainInput());
    expect(findings['providers.identity.discovery']).toMatchObject({
      level: 'wrong',
      says: expect.stringContaining('cannot be reached'),
    });
  });
});
