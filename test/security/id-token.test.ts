import { createHmac } from 'node:crypto';
import { exportJWK, exportSPKI, generateKeyPair, SignJWT } from 'jose';
import { describe, expect, test } from 'vitest';
import type { FakeProvider, Json } from '../fake-provider.ts';
import { attempt, newBrowser, outcome, type Stage, signedIn, startStage } from './stage.ts';

const refused = [502, 'provider_answer_invalid', 'nobody'];

async function outcomeOf(stage: Stage): Promise<unknown[]> {
  const browser = newBrowser();
  return outcome(browser, stage, await attempt(browser, stage));
}

function seconds(fromNow: number): number {
  return Math.floor(Date.now() / 1000) + fromNow;
}

function encoded(value: unknown): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url');
}

/** Each row is a login whose ID token has these claims; every other one is honest. */
function claimsAreRefused(row: string, cases: Record<string, (provider: FakeProvider) => Json>): void {
  describe(row, () => {
    test.each(Object.entries(cases))('%s', async (_what, claimsOf) => {
      const stage = await startStage();
      stage.first.behaviour = { claims: claimsOf(stage.first) };
      expect(await outcomeOf(stage)).toEqual(refused);
      expect(stage.first.count('userinfo')).toBe(0);
      stage.first.behaviour = {};
      expect(await outcomeOf(stage)).toEqual(signedIn);
    });
  });
}

claimsAreRefused(
  'S-010 an ID token without the nonce of this transaction is refused before anything of it is used',
  {
    'another nonce': () => ({ nonce: 'A'.repeat(43) }),
    'no nonce': () => ({ nonce: undefined }),
    'an empty nonce': () => ({ nonce: '' }),
    'a list': () => ({ nonce: ['A'.repeat(43)] }),
  },
);

claimsAreRefused('S-022 the issuer of an ID token is exactly the configured one', {
  'one more character': ({ issuer }) => ({ iss: `${issuer}1` }),
  'a slash at the end': ({ issuer }) => ({ iss: `${issuer}/` }),
  'another case': ({ issuer }) => ({ iss: issuer.toUpperCase() }),
  none: () => ({ iss: undefined }),
});

claimsAreRefused('S-023 the audience of an ID token is this client and nobody else', {
  'another client': () => ({ aud: 'other' }),
  none: () => ({ aud: undefined }),
  'a second one beside': () => ({ aud: ['apps', 'other'] }),
  'a second one beside, with azp': () => ({ aud: ['apps', 'other'], azp: 'apps' }),
  'an empty list': () => ({ aud: [] }),
  'a number': () => ({ aud: 7 }),
});

test('S-023 a list of one audience is the same as that audience', async () => {
  const stage = await startStage();
  stage.first.behaviour = { claims: { aud: ['apps'] } };
  expect(await outcomeOf(stage)).toEqual(signedIn);
});

claimsAreRefused('S-024 an ID token has lived through neither its end nor an endless life', {
  'ended five minutes ago': () => ({ exp: seconds(-300) }),
  'ended longer ago than clocks may differ': () => ({ exp: seconds(-31) }),
  'no end': () => ({ exp: undefined }),
  'no beginning': () => ({ iat: undefined }),
  'an end that is no date': () => ({ exp: 1e300 }),
  'an end in words': () => ({ exp: String(seconds(300)) }),
  'not valid before tomorrow': () => ({ nbf: seconds(86_400) }),
});

test('S-024 clocks may differ by seconds', async () => {
  const stage = await startStage();
  stage.first.behaviour = { claims: { exp: seconds(-10), iat: seconds(10) } };
  expect(await outcomeOf(stage)).toEqual(signedIn);
});

