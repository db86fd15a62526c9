import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { jwtVerify } from 'jose';
import { describe, expect, test } from 'vitest';
import { createCoatcheck } from '../../src/coatcheck.ts';
import { parseConfig } from '../../src/config.ts';
import { createAuthority } from '../certificates.ts';
import type { Json } from '../fake-provider.ts';
import { Person } from '../person.ts';
import { createDirectory, createSigningKey, startProviderStage, writePem } from './provider-stage.ts';
import { attempt, newBrowser, outcome, type Stage, signedIn, startStage } from './stage.ts';

async function outcomeOf(stage: Stage): Promise<unknown[]> {
  const browser = newBrowser();
  return outcome(browser, stage, await attempt(browser, stage));
}

/** The configuration of a client that signs assertions. */
function signing(clientKeyFile: string, clientKeyAlgorithm: string, changes: Json = {}): Json {
  const method = { clientSecret: undefined, clientAuthentication: 'private_key_jwt' };
  return { ...method, clientKeyFile, clientKeyAlgorithm, ...changes };
}

describe('S-132 a client proves itself by assertions that it signs with its own key', () => {
  test.each([
    ['PS256', 'PEM'],
    ['ES256', 'JWK'],
    ['ES256', 'PEM'],
    ['EdDSA', 'JWK'],
    ['RS256', 'PEM'],
  ] as const)('%s, as %s', async (alg, form) => {
    const { privateKey, jwk } = createSigningKey(alg);
    const directory = createDirectory();
    const jwkFile = join(directory, 'client-key.json');
    writeFileSync(jwkFile, JSON.stringify({ ...privateKey.export({ format: 'jwk' }), kid: 'apps-1', alg }));
    const stage = await startProviderStage({
      client: { authentication: 'private_key_jwt', keys: [jwk] },
      config: signing(form === 'PEM' ? writePem(directory, privateKey) : jwkFile, alg),
    });
    const person = new Person();
    // A provider that takes each assertion once: the second sign-in needs another.
    for (const _ of [1, 2]) {
      await person.signIn(stage.publicUrl, '/auth/session');
      const session = await person.get(`${stage.publicUrl}/auth/session`);
      expect(session.json()).toMatchObject({ user: { subject: 'ada' } });
    }
  });

  test('each assertion is short-lived, for this provider alone, with an id of its own, and nothing else proves us', async () => {
    const { privateKey, publicKey } = createSigningKey('ES384');
    const file = writePem(createDirectory(), privateKey);
    const changes = { clientKeyId: 'apps-7', pushedAuthorizationRequests: 'always' };
    const stage = await startStage({ provider: () => signing(file, 'ES384', changes) });
    for (const _ of [1, 2]) expect(await outcomeOf(stage)).toEqual(signedIn);
    const proven = stage.first.requests.filter(({ endpoint }) => ['pushed', 'token'].includes(endpoint));
    const ids = new Set<unknown>();
    for (const { parameters, headers } of proven) {
      const { payload, protectedHeader } = await jwtVerify(
        parameters.get('client_assertion') ?? '',
        publicKey,
        { issuer: 'apps', subject: 'apps', audience: stage.first.issuer, algorithms: ['ES384'] },
      );
      expect(payload.aud).toBe(stage.first.issuer);
      expect((payload.exp ?? 0) - (payload.iat ?? 0)).toBeLessThanOrEqual(60);
      expect(protectedHeader.kid).toBe('apps-7');
      expect(headers.authorization).toBeUndefined();
      expect(parameters.has('client_secret')).toBe(false);
      ids.add(payload.jti);
    }
    expect([proven.length, ids.size]).toEqual([4, 4]);
  });

  test('a key that is replaced on disk signs the next assertion; while it is broken, nobody gets in', async () => {
    const [old, next] = [createSigningKey('ES256'), createSigningKey('ES256')];
    const directory = createDirectory();
    const file = writePem(directory, old.privateKey);
    const stage = await startStage({ provider: () => signing(file, 'ES256') });
    expect(await outcomeOf(stage)).toEqual(signedIn);
    writeFileSync(file, 'half a key');
    expect(await outcomeOf(stage)).toEqual([500, 'config_invalid', 'nobody']);
    writePem(directory, next.privateKey);
    expect(await outcomeOf(stage)).toEqual(signedIn);
    const last = stage.first.requests.findLast(({ endpoint }) => endpoint === 'token');
    await jwtVerify(last?.parameters.get('client_assertion') ?? '', next.publicKey);
  });
});

