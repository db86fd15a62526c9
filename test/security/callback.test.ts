import { describe, expect, test } from 'vitest';
import type { Json } from '../fake-provider.ts';
import type { Answer, Person } from '../person.ts';
import { attempt, authorize, begin, newBrowser, outcome, type Stage, signedIn, startStage } from './stage.ts';

const loginCookie = '__Host-coatcheck-login-AAAAAAAA';

/** Starts a login and lets the provider answer; the callback is not delivered yet. */
async function callbackOf(browser: Person, stage: Stage): Promise<URL> {
  return authorize(await begin(browser, stage));
}

/** A copy of an address with other parameters; `undefined` leaves one out. */
function changed(address: URL, parameters: Record<string, string | undefined>): string {
  const url = new URL(address);
  for (const [name, value] of Object.entries(parameters)) {
    if (value === undefined) url.searchParams.delete(name);
    else url.searchParams.set(name, value);
  }
  return url.href;
}

function tokenRequests({ first, second }: Stage): number {
  return first.count('token') + second.count('token');
}

function code(answer: Answer): unknown {
  return answer.json<Json>().code;
}

test('S-001 a callback in another browser is refused, no token request leaves, no session begins', async () => {
  const stage = await startStage();
  const callback = await callbackOf(newBrowser(), stage);
  const stranger = newBrowser();
  const without = await stranger.get(callback.href);
  expect(await outcome(stranger, stage, without)).toEqual([400, 'login_expired', 'nobody']);
  expect(without.headers['set-cookie']).toBeUndefined();

  const again = await callbackOf(newBrowser(), stage);
  await begin(stranger, stage);
  const withItsOwn = await stranger.get(again.href);
  expect(await outcome(stranger, stage, withItsOwn)).toEqual([400, 'login_expired', 'nobody']);
  expect(withItsOwn.headers['set-cookie']).toBeUndefined();
  expect(tokenRequests(stage)).toBe(0);
});

test('S-001 a made-up login cookie opens no login', async () => {
  const stage = await startStage();
  const callback = await callbackOf(newBrowser(), stage);
  const cookie = `${loginCookie}=l1.${'A'.repeat(43)}`;
  for (const forged of [cookie, `${loginCookie}=`, `${loginCookie}=v1.${'A'.repeat(43)}`]) {
    const answer = await newBrowser().get(callback.href, { headers: { cookie: forged } });
    expect([answer.status, code(answer)]).toEqual([400, 'login_expired']);
  }
  expect(tokenRequests(stage)).toBe(0);
});

describe('S-002 the issuer of a callback is compared as a plain string', () => {
  test.each<[string, (stage: Stage) => string]>([
    ['another provider', ({ second }) => second.issuer],
    ['a slash at the end', ({ first }) => `${first.issuer}/`],
    ['an upper-case scheme', ({ first }) => first.issuer.replace('http', 'HTTP')],
    ['an upper-case host', ({ first }) => first.issuer.replace('127.0.0.1', 'LOCALHOST')],
    ['another port', ({ first }) => first.issuer.replace(/:\d+$/, ':443')],
    ['nothing', () => ''],
  ])('%s', async (_what, issuerOf) => {
    const stage = await startStage({ both: true });
    const browser = newBrowser();
    const callback = await callbackOf(browser, stage);
    const answer = await browser.get(changed(callback, { iss: issuerOf(stage) }));
    expect(await outcome(browser, stage, answer)).toEqual([400, 'login_callback_invalid', 'nobody']);
    expect(tokenRequests(stage)).toBe(0);
  });
});

describe('S-003 a provider that promises iss must send it', () => {
  test('on success and on an error; the login at the other provider goes on', async () => {
    const stage = await startStage({ both: true });
    const browser = newBrowser();
    const atSecond = await browser.get((await callbackOf(browser, stage)).href);
    const secondCallback = await authorize(atSecond.headers.location ?? '');

    for (const parameters of [
      { iss: undefined },
      { iss: undefined, code: undefined, error: 'access_denied' },
    ]) {
      const callback = await callbackOf(browser, stage);
      const answer = await browser.get(changed(callback, parameters));
      expect([answer.status, code(answer)]).toEqual([400, 'login_callback_invalid']);
    }
    expect(tokenRequests(stage)).toBe(1);
    const last = await browser.get(secondCallback.href);
    expect(last.status).toBe(303);
    expect(browser.cookies('localhost').has('__Host-coatcheck')).toBe(true);
  });

  test('one that does not promise it may leave it out, but what it sends must be right', async () => {
    const stage = await startStage();
    stage.first.behaviour = {
      metadata: { authorization_response_iss_parameter_supported: undefined },
      callback: (back) => back.delete('iss'),
    };
    expect((await attempt(newBrowser(), stage)).headers.location).toBe('/here');
    const browser = newBrowser();
    const callback = await callbackOf(browser, stage);
    const answer = await browser.get(changed(callback, { iss: stage.second.issuer }));
    expect([answer.status, code(answer)]).toEqual([400, 'login_callback_invalid']);
  });
});

