import type { ServerResponse } from 'node:http';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { answerJson, type Json } from '../fake-provider.ts';
import { throughProvider } from '../provider-pages.ts';
import { createDirectory, createSigningKey, startProviderStage, writePem } from './provider-stage.ts';
import { attempt, begin, newBrowser, outcome, type Stage, signedIn, startStage } from './stage.ts';

afterEach(() => vi.useRealTimers());

const always = (): Json => ({ pushedAuthorizationRequests: 'always' });
const ifOffered = (): Json => ({ pushedAuthorizationRequests: 'if-offered' });

async function outcomeOf(stage: Stage): Promise<unknown[]> {
  const browser = newBrowser();
  return outcome(browser, stage, await attempt(browser, stage));
}

/** How often requests were pushed, and which parameters the browser carried to the provider. */
function seen({ first }: Stage): unknown[] {
  const front = first.requests.findLast(({ endpoint }) => endpoint === 'authorization');
  return [first.count('pushed'), [...(front?.parameters.keys() ?? [])].sort().join(' ')];
}

const referred = 'client_id request_uri';
const plain = 'client_id code_challenge code_challenge_method nonce redirect_uri response_type scope state';

describe('S-129 requests are pushed, and only their address passes through the browser', () => {
  test.each<[string, () => Json, Json, unknown[]]>([
    ['by default only where it is required: offered', () => ({}), {}, [0, plain]],
    ['by default: required', () => ({}), { require_pushed_authorization_requests: true }, [1, referred]],
    ['if offered: offered', ifOffered, {}, [1, referred]],
    ['if offered: not offered', ifOffered, { pushed_authorization_request_endpoint: undefined }, [0, plain]],
    ['always', always, {}, [1, referred]],
  ])('%s', async (...[, provider, metadata, expected]) => {
    const stage = await startStage({ provider });
    stage.first.behaviour = { metadata };
    expect(await outcomeOf(stage)).toEqual(signedIn);
    expect(seen(stage)).toEqual(expected);
  });

  test('what is pushed is the whole request, proven by the client, and no reference to another', async () => {
    const extra = { audience: 'https://systems.example.com' };
    const stage = await startStage({
      provider: () => ({ ...always(), authorizationParameters: extra, maxAge: '5m', acrValues: ['a', 'b'] }),
    });
    stage.first.behaviour = { claims: { auth_time: Math.floor(Date.now() / 1000), acr: 'b' } };
    expect(await outcomeOf(stage)).toEqual(signedIn);
    const pushed = stage.first.requests.find(({ endpoint }) => endpoint === 'pushed');
    expect([pushed?.method, pushed?.target]).toEqual(['POST', '/pushed']);
    expect(pushed?.headers.authorization).toMatch(/^Basic /);
    expect(Object.fromEntries(pushed?.parameters ?? [])).toEqual({
      ...extra,
      client_id: 'apps',
      response_type: 'code',
      redirect_uri: `${stage.publicUrl}/auth/callback/first`,
      scope: 'openid profile email',
      state: expect.stringMatching(/^[\w-]{43}$/),
      nonce: expect.stringMatching(/^[\w-]{43}$/),
      code_challenge: expect.stringMatching(/^[\w-]{43}$/),
      code_challenge_method: 'S256',
      max_age: '300',
      acr_values: 'a b',
    });
  });

  test('at a provider that requires it: each address works once, for a minute, and a new sign-in gets a new one', async () => {
    const { privateKey, jwk } = createSigningKey('ES256');
    const { publicUrl, provider, requests } = await startProviderStage({
      client: { authentication: 'private_key_jwt', keys: [jwk] },
      provider: { pushedRequests: 'required' },
      config: {
        clientAuthentication: 'private_key_jwt',
        clientKeyFile: writePem(createDirectory(), privateKey),
        clientKeyAlgorithm: 'ES256',
      },
    });
    const person = newBrowser();
    const start = async (): Promise<string> =>
      (await person.get(`${publicUrl}/auth/login?return_to=/auth/session`)).headers.location ?? '';

    const refusalAt = async (url: string): Promise<unknown> =>
      new URL((await newBrowser().get(url)).headers.location ?? '').searchParams.get('error');

    const address = await start();
    expect([...new URL(address).searchParams.keys()].sort().join(' ')).toBe(referred);
    const callback = await throughProvider(person, address);
    expect((await person.get(callback.href)).status).toBe(303);
    expect((await person.get(`${publicUrl}/auth/session`)).status).toBe(200);
    expect(await refusalAt(address)).toBe('invalid_request_uri');

    vi.useFakeTimers({ toFake: ['Date'] });
    const late = await start();
    vi.setSystemTime(Date.now() + 61_000);
    expect(await refusalAt(late)).toBe('invalid_request_uri');
    const fresh = await start();
    expect(new Set([address, late, fresh]).size).toBe(3);
    expect((await person.get((await throughProvider(person, fresh)).href)).status).toBe(303);
    expect(requests.filter((request) => request === 'POST http /request')).toHaveLength(3);

    const bare = `${provider.authorizationEndpoint}?client_id=apps&response_type=code&scope=openid`;
    expect(await refusalAt(bare)).toBe('invalid_request');
  });
});

