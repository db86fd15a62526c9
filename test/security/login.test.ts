import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { describe, expect, test } from 'vitest';
import { createMemoryStore } from '../../src/session/memory-store.ts';
import type { Json } from '../fake-provider.ts';
import { Person } from '../person.ts';
import { attempt, authorize, begin, newBrowser, outcome, signedIn, startStage } from './stage.ts';

const sessionCookie = '__Host-coatcheck';
/** The browser's login cookies, as in a Cookie header. */
function loginCookies(browser: Person): string[] {
  const cookies = [...browser.cookies('localhost')].map((pair) => pair.join('='));
  return cookies.filter((cookie) => cookie.startsWith('__Host-coatcheck-login-'));
}

test('S-005 1,000 logins have 1,000 states, nonces and S256 challenges; verifiers are as RFC 7636 wants them', async () => {
  const stage = await startStage();
  const asked: URLSearchParams[] = [];
  for (let batch = 0; batch < 20; batch += 1) {
    const started = Array.from({ length: 50 }, () => begin(newBrowser(), stage));
    asked.push(...(await Promise.all(started)).map((url) => url.searchParams));
  }
  for (const name of ['state', 'nonce', 'code_challenge']) {
    const values = asked.map((parameters) => parameters.get(name) ?? '');
    expect(new Set(values).size).toBe(1000);
    expect(values.filter((value) => !/^[\w-]{43}$/.test(value))).toEqual([]);
  }
  expect(new Set(asked.map((parameters) => parameters.get('code_challenge_method')))).toEqual(
    new Set(['S256']),
  );
  for (let count = 0; count < 5; count += 1) await attempt(newBrowser(), stage);
  const redeemed = stage.first.requests.filter(({ endpoint }) => endpoint === 'token');
  const verifiers = redeemed.map(({ parameters }) => parameters.get('code_verifier') ?? '');
  expect(new Set(verifiers).size).toBe(5);
  expect(verifiers.filter((verifier) => !/^[\w.~-]{43,128}$/.test(verifier))).toEqual([]);
});

test('S-006 state, nonce and S256 go also to a provider whose metadata do not speak of PKCE', async () => {
  const stage = await startStage();
  stage.first.behaviour = { metadata: { code_challenge_methods_supported: undefined } };
  const browser = newBrowser();
  const address = await begin(browser, stage);
  expect([...address.searchParams.keys()]).toEqual(
    expect.arrayContaining(['state', 'nonce', 'code_challenge', 'code_challenge_method']),
  );
  const callback = await authorize(address);
  callback.searchParams.set('state', 'A'.repeat(43));
  expect((await browser.get(callback.href)).status).toBe(400);
  expect(stage.first.count('token')).toBe(0);
  expect(await outcome(browser, stage, await attempt(browser, stage))).toEqual(signedIn);
});

describe('S-011 logins in several tabs', () => {
  test('of five, answered in any order, each ends where it wanted to go', async () => {
    const stage = await startStage({ both: true });
    const browser = newBrowser();
    const tabs: { wanted: string; next: URL }[] = [];
    for (const wanted of ['/a', '/b', '/c', '/d', '/e'])
      tabs.push({ wanted, next: await begin(browser, stage, `?return_to=${wanted}`) });
    for (const order of [
      [3, 0, 4, 1, 2],
      [2, 4, 1, 0, 3],
    ]) {
      for (const index of order) {
        const tab = tabs[index];
        if (tab === undefined) throw new RangeError('no such tab');
        const answer = await browser.get((await authorize(tab.next)).href);
        expect(answer.status).toBe(303);
        tab.next = new URL(answer.headers.location ?? '', stage.publicUrl);
      }
    }
    expect(tabs.map(({ next }) => next.pathname)).toEqual(tabs.map(({ wanted }) => wanted));
    expect((await browser.get(`${stage.publicUrl}/auth/session`)).status).toBe(200);
  });

  test('of five that begin at the same moment, before any cookie is there, each can be finished', async () => {
    const stage = await startStage();
    const browser = newBrowser();
    const tabs = await Promise.all(
      ['/a', '/b', '/c', '/d', '/e'].map((path) => begin(browser, stage, `?return_to=${path}`)),
    );
    for (const tab of tabs) expect((await browser.get((await authorize(tab)).href)).status).toBe(303);
  });

  test('200 of them leave one small cookie, and the first can still be finished', async () => {
    const stage = await startStage();
    const browser = newBrowser();
    const firstTab = await begin(browser, stage);
    const before = loginCookies(browser);
    for (let count = 1; count < 200; count += 1) await begin(browser, stage);
    expect(loginCookies(browser)).toEqual(before);
    expect(before.map((cookie) => cookie.length)).toEqual([78]);
    expect((await browser.get((await authorize(firstTab)).href)).status).toBe(303);
  });
});

