import { createHash } from 'node:crypto';
import { expect, test } from 'vitest';
import { CoatcheckError } from '../../src/errors.ts';
import { createMemoryStore } from '../../src/session/memory-store.ts';
import type { FakeProvider } from '../fake-provider.ts';
import { type Answer, Person } from '../person.ts';
import { startProviderStage } from './provider-stage.ts';
import { attempt, newBrowser, type Stage, type StageOptions, startStage } from './stage.ts';

const announce = (provider: FakeProvider): void => {
  provider.behaviour.metadata = { end_session_endpoint: `${provider.issuer}/logout?tenant=a%26b` };
};

async function start(endSession: string, more: StageOptions = {}): Promise<Stage> {
  const stage = await startStage({
    both: true,
    provider: () => ({ userinfo: false, endSession }),
    later: { userinfo: false, sameUser: 'sub', endSession },
    ...more,
  });
  announce(stage.first);
  announce(stage.second);
  return stage;
}

async function signIn(stage: Stage): Promise<Person> {
  const browser = newBrowser();
  expect((await attempt(browser, stage)).status).toBe(303);
  return browser;
}

/** As a form of a page of ours. */
const logOut = (browser: Person, { publicUrl }: Pick<Stage, 'publicUrl'>): Promise<Answer> =>
  browser.request('POST', `${publicUrl}/auth/logout`, { kind: 'navigation', headers: { origin: publicUrl } });

const comeBack = (browser: Person, { publicUrl }: Stage, query: string): Promise<Answer> =>
  browser.get(`${publicUrl}/auth/logged-out${query}`, { kind: 'navigation' });

const unescaped = (text: string): string =>
  text.replace(/&#(\d+);/g, (_whole, code: string) => String.fromCharCode(Number(code)));

/** The form on a page, as a browser reads it. */
function formOf({ body }: Answer): { action: string; fields: Record<string, string> } {
  const [, action = ''] = /action="([^"]*)"/.exec(body) ?? [];
  const inputs = [...body.matchAll(/name="([^"]*)" value="([^"]*)"/g)];
  const fields = inputs.map(([, name = '', value = '']) => [unescaped(name), unescaped(value)]);
  return { action: unescaped(action), fields: Object.fromEntries(fields) };
}

const lives = async (browser: Person, { publicUrl }: Pick<Stage, 'publicUrl'>): Promise<boolean> =>
  (await browser.get(`${publicUrl}/auth/session`)).status === 200;

test('S-084 each provider in turn is asked to end its session, with its ID token in a form and in no address', async () => {
  const stage = await start('hint');
  const { publicUrl, first, second } = stage;
  const browser = await signIn(stage);
  let page = await logOut(browser, stage);
  expect(await lives(browser, stage)).toBe(false);
  for (const provider of [first, second]) {
    expect(page.status).toBe(200);
    const { action, fields } = formOf(page);
    expect(action).toBe(`${provider.issuer}/logout`);
    expect(fields).toEqual({
      tenant: 'a&b',
      client_id: 'apps',
      post_logout_redirect_uri: `${publicUrl}/auth/logged-out`,
      state: expect.stringMatching(/^[\w-]{43}$/),
      id_token_hint: expect.stringMatching(/^eyJ/),
    });
    const [, payload = ''] = fields.id_token_hint?.split('.') ?? [];
    expect(JSON.parse(Buffer.from(payload, 'base64url').toString())).toMatchObject({ iss: provider.issuer });
    expect(JSON.stringify(page.headers)).not.toContain('eyJ');
    const script = /<script>(.*)<\/script>/.exec(page.body)?.[1] ?? '';
    const hash = createHash('sha256').update(script).digest('base64');
    expect(page.headers['content-security-policy']).toContain(`script-src 'sha256-${hash}'`);
    expect(page.headers['cache-control']).toBe('no-store');
    page = await comeBack(browser, stage, `?state=${fields.state}`);
  }
  expect([page.status, page.headers.location]).toEqual([303, '/']);
  expect(browser.cookies('localhost')).toEqual(new Map());
});

test('S-084 a way back with a missing, wrong or foreign state leads to the start page and does nothing', async () => {
  const stage = await start('hint');
  const browser = await signIn(stage);
  const { state } = formOf(await logOut(browser, stage)).fields;
  const signedIn = await signIn(stage);
  const stranger = newBrowser();
  const wrong = 'x'.repeat(43);
  for (const query of ['', '?state=', '?state=1', `?state=${wrong}`, `?state=${wrong}&state=${state}`]) {
    const answer = await comeBack(signedIn, stage, query);
    expect([query, answer.status, answer.headers.location]).toEqual([query, 303, '/']);
  }
  expect((await comeBack(stranger, stage, `?state=${state}`)).headers.location).toBe('/');
  expect(await lives(signedIn, stage)).toBe(true);
  expect(formOf(await comeBack(browser, stage, `?state=${state}`)).action).toBe(
    `${stage.second.issuer}/logout`,
  );
  // Works once.
  expect((await comeBack(browser, stage, `?state=${state}`)).headers.location).toBe('/');
});