test('S-004 what was made for one provider does not fit the callback of another', async () => {
  const stage = await startStage({ both: true });
  const browser = newBrowser();
  const prepare = async (): Promise<[URL, URL]> => {
    const atSecond = await browser.get((await callbackOf(browser, stage)).href);
    return [await callbackOf(browser, stage), await authorize(atSecond.headers.location ?? '')];
  };
  const of = (url: URL, name: string): string => url.searchParams.get(name) ?? '';
  const states: ((a: URL, b: URL) => string)[] = [
    (a, b) => changed(a, { state: of(b, 'state') }),
    (a, b) => changed(b, { state: of(a, 'state') }),
    (a, b) => `${a.origin}${a.pathname}${b.search}`,
    (a, b) => `${b.origin}${b.pathname}${a.search}`,
  ];
  for (const swapped of states) {
    const answer = await browser.get(swapped(...(await prepare())));
    expect([answer.status, code(answer)]).toEqual([400, 'login_expired']);
  }
  const before = tokenRequests(stage);
  const [a, b] = await prepare();
  const swappedCode = await browser.get(changed(a, { code: of(b, 'code') }));
  expect([swappedCode.status, code(swappedCode)]).toEqual([400, 'login_callback_invalid']);
  expect((await browser.get(b.href)).headers.location).toBe('/');
  expect(tokenRequests(stage)).toBe(before + 3);
});

test('S-008 a random state beside a valid login cookie is refused without a token request', async () => {
  const stage = await startStage();
  const browser = newBrowser();
  const callback = await callbackOf(browser, stage);
  const cases: [string | undefined, string][] = [
    ['A'.repeat(43), 'login_expired'],
    ['short', 'login_callback_invalid'],
    ['', 'login_callback_invalid'],
    [undefined, 'login_callback_invalid'],
    [`${callback.searchParams.get('state')}x`, 'login_callback_invalid'],
  ];
  for (const [state, expected] of cases) {
    const answer = await browser.get(changed(callback, { state }));
    expect(await outcome(browser, stage, answer)).toEqual([400, expected, 'nobody']);
  }
  expect(tokenRequests(stage)).toBe(0);
  expect(await outcome(browser, stage, await browser.get(callback.href))).toEqual([303, '/', 'signed in']);
});

test('S-009 repeated parameters of a callback are refused, neither the first nor the last wins', async () => {
  const stage = await startStage();
  const browser = newBrowser();
  const callback = await callbackOf(browser, stage);
  for (const name of ['state', 'code', 'iss', 'error', 'response', 'id_token']) {
    const own = callback.searchParams.get(name) ?? 'x';
    for (const query of [`${name}=${own}`, `${name}=other`, `${name}=`, `%${hex(name)}${name.slice(1)}=x`]) {
      const once = callback.searchParams.has(name) ? '' : `&${name}=${own}`;
      const answer = await browser.get(`${callback.href}${once}&${query}`);
      expect([name, answer.status, code(answer)]).toEqual([name, 400, 'login_callback_invalid']);
    }
  }
  expect(tokenRequests(stage)).toBe(0);
  expect((await browser.get(callback.href)).status).toBe(303);
});

function hex(text: string): string {
  return text.charCodeAt(0).toString(16);
}