describe('S-013 a login always ends in a new session', () => {
  test('whatever session the browser had before is over, on every replica', async () => {
    const stage = await startStage({ coatcheck: { store: createMemoryStore() } });
    const replica = await stage.startReplica();
    const attacker = newBrowser();
    await attempt(attacker, stage);
    const planted = attacker.cookies('localhost').get(sessionCookie) ?? '';
    const victim = newBrowser();
    const callback = await authorize(await begin(victim, stage));
    const cookie = `${loginCookies(victim)}; ${sessionCookie}=${planted}`;
    const answer = await victim.get(callback.href, { headers: { cookie } });
    expect(answer.status).toBe(303);
    const issued = victim.cookies('localhost').get(sessionCookie) ?? '';
    expect(issued).toMatch(/^v1\.[\w-]{43}$/);
    expect(issued).not.toBe(planted);
    for (const address of [stage.publicUrl, replica.address]) {
      const statuses = [planted, issued].map(async (ticket) => {
        const headers = { cookie: `${sessionCookie}=${ticket}` };
        return (await newBrowser().get(`${address}/auth/session`, { headers })).status;
      });
      expect(await Promise.all(statuses)).toEqual([401, 200]);
    }
  });

  test('a made-up ticket is not adopted, and a second login replaces the first', async () => {
    const stage = await startStage();
    const browser = newBrowser();
    const tickets = new Set([`v1.${'A'.repeat(43)}`]);
    for (let count = 2; count <= 4; count += 1) {
      await attempt(browser, stage);
      tickets.add(browser.cookies('localhost').get(sessionCookie) ?? '');
      expect(tickets.size).toBe(count);
    }
    const alive = [...tickets].map(async (ticket) => {
      const headers = { cookie: `${sessionCookie}=${ticket}` };
      return (await newBrowser().get(`${stage.publicUrl}/auth/session`, { headers })).status;
    });
    expect(await Promise.all(alive)).toEqual([401, 401, 401, 200]);
  });
});

test('S-017 nothing in the address of the login reaches the authorization request', async () => {
  const authorizationParameters = { audience: 'https://api.example.com', prompt: 'login' };
  const stage = await startStage({ provider: () => ({ authorizationParameters }) });
  const injected =
    '?return_to=/x%26scope=admin%26state=s&redirect_uri=https://evil.example&scope=admin&prompt=none&client_id=evil' +
    '&response_mode=fragment&response_type=token&nonce=n&state=s&code_challenge=c&code_challenge_method=plain&audience=evil' +
    '&request=x&request_uri=https://evil.example&resource=evil&login_hint=x&acr_values=0&__proto__=x';
  const { searchParams } = await begin(newBrowser(), stage, injected);
  const { state, nonce, code_challenge, ...fixed } = Object.fromEntries(searchParams);
  expect([...searchParams.keys()]).toHaveLength(Object.keys(fixed).length + 3);
  expect(fixed).toEqual({
    ...authorizationParameters,
    client_id: 'apps',
    response_type: 'code',
    redirect_uri: `${stage.publicUrl}/auth/callback/first`,
    scope: 'openid profile email',
    code_challenge_method: 'S256',
  });
  for (const value of [state, nonce, code_challenge]) expect(value).toMatch(/^[\w-]{43}$/);
});

test('S-018 only a page of its own may start or end a login', async () => {
  const stage = await startStage();
  const browser = newBrowser();
  const callback = await authorize(await begin(browser, stage));
  for (const destination of ['iframe', 'frame', 'image', 'empty', 'script', 'object', 'embed', 'video']) {
    const headers = { 'sec-fetch-dest': destination, 'sec-fetch-site': 'cross-site' };
    for (const address of [`${stage.publicUrl}/auth/login`, callback.href]) {
      const answer = await browser.get(address, { headers });
      expect([answer.status, answer.headers['set-cookie']]).toEqual([403, undefined]);
    }
  }
  for (const method of ['POST', 'HEAD', 'PUT']) {
    expect((await browser.request(method, callback.href)).status).toBeGreaterThanOrEqual(400);
  }
  expect(stage.first.count('token')).toBe(0);
  expect((await browser.get(callback.href, { headers: { 'sec-fetch-dest': 'document' } })).status).toBe(303);
});