test('S-084 a provider that is away or offers nothing is left out', async () => {
  const stage = await start('confirm', { coatcheck: { store: createMemoryStore() } });
  const browser = await signIn(stage);
  const ticket = browser.cookies('localhost').get('__Host-coatcheck');
  // A replica that has not asked the first provider for anything yet.
  const { address } = await stage.startReplica();
  stage.first.behaviour.answer = { discovery: (response) => response.writeHead(503).end() };
  const headers = { cookie: `__Host-coatcheck=${ticket}`, 'x-coatcheck-csrf': '1' };
  const answer = await newBrowser().request('POST', `${address}/auth/logout`, {
    kind: 'navigation',
    headers,
  });
  expect(answer.headers.location).toMatch(`${stage.second.issuer}/logout?tenant=a%26b&`);
  expect(answer.headers.location).not.toContain('id_token_hint');
  expect(await lives(browser, stage)).toBe(false);
  expect(stage.logLines.join()).toContain('logout.incomplete');

  const none = await startStage({ provider: () => ({ userinfo: false, endSession: 'hint' }) });
  expect((await logOut(await signIn(none), none)).headers.location).toBe('/');
});

test('S-084 a store that is away after the session has ended does not undo the logout', async () => {
  const store = createMemoryStore();
  const { putOnce, takeOnce } = { putOnce: store.putOnce.bind(store), takeOnce: store.takeOnce.bind(store) };
  let isAway = false;
  const unlessAway = <Result>(work: () => Promise<Result>): Promise<Result> =>
    isAway ? Promise.reject(new CoatcheckError('store_unavailable')) : work();
  store.putOnce = (...parameters) => unlessAway(() => putOnce(...parameters));
  store.takeOnce = (...parameters) => unlessAway(() => takeOnce(...parameters));
  const stage = await start('hint', { coatcheck: { store } });
  const browser = await signIn(stage);
  isAway = true;
  const page = await logOut(browser, stage);
  expect(formOf(page).action).toBe(`${stage.first.issuer}/logout`);
  expect(await lives(browser, stage)).toBe(false);
  const back = await comeBack(browser, stage, `?state=${formOf(page).fields.state}`);
  expect([back.status, back.headers.location]).toEqual([303, '/']);
});

test('S-084 a script that logs out is sent nowhere, nor is anybody by default', async () => {
  const stage = await start('hint');
  const headers = { 'x-coatcheck-csrf': '1' };
  const byScript = await (await signIn(stage)).request('POST', `${stage.publicUrl}/auth/logout`, { headers });
  expect([byScript.status, byScript.headers.location]).toEqual([303, '/']);
  const usual = await start('off');
  expect((await logOut(await signIn(usual), usual)).headers.location).toBe('/');
});

test('S-085 another site can neither log out nor go on logging out', async () => {
  const stage = await start('hint');
  const browser = await signIn(stage);
  const foreign = {
    'sec-fetch-site': 'cross-site',
    'sec-fetch-dest': 'image',
    origin: 'https://evil.example.com',
  };
  const { publicUrl } = stage;
  expect((await browser.request('POST', `${publicUrl}/auth/logout`, { headers: foreign })).status).toBe(403);
  expect((await browser.get(`${publicUrl}/auth/logged-out`, { headers: foreign })).status).toBe(403);
  expect(await lives(browser, stage)).toBe(true);
});

test('S-086 on the way to a provider too, cookies, cache and storage go, and all but one cookie with the same attributes', async () => {
  const stage = await start('hint');
  const page = await logOut(await signIn(stage), stage);
  expect(page.headers['clear-site-data']).toBe('"cache", "storage"');
  const cookies = [page.headers['set-cookie'] ?? []].flat();
  const attributes = 'Path=/; Secure; HttpOnly; SameSite=Lax';
  expect(cookies).toContain(`__Host-coatcheck=; ${attributes}; Max-Age=0`);
  const kept = cookies.filter((line) => !line.endsWith('Max-Age=0'));
  expect(kept).toEqual([
    expect.stringMatching(
      /^__Host-coatcheck-logout=l1\.[\w-]{43}; Path=\/; Secure; HttpOnly; SameSite=Lax; Max-Age=600$/,
    ),
  ]);
});

test('S-084 a real provider ends its session, and sends the browser back', async () => {
  const stage = await startProviderStage({
    client: { clientSecret: 'secret of the client' },
    config: { clientSecret: 'secret of the client', endSession: 'confirm', userinfo: false },
  });
  const person = new Person();
  await person.signIn(stage.publicUrl, '/auth/session');
  const again = await person.get(`${stage.publicUrl}/auth/login`, { kind: 'navigation' });
  expect((await person.get(again.headers.location ?? '', { kind: 'navigation' })).headers.location).toContain(
    'code=',
  );
  const out = await logOut(person, stage);
  const page = await person.get(out.headers.location ?? '', { kind: 'navigation' });
  const [, action = ''] = /action="([^"]+)"/.exec(page.body) ?? [];
  const [, xsrf = ''] = /name="xsrf" value="([^"]+)"/.exec(page.body) ?? [];
  const headers = { 'content-type': 'application/x-www-form-urlencoded' };
  const body = `xsrf=${xsrf}&logout=yes`;
  const left = await person.request('POST', action, { kind: 'navigation', headers, body });
  expect(left.headers.location).toMatch(/\/auth\/logged-out\?state=[\w-]{43}$/);
  expect((await person.get(left.headers.location ?? '', { kind: 'navigation' })).headers.location).toBe('/');
  const next = await person.get(`${stage.publicUrl}/auth/login`, { kind: 'navigation' });
  expect((await person.get(next.headers.location ?? '', { kind: 'navigation' })).headers.location).toContain(
    '/interaction/',
  );
});