describe('S-016 both providers must speak of one person', () => {
  const ada = { sub: 'ada', email: 'ada@example.com' };
  test.each<[string, Json, Json]>([
    ['another e-mail address', ada, { sub: 'm', email: 'mallory@example.com' }],
    ['one that differs in case only', ada, { sub: 'a', email: 'Ada@example.com' }],
    ['none at the second', ada, { sub: 'a' }],
    ['none at the first', { sub: 'ada' }, { sub: 'a', email: 'ada@example.com' }],
    ['an empty one at both', { sub: 'ada', email: '' }, { sub: 'a', email: '' }],
    ['a list of one', ada, { sub: 'a', email: ['ada@example.com'] }],
    ['unverified at the second', ada, { ...ada, email_verified: false }],
    ['unverified at the second, in words', ada, { ...ada, email_verified: 'False' }],
    ['unverified at the second, as an odd object', ada, { ...ada, email_verified: { toString: 1 } }],
    ['unverified at the second, as a number', ada, { ...ada, email_verified: 0 }],
    ['unverified at the first', { ...ada, email_verified: false }, ada],
  ])('%s', async (_what, first, second) => {
    const stage = await startStage({ both: true });
    stage.first.person = first;
    stage.second.person = second;
    const browser = newBrowser();
    expect(await outcome(browser, stage, await attempt(browser, stage))).toEqual([
      403,
      'login_person_mismatch',
      'nobody',
    ]);
  });

  test('the same address, verified or not spoken of, is the same person', async () => {
    const stage = await startStage({ both: true });
    stage.second.person = { sub: 'other subject', email: 'ada@example.com', email_verified: true };
    const browser = newBrowser();
    expect(await outcome(browser, stage, await attempt(browser, stage))).toEqual(signedIn);
  });

  test('dangerously-anyone is the only way around', async () => {
    const stage = await startStage({ both: true, later: { sameUser: 'dangerously-anyone' } });
    stage.second.person = { sub: 'somebody', email: 'somebody@example.com' };
    const browser = newBrowser();
    expect(await outcome(browser, stage, await attempt(browser, stage))).toEqual(signedIn);
  });

  test('after signing in as another person nothing of the one before is left', async () => {
    const stage = await startStage({ both: true });
    const browser = newBrowser();
    await attempt(browser, stage);
    const before = browser.cookies('localhost').get('__Host-coatcheck');
    for (const provider of [stage.first, stage.second])
      provider.person = { sub: 'bob', email: 'bob@example.com' };
    stage.second.behaviour = { token: { scope: 'of-bob' } };
    await attempt(browser, stage);
    const session = await browser.get(`${stage.publicUrl}/auth/session`);
    expect(session.json()).toMatchObject({
      user: { subject: 'bob' },
      providers: { second: { scope: 'of-bob' } },
    });
    const old = await newBrowser().get(`${stage.publicUrl}/auth/session`, {
      headers: { cookie: `__Host-coatcheck=${before}` },
    });
    expect(old.status).toBe(401);
  });
});

test('S-091 where the login leads is kept with the transaction, not read from the callback', async () => {
  const stage = await startStage();
  const browser = newBrowser();
  const callback = await authorize(await begin(browser, stage, '?return_to=/wanted'));
  const answer = await browser.get(`${callback.href}&return_to=//evil.example&returnTo=/other`);
  expect(answer.headers.location).toBe('/wanted');
});

test('S-092 what a provider writes into its errors is never repeated, nor is it markup', async () => {
  const stage = await startStage();
  const markup = '<script>alert(1)</script>';
  for (const accept of ['text/html', 'application/json']) {
    const browser = newBrowser();
    const callback = await callbackOf(browser, stage);
    const address = changed(callback, { code: undefined, error: markup, error_description: markup });
    const answer = await browser.get(address, { headers: { accept } });
    expect(answer.status).toBe(403);
    expect(answer.body).not.toMatch(/alert|&lt;script/);
    expect(answer.headers['content-security-policy']).toMatch(/^default-src 'none'/);
    expect(answer.headers['x-content-type-options']).toBe('nosniff');
  }
  expect(stage.logLines.join('')).toContain('answered with the error (unprintable)');
  expect(stage.logLines.join('')).not.toContain('alert');
});

test('S-096 a callback answers with a redirect whose address and Referer carry neither code nor state', async () => {
  const stage = await startStage();
  const browser = newBrowser();
  const callback = await callbackOf(browser, stage);
  const answer = await browser.get(callback.href);
  expect([answer.status, answer.headers.location, answer.body]).toEqual([303, '/', '']);
  expect(answer.headers['referrer-policy']).toBe('no-referrer');
  expect(answer.headers['cache-control']).toBe('no-store');
  const failed = await browser.get(callback.href, { headers: { accept: 'text/html' } });
  expect([failed.status, failed.headers['referrer-policy']]).toEqual([400, 'no-referrer']);
  for (const name of ['code', 'state']) {
    const value = callback.searchParams.get(name) ?? 'none';
    expect(failed.body).not.toContain(value);
    expect(stage.logLines.join('')).not.toContain(value);
  }
});