describe('S-021 a gateway with an unsound configuration does not start', () => {
  const sound = {
    publicUrl: 'http://localhost:1',
    listen: { host: '127.0.0.1', port: 0, adminHost: '127.0.0.1', adminPort: 0 },
    store: { url: 'memory://' },
    keys: [{ id: 'k1', secret: Buffer.alloc(32, 7).toString('base64') }],
    providers: { first: { issuer: 'https://id.example.com', clientId: 'apps', clientSecret: 'secret' } },
    login: ['first'],
  };
  test.each<[string, Json]>([
    ['an issuer', { providers: { first: { clientId: 'apps', clientSecret: 'secret' } } }],
    ['a client secret', { providers: { first: { issuer: 'https://id.example.com', clientId: 'apps' } } }],
    ['keys', { keys: [] }],
  ])('without %s', async (_what, changes) => {
    const directory = await mkdtemp(join(tmpdir(), 'coatcheck-'));
    const file = join(directory, 'coatcheck.yaml');
    await writeFile(file, JSON.stringify({ ...sound, ...changes }));
    const child = spawn(process.execPath, ['--import', 'tsx', 'src/cli.ts', 'serve', '--config', file]);
    const [[code], output, errors] = await Promise.all([
      once(child, 'exit'),
      text(child.stdout),
      text(child.stderr),
    ]);
    await rm(directory, { recursive: true });
    expect(code).toBeGreaterThan(0);
    expect(output + errors).not.toContain('gateway.started');
    expect(output + errors).toMatch(/issuer|clientSecret|keys/);
  });
});

test('S-090 a login refuses to lead away, before a provider is asked; repeated, the first return_to counts', async () => {
  const stage = await startStage();
  const values = [
    '//evil',
    '/%5Cevil',
    '%5C%5Cevil',
    '/%09/evil',
    '/..//evil',
    'https:evil',
    '//evil%00',
    '/%0D%0Ax:y',
  ];
  for (const value of [
    ...values,
    'javascript:x',
    'http://app@evil',
    '/%EF%BC%8Fevil',
    `/${'a'.repeat(3000)}`,
  ]) {
    const answer = await newBrowser().get(`${stage.publicUrl}/auth/login?return_to=${value}`);
    expect([value, answer.status, answer.headers.location]).toEqual([value, 400, undefined]);
    expect(answer.headers['set-cookie']).toBeUndefined();
  }
  for (const value of ['/%255cevil', '/%2509/evil', '/%252f/evil']) {
    const browser = newBrowser();
    const address = await begin(browser, stage, `?return_to=${value}&return_to=//evil`);
    const { location = '' } = (await browser.get((await authorize(address)).href)).headers;
    expect(location).toBe(decodeURIComponent(value));
    expect(new URL(location, stage.publicUrl).origin).toBe(stage.publicUrl);
  }
});

test('S-099 a script without session gets 401 and JSON, a page is sent to the login and comes back', async () => {
  const stage = await startStage({
    config: { upstreams: { eln: { url: 'http://127.0.0.1:1', provider: 'first' } } },
  });
  const address = `${stage.publicUrl}/api/eln/entities?page=2`;
  const person = new Person();
  const asScript = await person.get(address);
  expect([asScript.status, asScript.headers.location]).toEqual([401, undefined]);
  expect(asScript.headers['content-type']).toBe('application/problem+json');
  expect(asScript.json()).toMatchObject({ code: 'no_session', status: 401 });
  const asOldScript = await newBrowser().get(address, { headers: { 'x-requested-with': 'XMLHttpRequest' } });
  expect(asOldScript.status).toBe(401);
  const asPost = await person.request('POST', address);
  expect(asPost.status).toBe(401);

  const asPage = await person.get(address, { kind: 'navigation' });
  expect(asPage.status).toBe(303);
  const login = new URL(asPage.headers.location ?? '', stage.publicUrl);
  expect([login.pathname, login.searchParams.get('return_to')]).toEqual([
    '/auth/login',
    '/api/eln/entities?page=2',
  ]);
});

test('S-115 headers in which a client tells another host or scheme change nothing', async () => {
  const stage = await startStage();
  const headers = {
    'x-forwarded-host': 'evil.example',
    'x-forwarded-proto': 'https',
    'x-forwarded-port': '444',
    'x-forwarded-prefix': '/evil',
    forwarded: 'host=evil.example;proto=https',
    'x-original-url': '/evil',
    host: 'evil.example',
  };
  const browser = newBrowser();
  const answer = await browser.get(`${stage.publicUrl}/auth/login?return_to=/here`, { headers });
  const address = new URL(answer.headers.location ?? '');
  expect(address.searchParams.get('redirect_uri')).toBe(`${stage.publicUrl}/auth/callback/first`);
  expect(String(answer.headers['set-cookie'])).toMatch(/; Secure; HttpOnly; SameSite=Lax/);
  const last = await browser.get((await authorize(address)).href, { headers });
  expect([last.status, last.headers.location]).toEqual([303, '/here']);
  expect(String(last.headers['set-cookie'])).toMatch(
    /^__Host-coatcheck=v1\.[\w-]{43}; Path=\/; Secure; HttpOnly; SameSite=Lax$/,
  );
  const redeemed = stage.first.requests.find(({ endpoint }) => endpoint === 'token');
  expect(redeemed?.parameters.get('redirect_uri')).toBe(`${stage.publicUrl}/auth/callback/first`);
});
