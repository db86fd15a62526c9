import { exportJWK, generateKeyPair, SignJWT } from 'jose';
import { afterEach, describe, expect, test, vi } from 'vitest';
import type { FakeProvider, Json } from '../fake-provider.ts';
import { throughProvider } from '../provider-pages.ts';
import { startProviderStage } from './provider-stage.ts';
import { attempt, authorize, begin, newBrowser, outcome, type Stage, signedIn, startStage } from './stage.ts';

afterEach(() => vi.useRealTimers());

const refused = [502, 'provider_answer_invalid', 'nobody'];

async function outcomeOf(stage: Stage): Promise<unknown[]> {
  const browser = newBrowser();
  return outcome(browser, stage, await attempt(browser, stage));
}

/** A new key of a provider: its public part, and ID tokens that it signs. */
async function newKey(kid: string): Promise<{ jwk: Json; sign: (claims: Json) => Promise<string> }> {
  const { publicKey, privateKey } = await generateKeyPair('RS256', { extractable: true });
  return {
    jwk: { ...(await exportJWK(publicKey)), kid, alg: 'RS256', use: 'sig' },
    sign: (claims) => new SignJWT(claims).setProtectedHeader({ alg: 'RS256', kid }).sign(privateKey),
  };
}

/** The provider signs with this key only, from now on. */
async function rotate(provider: FakeProvider, kid: string): Promise<void> {
  const { jwk, sign } = await newKey(kid);
  provider.behaviour = { jwks: { keys: [jwk] }, idToken: sign };
}

describe('S-027 a provider that rotates its keys is understood at once', () => {
  test('before the first login, between two logins, and between redirect and callback', async () => {
    const stage = await startStage();
    await rotate(stage.first, 'second');
    expect(await outcomeOf(stage)).toEqual(signedIn);
    await rotate(stage.first, 'third');
    expect(await outcomeOf(stage)).toEqual(signedIn);
    const browser = newBrowser();
    const callback = await authorize(await begin(browser, stage));
    await rotate(stage.first, 'fourth');
    expect((await browser.get(callback.href)).status).toBe(303);
    expect(stage.first.count('jwks')).toBe(3);
  });

  test('with a key that has been announced, nothing is asked for again', async () => {
    const stage = await startStage();
    const [one, two] = [await newKey('one'), await newKey('two')];
    const jwks = { keys: [one.jwk, two.jwk] };
    for (const { sign } of [one, two, one]) {
      stage.first.behaviour = { jwks, idToken: sign };
      expect(await outcomeOf(stage)).toEqual(signedIn);
    }
    expect(stage.first.count('jwks')).toBe(1);
  });

  test('a real one too', async () => {
    const { publicUrl, provider, requests } = await startProviderStage({
      client: { clientSecret: 'secret' },
      config: { clientSecret: 'secret' },
    });
    const person = newBrowser();
    const signIn = async (meanwhile = async () => undefined as unknown): Promise<number> => {
      const started = await person.get(`${publicUrl}/auth/login?return_to=/auth/session`);
      const callback = await throughProvider(person, started.headers.location ?? '');
      await meanwhile();
      return (await person.get(callback.href)).status;
    };
    expect(await signIn()).toBe(303);
    await provider.rotateKeys();
    expect(await signIn()).toBe(303);
    expect(await signIn(() => provider.rotateKeys())).toBe(303);
    expect(requests.filter((request) => request.endsWith('/jwks'))).toHaveLength(3);
  });
});

describe('S-028 whoever makes up key ids cannot have us flood the provider', () => {
  test('forty ID tokens with unknown key ids cost three downloads, and a minute later three again', async () => {
    const stage = await startStage();
    let made = 0;
    stage.first.behaviour = { idToken: (claims) => stage.first.sign(claims, { kid: `k${made++}` }) };
    for (let count = 0; count < 40; count += 1) expect(await outcomeOf(stage)).toEqual(refused);
    expect(stage.first.count('jwks')).toBe(3);
    stage.first.behaviour = {};
    expect(await outcomeOf(stage)).toEqual(signedIn);
    expect(stage.first.count('jwks')).toBe(3);

    await rotate(stage.first, 'second');
    expect(await outcomeOf(stage)).toEqual(refused);
    vi.useFakeTimers({ toFake: ['Date'] });
    vi.setSystemTime(Date.now() + 61_000);
    expect(await outcomeOf(stage)).toEqual(signedIn);
    expect(stage.first.count('jwks')).toBe(4);
  });

  test('many first logins at once cost three downloads at most', async () => {
    const stage = await startStage();
    const outcomes = await Promise.all(Array.from({ length: 30 }, () => outcomeOf(stage)));
    expect(outcomes).toEqual(Array(30).fill(signedIn));
    expect(stage.first.count('jwks')).toBeLessThanOrEqual(3);
  });

  test('a key that the provider has taken back is worth nothing: at the next download, or after five minutes', async () => {
    const stage = await startStage();
    const [old, next] = [await newKey('old'), await newKey('next')];
    stage.first.behaviour = { jwks: { keys: [old.jwk] }, idToken: old.sign };
    expect(await outcomeOf(stage)).toEqual(signedIn);
    stage.first.behaviour = { jwks: { keys: [next.jwk] }, idToken: next.sign };
    expect(await outcomeOf(stage)).toEqual(signedIn);
    stage.first.behaviour = { jwks: { keys: [next.jwk] }, idToken: old.sign };
    expect(await outcomeOf(stage)).toEqual(refused);

    stage.first.behaviour = { jwks: { keys: [old.jwk] }, idToken: next.sign };
    vi.useFakeTimers({ toFake: ['Date'] });
    vi.setSystemTime(Date.now() + 301_000);
    expect(await outcomeOf(stage)).toEqual(refused);
  });

  test.each<[string, NonNullable<FakeProvider['behaviour']['answer']>['jwks'] & object]>([
    ['a server error', (response) => void response.writeHead(500).end()],
    [
      'a page',
      (response) => void response.writeHead(200, { 'content-type': 'text/html' }).end('{"keys":[]}'),
    ],
    ['no JSON', (response) => void response.writeHead(200, { 'content-type': 'application/json' }).end('{')],
    ['no keys', (response) => void response.writeHead(200, { 'content-type': 'application/json' }).end('{}')],
  ])('%s is not kept: the next login asks again', async (_what, answer) => {
    const stage = await startStage();
    for (let count = 0; count < 5; count += 1) {
      stage.first.behaviour = { answer: { jwks: answer } };
      expect((await outcomeOf(stage))[2]).toBe('nobody');
    }
    stage.first.behaviour = {};
    expect(await outcomeOf(stage)).toEqual(signedIn);
    expect(stage.first.count('jwks')).toBe(6);
  });
});

test('S-027 without a key id the only key is taken, and of several none', async () => {
  const stage = await startStage();
  const [one, two] = [await newKey('one'), await newKey('two')];
  const withoutId = (claims: Json): Promise<string> => stage.first.sign(claims, { kid: undefined as never });
  stage.first.behaviour = { idToken: withoutId };
  expect(await outcomeOf(stage)).toEqual(signedIn);
  stage.first.behaviour = { jwks: { keys: [one.jwk, two.jwk] }, idToken: withoutId };
  vi.useFakeTimers({ toFake: ['Date'] });
  vi.setSystemTime(Date.now() + 301_000);
  expect(await outcomeOf(stage)).toEqual(refused);
});