describe('S-130 where a request must be pushed there is no way around it', () => {
  const json = (status: number, body: unknown) => (response: ServerResponse) =>
    answerJson(response, body, status);
  const uri = 'urn:ietf:params:oauth:request_uri:x';
  const answers: Record<string, [(response: ServerResponse) => void, number, string]> = {
    'a server error': [json(500, {}), 503, 'provider_unavailable'],
    'too many requests': [json(429, {}), 503, 'provider_unavailable'],
    'no answer': [(response) => void response.destroy(), 503, 'provider_unavailable'],
    'an answer that never ends': [
      (response) => void response.writeHead(201).write('{'),
      503,
      'provider_unavailable',
    ],
    'a refusal': [json(400, { error: 'invalid_request' }), 502, 'provider_answer_invalid'],
    'a refused client': [json(401, { error: 'invalid_client' }), 502, 'provider_answer_invalid'],
    'nothing there': [json(404, {}), 502, 'provider_answer_invalid'],
    'a status other than 201': [
      json(200, { request_uri: uri, expires_in: 60 }),
      502,
      'provider_answer_invalid',
    ],
    'no address': [json(201, { expires_in: 60 }), 502, 'provider_answer_invalid'],
    'an address without end': [json(201, { request_uri: uri }), 502, 'provider_answer_invalid'],
    'an end that is no number': [
      json(201, { request_uri: uri, expires_in: {} }),
      502,
      'provider_answer_invalid',
    ],
    'no JSON': [(response) => void response.writeHead(201).end('<html>'), 502, 'provider_answer_invalid'],
    'another place': [
      (response) => void response.writeHead(302, { location: '/elsewhere' }).end(),
      502,
      'provider_answer_invalid',
    ],
  };
  describe.each([
    ['by the provider', () => ({}), { require_pushed_authorization_requests: true }],
    [
      'by a provider that does not know what a truth value is',
      () => ({}),
      { require_pushed_authorization_requests: 'yes' },
    ],
    ['by us', always, {}],
  ] as const)('%s', (...[, provider, metadata]) => {
    test.each(Object.entries(answers))('%s', async (_what, [answer, status, code]) => {
      const stage = await startStage({ provider });
      stage.first.behaviour = { metadata, answer: { pushed: answer } };
      expect(await outcomeOf(stage)).toEqual([status, code, 'nobody']);
      expect(stage.first.count('elsewhere')).toBe(0);
      stage.first.behaviour = { metadata };
      expect(await outcomeOf(stage)).toEqual(signedIn);
    });

    test.each([undefined, 'http://provider.example.com/pushed', 7])(
      'at the endpoint %s',
      async (endpoint) => {
        const stage = await startStage({ provider });
        const changed = { ...metadata, pushed_authorization_request_endpoint: endpoint };
        stage.first.behaviour = { metadata: changed };
        expect(await outcomeOf(stage)).toEqual([502, 'provider_answer_invalid', 'nobody']);
      },
    );
  });

  test('also if it is only offered, a failure is no reason to write the request into an address', async () => {
    const stage = await startStage({ provider: ifOffered });
    stage.first.behaviour = { answer: { pushed: json(500, {}) } };
    expect(await outcomeOf(stage)).toEqual([503, 'provider_unavailable', 'nobody']);
  });

  test('without discovery too', async () => {
    const stage = await startStage({
      provider: ({ issuer }) => ({
        discovery: false,
        authorizationEndpoint: `${issuer}/authorization`,
        tokenEndpoint: `${issuer}/token`,
        jwksUri: `${issuer}/jwks`,
        userinfoEndpoint: `${issuer}/userinfo`,
        pushedAuthorizationRequestEndpoint: `${issuer}/pushed`,
        pushedAuthorizationRequests: 'always',
      }),
    });
    expect((await begin(newBrowser(), stage)).searchParams.get('request_uri')).toMatch(/^urn:/);
    expect(stage.first.count('discovery')).toBe(0);
  });
});