const pem = (key: KeyObject): string => key.export({ type: 'pkcs8', format: 'pem' }).toString();
const strong = createSigningKey('ES256');
const rsa = (modulusLength: number): string => pem(generateKeyPairSync('rsa', { modulusLength }).privateKey);
const ec = (namedCurve: string): string => pem(generateKeyPairSync('ec', { namedCurve }).privateKey);
const jwkWith = (members: Json): string =>
  JSON.stringify({ ...strong.privateKey.export({ format: 'jwk' }), ...members });

/** Starts with such a client; what it is refused with. */
async function refusal(provider: Json): Promise<unknown> {
  const config = parseConfig(
    {
      publicUrl: 'http://localhost:8080',
      store: { url: 'memory://' },
      keys: [{ id: 'k1', secret: Buffer.alloc(32, 7).toString('base64') }],
      providers: { identity: { issuer: 'https://identity.example.com', clientId: 'apps', ...provider } },
      login: ['identity'],
    },
    {},
  );
  const started = await createCoatcheck(config).catch((error: unknown) => error);
  if (started instanceof Error) return Reflect.get(started, 'code') === 'config_invalid' && started.message;
  throw new Error('it has started');
}

describe('S-132 with a key that proves too little nothing starts', () => {
  const weak = 'providers.identity.clientKeyFile holds no key of sufficient strength for';
  const none = 'providers.identity.clientKeyFile holds no private key in PEM or as a JWK, without passphrase';
  const encrypted = strong.privateKey.export({
    type: 'pkcs8',
    format: 'pem',
    cipher: 'aes-256-cbc',
    passphrase: 'canary',
  });
  test.each<[what: string, key: readonly [content: string, alg: string], message: string]>([
    ['RSA of 1024 bits', [rsa(1024), 'PS256'], `${weak} PS256`],
    ['RSA of 2047 bits', [rsa(2047), 'RS256'], `${weak} RS256`],
    ['P-224', [ec('secp224r1'), 'ES256'], `${weak} ES256`],
    ['a curve of no algorithm', [ec('secp256k1'), 'ES256'], `${weak} ES256`],
    ['the curve of another algorithm', [ec('P-384'), 'ES256'], `${weak} ES256`],
    ['another kind of key', [ec('P-256'), 'PS256'], `${weak} PS256`],
    ['Ed448', [pem(generateKeyPairSync('ed448').privateKey), 'EdDSA'], `${weak} EdDSA`],
    ['a JWK for another algorithm', [jwkWith({ alg: 'ES384' }), 'ES256'], `${weak} ES256`],
    ['a public JWK', [JSON.stringify(strong.jwk), 'ES256'], none],
    ['a symmetric JWK', [JSON.stringify({ kty: 'oct', k: 'canary-canary' }), 'ES256'], none],
    ['a passphrase', [String(encrypted), 'ES256'], none],
    ['no key', ['{"canary":', 'ES256'], none],
    ['nothing', ['', 'ES256'], none],
  ])('%s', async (_what, [content, alg], message) => {
    const file = join(createDirectory(), 'key');
    writeFileSync(file, content);
    expect(await refusal(signing(file, alg))).toBe(message);
  });
});

describe('S-132 with a certificate that proves nothing nothing starts', () => {
  const method = { clientAuthentication: 'tls_client_auth' };

  test('one that belongs to another key, or is none', async () => {
    const authority = createAuthority();
    const [one, other] = [1, 2].map(() => authority.issue('DNS:apps.example.com', 1));
    const key = { ...method, clientKeyFile: one?.keyFile };
    expect(await refusal({ ...key, clientCertificateFile: other?.certFile })).toBe(
      'providers.identity.clientCertificateFile does not belong to the key in clientKeyFile',
    );
    expect(await refusal({ ...key, clientCertificateFile: one?.keyFile })).toBe(
      'providers.identity.clientCertificateFile holds no certificate in PEM',
    );
    authority.remove();
  });

  test('a weak key', async () => {
    const file = join(createDirectory(), 'key');
    writeFileSync(file, rsa(1024));
    expect(await refusal({ ...method, clientKeyFile: file, clientCertificateFile: file })).toBe(
      'providers.identity.clientKeyFile holds a key that is too weak',
    );
  });
});