describe('S-025 an ID token is signed by the provider, with the configured algorithm', () => {
  const forgeries: Record<string, (provider: FakeProvider, claims: Json) => string | Promise<string>> = {
    'algorithm none': (_provider, claims) => `${encoded({ alg: 'none' })}.${encoded(claims)}.`,
    'algorithm null': (_provider, claims) => `${encoded({ alg: null })}.${encoded(claims)}.`,
    'no algorithm': (_provider, claims) => `${encoded({ kid: 'first' })}.${encoded(claims)}.`,
    'a broken signature': async ({ sign }, claims) => {
      const [header, payload, signature = ''] = (await sign(claims)).split('.');
      const bytes = Buffer.from(signature, 'base64url');
      bytes[7] = (bytes[7] ?? 0) ^ 1;
      return `${header}.${payload}.${bytes.toString('base64url')}`;
    },
    'no signature': async ({ sign }, claims) => (await sign(claims)).replace(/[^.]+$/, ''),
    'claims changed after signing': async ({ sign }, claims) => {
      const [header, , signature] = (await sign(claims)).split('.');
      return `${header}.${encoded({ ...claims, sub: 'root' })}.${signature}`;
    },
    'HS256 with the public key as secret': async ({ publicKey }, claims) => {
      const content = `${encoded({ alg: 'HS256', kid: 'first' })}.${encoded(claims)}`;
      return `${content}.${createHmac('sha256', await exportSPKI(publicKey))
        .update(content)
        .digest('base64url')}`;
    },
    'HS256 with the client secret': (_provider, claims) =>
      new SignJWT(claims).setProtectedHeader({ alg: 'HS256' }).sign(Buffer.from('fake secret: 100% & more')),
    'RS512 where RS256 is expected': (_provider, claims) =>
      `${encoded({ alg: 'RS512', kid: 'first' })}.${encoded(claims)}.AAAA`,
    'a critical extension': ({ sign }, claims) => sign(claims, { crit: ['b64'], b64: true }),
    'not a JWT': () => 'opaque',
    nothing: () => '',
  };
  test.each(Object.entries(forgeries))('%s', async (_what, forge) => {
    const stage = await startStage();
    stage.first.behaviour = { idToken: (claims) => forge(stage.first, claims) };
    expect(await outcomeOf(stage)).toEqual(refused);
    expect(stage.first.count('userinfo')).toBe(0);
  });

  test('ES256 where RS256 is expected, though the key is in the key set', async () => {
    const { publicKey, privateKey } = await generateKeyPair('ES256');
    const stage = await startStage();
    stage.first.behaviour = {
      jwks: { keys: [{ ...(await exportJWK(publicKey)), kid: 'second' }] },
      idToken: (claims) =>
        new SignJWT(claims).setProtectedHeader({ alg: 'ES256', kid: 'second' }).sign(privateKey),
    };
    expect(await outcomeOf(stage)).toEqual(refused);
  });

  test('ES256 where that is configured', async () => {
    const { publicKey, privateKey } = await generateKeyPair('ES256');
    const stage = await startStage({ provider: () => ({ idTokenSignedResponseAlg: 'ES256' }) });
    stage.first.behaviour = {
      jwks: { keys: [{ ...(await exportJWK(publicKey)), kid: 'second' }] },
      idToken: (claims) =>
        new SignJWT(claims).setProtectedHeader({ alg: 'ES256', kid: 'second' }).sign(privateKey),
    };
    expect(await outcomeOf(stage)).toEqual(signedIn);
  });

  test('S-026 a key that an ID token brings along is not believed, nor is its address asked', async () => {
    const { publicKey, privateKey } = await generateKeyPair('RS256', { extractable: true });
    const stage = await startStage();
    const { first, second } = stage;
    const jwk = await exportJWK(publicKey);
    for (const header of [{ jwk }, { jku: `${second.issuer}/jwks` }, { x5u: `${second.issuer}/jwks` }]) {
      first.behaviour = {
        idToken: (claims) =>
          new SignJWT(claims).setProtectedHeader({ alg: 'RS256', ...header }).sign(privateKey),
      };
      expect(await outcomeOf(stage)).toEqual(refused);
    }
    expect(second.requests).toEqual([]);
  });
});

describe('S-030 userinfo speaks of the person whom the ID token names', () => {
  test.each<[string, Json]>([
    ['another subject', { sub: 'adainvalid' }],
    ['no subject', { sub: undefined }],
    ['a subject that is a list', { sub: ['ada'] }],
  ])('%s', async (_what, userinfo) => {
    const stage = await startStage();
    stage.first.behaviour = { userinfo };
    expect(await outcomeOf(stage)).toEqual(refused);
    expect(stage.first.count('userinfo')).toBe(1);
  });
});

describe('S-032 a token of another kind is no ID token', () => {
  const kinds: Record<string, Json> = {
    'an access token (RFC 9068)': { aud: 'https://api.example.com', client_id: 'apps', nonce: undefined },
    'an access token for this client': { nonce: undefined, client_id: 'apps' },
    'a logout token': {
      nonce: undefined,
      events: { 'http://schemas.openid.net/event/backchannel-logout': {} },
    },
  };
  test.each(Object.entries(kinds))('%s', async (_what, claims) => {
    const stage = await startStage();
    stage.first.behaviour = { claims };
    expect(await outcomeOf(stage)).toEqual(refused);
  });

  test('an ID token of another provider or of an opaque kind', async () => {
    const stage = await startStage();
    stage.first.behaviour = {
      idToken: (claims) => stage.first.sign({ ...claims, iss: stage.second.issuer }),
    };
    expect(await outcomeOf(stage)).toEqual(refused);
  });
});

test('a subject that is no string, or empty, is nobody', async () => {
  for (const sub of [undefined, 7, '', ['ada'], null]) {
    const stage = await startStage();
    stage.first.behaviour = { claims: { sub }, userinfo: { sub } };
    expect([sub, ...(await outcomeOf(stage))]).toEqual([sub, ...refused]);
  }
});

test('without an ID token nobody is signed in where openid was asked for', async () => {
  const stage = await startStage();
  stage.first.behaviour = { token: { id_token: undefined } };
  expect(await outcomeOf(stage)).toEqual(refused);
});
