import { describe, expect, test } from 'vitest';
import type { FakeProvider, Json } from '../fake-provider.ts';
import { attempt, newBrowser, outcome, type Stage, signedIn, startStage } from './stage.ts';

async function outcomeOf(stage: Stage): Promise<unknown[]> {
  const browser = newBrowser();
  return outcome(browser, stage, await attempt(browser, stage));
}

const invalid = [502, 'provider_answer_invalid', 'nobody'];

/** Endpoints in the configuration instead of discovery. */
function endpointsOf({ issuer }: FakeProvider): Json {
  return {
    discovery: false,
    authorizationEndpoint: `${issuer}/authorization`,
    tokenEndpoint: `${issuer}/token`,
    userinfoEndpoint: `${issuer}/userinfo`,
  };
}

describe('S-037 exactly one client authentication method is used', () => {
  const basic = `Basic ${Buffer.from('apps:fake+secret%3A+100%25+%26+more').toString('base64')}`;
  const secret = 'fake secret: 100% & more';
  test.each<[Json, string | undefined, string | null]>([
    [{}, basic, null],
    [{ clientAuthentication: 'client_secret_basic' }, basic, null],
    [{ clientAuthentication: 'client_secret_post' }, undefined, secret],
    [{ clientAuthentication: 'none', clientSecret: undefined }, undefined, null],
  ])('%j', async (config, header, parameter) => {
    const stage = await startStage({ provider: () => config });
    expect(await outcomeOf(stage)).toEqual(signedIn);
    const request = stage.first.requests.find(({ endpoint }) => endpoint === 'token');
    expect(request?.headers.authorization).toBe(header);
    expect(request?.parameters.get('client_secret')).toBe(parameter);
    expect(request?.parameters.has('client_assertion')).toBe(false);
    expect(request?.parameters.get('code_verifier')).toMatch(/^[\w-]{43}$/);
    expect(request?.parameters.get('redirect_uri')).toBe(`${stage.publicUrl}/auth/callback/first`);
  });
});

test('S-038 the only grant is the code, and no secret or token stands in an address', async () => {
  const stage = await startStage();
  expect(await outcomeOf(stage)).toEqual(signedIn);
  for (const { endpoint, method, target, parameters } of stage.first.requests) {
    if (endpoint === 'authorization') expect(parameters.get('response_type')).toBe('code');
    else expect(target).not.toContain('?');
    if (endpoint === 'token')
      expect([method, parameters.get('grant_type')]).toEqual(['POST', 'authorization_code']);
    expect(target).not.toMatch(/access-|secret|code_verifier/);
  }
});

describe('userinfo', () => {
  test('is asked once where it is on, and its claims go before those of the ID token', async () => {
    const stage = await startStage();
    stage.first.behaviour = { userinfo: { name: 'Ada Lovelace' } };
    const browser = newBrowser();
    await attempt(browser, stage);
    expect(stage.first.count('userinfo')).toBe(1);
    const session = await browser.get(`${stage.publicUrl}/auth/session`);
    expect(session.json()).toMatchObject({ user: { claims: { name: 'Ada Lovelace' } } });
  });

  test('is not asked where it is off', async () => {
    const stage = await startStage({ provider: () => ({ userinfo: false }) });
    expect(await outcomeOf(stage)).toEqual(signedIn);
    expect(stage.first.count('userinfo')).toBe(0);
  });

  test('is not asked where the provider has none', async () => {
    const stage = await startStage();
    stage.first.behaviour = { metadata: { userinfo_endpoint: undefined } };
    expect(await outcomeOf(stage)).toEqual(signedIn);
    expect(stage.first.count('userinfo')).toBe(0);
  });
});

test('a provider without discovery is asked for no metadata, and its ID tokens are checked all the same', async () => {
  const stage = await startStage({
    provider: (first) => ({ ...endpointsOf(first), jwksUri: `${first.issuer}/jwks` }),
  });
  expect(await outcomeOf(stage)).toEqual(signedIn);
  expect([stage.first.count('discovery'), stage.first.count('jwks')]).toEqual([0, 1]);
  stage.first.behaviour = { claims: { nonce: 'other' } };
  expect(await outcomeOf(stage)).toEqual(invalid);
  stage.first.behaviour = { idToken: (claims) => stage.second.sign(claims, { kid: 'unknown' }) };
  expect(await outcomeOf(stage)).toEqual(invalid);
});

describe('a plain OAuth provider, whose scope has no openid', () => {
  const plain = (first: FakeProvider): Json => ({ ...endpointsOf(first), scope: 'read write' });

  test('its userinfo says who the person is; neither nonce nor key set are asked for', async () => {
    const stage = await startStage({ provider: plain });
    const browser = newBrowser();
    expect(await outcome(browser, stage, await attempt(browser, stage))).toEqual(signedIn);
    const session = await browser.get(`${stage.publicUrl}/auth/session`);
    expect(session.json()).toMatchObject({ user: { issuer: stage.first.issuer, subject: 'ada' } });
    const asked = stage.first.requests.find(({ endpoint }) => endpoint === 'authorization')?.parameters;
    expect([asked?.get('scope'), asked?.get('nonce')]).toEqual(['read write', null]);
    expect(asked?.get('code_challenge_method')).toBe('S256');
    expect(stage.first.count('jwks')).toBe(0);
  });

  test.each([undefined, '', 7])('userinfo with the subject %s names nobody', async (sub) => {
    const stage = await startStage({ provider: plain });
    stage.first.behaviour = { userinfo: { sub } };
    expect(await outcomeOf(stage)).toEqual(invalid);
  });

  test('without userinfo nobody is named', async () => {
    const stage = await startStage({
      provider: (first) => ({ ...plain(first), userinfo: false, userinfoEndpoint: undefined }),
    });
    expect(await outcomeOf(stage)).toEqual(invalid);
  });

  test('as a later provider it must name the same person', async () => {
    const stage = await startStage({ both: true });
    expect(await outcomeOf(stage)).toEqual(signedIn);
    stage.second.person = { sub: 'bob', email: 'bob@example.com' };
    expect(await outcomeOf(stage)).toEqual([403, 'login_person_mismatch', 'nobody']);
  });
});
