import type { ServerResponse } from 'node:http';
import { gzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { answerJson, type Endpoint, type FakeProvider, type Json } from '../fake-provider.ts';
import { attempt, newBrowser, outcome, type Stage, signedIn, startStage } from './stage.ts';

const invalid = [502, 'provider_answer_invalid', 'nobody'];
const unavailable = [503, 'provider_unavailable', 'nobody'];

async function outcomeOf(stage: Stage): Promise<unknown[]> {
  const browser = newBrowser();
  return outcome(browser, stage, await attempt(browser, stage));
}

/** What the page may know of the first provider's tokens, after a login. */
async function tokensOf(stage: Stage): Promise<{ accessTokenExpiresAt: string; scope: string }> {
  const browser = newBrowser();
  await attempt(browser, stage);
  const session = await browser.get(`${stage.publicUrl}/auth/session`);
  return session.json<{ providers: { first: { accessTokenExpiresAt: string; scope: string } } }>().providers
    .first;
}

const json = { 'content-type': 'application/json' };

function raw(
  body: string | Buffer,
  headers: Record<string, string> = json,
): (response: ServerResponse) => void {
  return (response) => response.writeHead(200, headers).end(body);
}

/** Sends without an end, as fast as it is read or a little at a time. */
function endless(chunk: Buffer, pauseMs: number): (response: ServerResponse) => void {
  return (response) => {
    response.writeHead(200, json);
    const timer = setInterval(() => response.write(chunk), pauseMs);
    response.on('close', () => clearInterval(timer));
  };
}

const faults: Record<string, [(response: ServerResponse) => void, unknown[]]> = {
  'status 500': [(response) => response.writeHead(500).end('{}'), unavailable],
  'status 503 without an end': [(response) => response.writeHead(503, json).write('{'), unavailable],
  'status 429': [(response) => response.writeHead(429, { 'retry-after': '1' }).end(), unavailable],
  'no answer at all': [() => undefined, unavailable],
  'a broken connection': [(response) => response.destroy(), unavailable],
  'a body that drips': [endless(Buffer.from(' '), 50), unavailable],
  'a body without an end': [endless(Buffer.alloc(2 ** 20, ' '), 1), invalid],
  'a body of 50 MB': [raw(Buffer.alloc(50e6, ' ')), invalid],
  'a small body that unpacks to 50 MB': [
    raw(gzipSync(Buffer.alloc(50e6, ' ')), { ...json, 'content-encoding': 'gzip' }),
    invalid,
  ],
  'a web page': [raw('<html></html>', { 'content-type': 'text/html' }), invalid],
  'a web page that calls itself JSON': [raw('<html></html>'), invalid],
  nothing: [raw(''), invalid],
  null: [raw('null'), invalid],
  'a list': [raw('[]'), invalid],
  'an empty object': [raw('{}'), invalid],
  'no content': [(response) => response.writeHead(204).end(), invalid],
  'status 418': [(response) => answerJson(response, {}, 418), invalid],
};

describe.each<Endpoint>(['discovery', 'token', 'jwks', 'userinfo'])('S-035 faults of %s', (endpoint) => {
  test.each(Object.entries(faults))('%s', async (_what, [answer, expected]) => {
    const stage = await startStage({ provider: () => ({ timeout: '300ms' }) });
    stage.first.behaviour = { answer: { [endpoint]: answer } };
    const start = performance.now();
    expect(await outcomeOf(stage)).toEqual(expected);
    expect(performance.now() - start).toBeLessThan(4000);
    stage.first.behaviour = {};
    expect(await outcomeOf(stage)).toEqual(signedIn);
  });
});

test('S-035 a body packed a thousand times over is refused at once', async () => {
  const stage = await startStage();
  const headers = { ...json, 'content-encoding': Array(1000).fill('gzip').join(', ') };
  stage.first.behaviour = { answer: { token: raw(gzipSync('{}'), headers) } };
  const [status, , session] = await outcomeOf(stage);
  expect(status).toBeGreaterThanOrEqual(502);
  expect(session).toBe('nobody');
});

describe('S-036 calls to a provider follow no redirect', () => {
  test.each<Endpoint>(['discovery', 'token', 'jwks', 'userinfo'])('of %s', async (endpoint) => {
    const stage = await startStage();
    const { first, second } = stage;
    for (const status of [301, 302, 303, 307, 308]) {
      const location = `${second.issuer}/${endpoint}`;
      first.behaviour = {
        answer: { [endpoint]: (response: ServerResponse) => response.writeHead(status, { location }).end() },
      };
      expect(await outcomeOf(stage)).toEqual(invalid);
    }
    expect(second.requests).toEqual([]);
  });
});

describe('S-029 the metadata are those of the configured issuer, and complete', () => {
  const cases: Record<string, (provider: FakeProvider) => Json> = {
    'another issuer': ({ issuer }) => ({ issuer: `${issuer}INVALID` }),
    'a slash at the end': ({ issuer }) => ({ issuer: `${issuer}/` }),
    'an issuer that is no URL': () => ({ issuer: 'provider' }),
    'no issuer': () => ({ issuer: undefined }),
    'a plain http token endpoint elsewhere': () => ({ token_endpoint: 'http://provider.example/token' }),
    'a plain http key set elsewhere': () => ({ jwks_uri: 'http://provider.example/jwks' }),
    'a script as authorization endpoint': () => ({ authorization_endpoint: 'javascript:alert(1)' }),
    'a token endpoint that is no URL': () => ({ token_endpoint: '/token' }),
    'a token endpoint that is a number': () => ({ token_endpoint: 7 }),
    'no authorization endpoint': () => ({ authorization_endpoint: undefined }),
    'no token endpoint': () => ({ token_endpoint: undefined }),
    'no key set': () => ({ jwks_uri: undefined }),
  };
  test.each(Object.entries(cases))('%s', async (_what, metadataOf) => {
    const stage = await startStage();
    stage.first.behaviour = { metadata: metadataOf(stage.first) };
    expect(await outcomeOf(stage)).toEqual(invalid);
    expect(stage.first.count('authorization')).toBe(0);
    stage.first.behaviour = {};
    expect(await outcomeOf(stage)).toEqual(signedIn);
  });
});

describe('S-021 a broken key set gives no session', () => {
  test.each<[string, unknown]>([
    ['no keys', { keys: [] }],
    ['keys that are no list', { keys: {} }],
    ['a key that is none', { keys: [null] }],
    ['a key without its numbers', { keys: [{ kty: 'RSA', kid: 'first' }] }],
    ['a key with broken numbers', { keys: [{ kty: 'RSA', kid: 'first', n: '!', e: 'AQAB' }] }],
    ['a key of another kind', { keys: [{ kty: 'oct', kid: 'first', k: 'AAAA' }] }],
  ])('%s', async (_what, jwks) => {
    const stage = await startStage();
    stage.first.behaviour = { jwks };
    expect(await outcomeOf(stage)).toEqual(invalid);
  });
});

describe('S-033 tokens are of the one type that is asked for', () => {
  test.each(['Bearer', 'bearer', 'bEARER'])('%s is taken', async (token_type) => {
    const stage = await startStage();
    stage.first.behaviour = { token: { token_type } };
    expect(await outcomeOf(stage)).toEqual(signedIn);
  });

  test.each([undefined, 'N_A', 'mac', 'DPoP', '', 7, ['Bearer']])('%s is refused', async (token_type) => {
    const stage = await startStage();
    stage.first.behaviour = { token: { token_type } };
    expect(await outcomeOf(stage)).toEqual(invalid);
    expect(stage.first.count('userinfo')).toBe(0);
  });
});

test('an answer whose access token is missing, empty or no string is refused', async () => {
  const stage = await startStage();
  for (const access_token of [undefined, '', 7, null, ['x']]) {
    stage.first.behaviour = { token: { access_token } };
    expect(await outcomeOf(stage)).toEqual(invalid);
  }
});

describe('S-034 no token lives for ever', () => {
  const hourMs = 3_600_000;
  test.each<[unknown, number]>([
    [undefined, 12 * hourMs],
    [1e300, 12 * hourMs],
    [3600, hourMs],
    ['3600', hourMs],
  ])('expires_in %s', async (expires_in, lifetimeMs) => {
    const stage = await startStage();
    stage.first.behaviour = { token: { expires_in, scope: undefined } };
    const startMs = Date.now();
    const { accessTokenExpiresAt, scope } = await tokensOf(stage);
    const livesMs = Date.parse(accessTokenExpiresAt) - startMs;
    expect(livesMs).toBeGreaterThanOrEqual(lifetimeMs);
    expect(livesMs).toBeLessThan(lifetimeMs + 10_000);
    expect(scope).toBe('openid profile email');
  });

  test.each([-1, 'soon', null, 'Infinity'])('expires_in %s is refused', async (expires_in) => {
    const stage = await startStage();
    stage.first.behaviour = { token: { expires_in } };
    expect(await outcomeOf(stage)).toEqual(invalid);
  });
});

test('a provider that refuses the code, the client or the request', async () => {
  const stage = await startStage();
  const refusals: [number, string, unknown[]][] = [
    [400, 'invalid_grant', [400, 'login_callback_invalid', 'nobody']],
    [401, 'invalid_client', invalid],
    [400, '<b>secret</b>', invalid],
  ];
  for (const [status, error, expected] of refusals) {
    stage.first.behaviour = {
      answer: { token: (response) => answerJson(response, { error, error_description: 'leaked' }, status) },
    };
    expect(await outcomeOf(stage)).toEqual(expected);
  }
  expect(stage.logLines.join('')).not.toMatch(/leaked|secret/);
});
