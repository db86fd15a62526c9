import { randomUUID } from 'node:crypto';
import { generateKeyPair, SignJWT } from 'jose';
import { describe, expect, test } from 'vitest';
import { CoatcheckError } from '../../src/errors.ts';
import { createMemoryStore } from '../../src/session/memory-store.ts';
import type { FakeProvider, Json } from '../fake-provider.ts';
import type { Answer, Person } from '../person.ts';
import { startWorld } from '../world.ts';
import { attempt, newBrowser, type Stage, type StageOptions, startStage } from './stage.ts';

const event = 'http://schemas.openid.net/event/backchannel-logout';
const seconds = (): number => Math.floor(Date.now() / 1000);

/** Claims of a good logout token, with changes. */
const claimsOf = ({ issuer }: FakeProvider, changes: Json = {}): Json => ({
  iss: issuer,
  aud: 'apps',
  iat: seconds(),
  exp: seconds() + 120,
  jti: randomUUID(),
  sub: 'ada',
  events: { [event]: {} },
  ...changes,
});

/** Claims without those that are undefined: what a provider would sign. */
const signed = (provider: FakeProvider, claims: Json, header = {}): Promise<string> =>
  provider.sign(
    Object.fromEntries(Object.entries(claims).filter(([, value]) => value !== undefined)),
    header,
  );

const formType = 'application/x-www-form-urlencoded';

async function send(base: string, token: string, name = 'first'): Promise<Answer> {
  const body = `logout_token=${encodeURIComponent(token)}`;
  const path = `${base}/auth/backchannel-logout/${name}`;
  return newBrowser().request('POST', path, { headers: { 'content-type': formType }, body });
}

const start = (options: StageOptions = {}): Promise<Stage> =>
  startStage({
    ...options,
    provider: () => ({ userinfo: false, backchannelLogout: true }),
    later: { userinfo: false, sameUser: 'dangerously-anyone', backchannelLogout: true, ...options.later },
  });

async function signIn(stage: Stage): Promise<Person> {
  const browser = newBrowser();
  expect((await attempt(browser, stage)).status).toBe(303);
  expect(await lives(browser, stage)).toBe(true);
  return browser;
}

const lives = async (browser: Person, { publicUrl }: Pick<Stage, 'publicUrl'>): Promise<boolean> =>
  (await browser.get(`${publicUrl}/auth/session`)).status === 200;

const codeOf = (answer: Answer): unknown =>
  answer.headers['content-type'] === 'application/problem+json'
    ? answer.json<{ code: string }>().code
    : undefined;

describe('a logout token', () => {
  test('S-076 that is good ends the session', async () => {
    const stage = await start();
    const browser = await signIn(stage);
    const token = await signed(stage.first, claimsOf(stage.first), { typ: 'logout+jwt' });
    const answer = await send(stage.publicUrl, token);
    expect([answer.status, answer.headers['cache-control'], answer.headers['set-cookie']]).toEqual([
      200,
      'no-store',
      undefined,
    ]);
    expect(await lives(browser, stage)).toBe(false);
  });

  const now = seconds();
  const bad: readonly [string, Json, Json?][] = [
    ['names another issuer', { iss: 'https://other.example.com' }],
    ['names no issuer', { iss: undefined }],
    ['names another audience', { aud: 'others' }],
    ['names an audience more', { aud: ['apps', 'others'] }],
    ['has no iat', { iat: undefined }],
    ['is an hour old', { iat: now - 3600 }],
    ['is three minutes old', { iat: now - 180 }],
    ['is from the future', { iat: now + 600 }],
    ['has no exp', { exp: undefined }],
    ['has expired', { exp: now - 60 }],
    ['has no jti', { jti: undefined }],
    ['has an empty jti', { jti: '' }],
    ['has a jti that is no text', { jti: 7 }],
    ['has no events', { events: undefined }],
    ['has events without the logout', { events: { 'https://other.example.com': {} } }],
    ['has a logout that is no object', { events: { [event]: true } }],
    ['has events that are a list', { events: [event] }],
    ['has a nonce', { nonce: 'n' }],
    ['has a nonce that is null', { nonce: null }],
    ['names neither sub nor sid', { sub: undefined }],
    ['has an empty sub', { sub: '' }],
    ['has a sub that is no text', { sub: 7 }],
    ['has a sid that is no text', { sid: ['s'] }],
    ['says that it is another kind of token', {}, { typ: 'at+jwt' }],
    ['names a key that nobody has', {}, { kid: 'another' }],
  ];

  test('S-076 S-077 that fails a check ends nothing', async () => {
    const stage = await start();
    const browser = await signIn(stage);
    const { first } = stage;
    const other = await generateKeyPair('RS256');
    const elliptic = await generateKeyPair('ES256');
    const good = claimsOf(first);
    const header = { alg: 'RS256', kid: 'first' };
    const none = `${Buffer.from('{"alg":"none"}').toString('base64url')}.${Buffer.from(JSON.stringify(good)).toString('base64url')}.`;
    const whole = await signed(first, good);
    const forged: [string, string][] = [
      ['signed by another key', await new SignJWT(good).setProtectedHeader(header).sign(other.privateKey)],
      [
        'with another algorithm',
        await new SignJWT(good).setProtectedHeader({ ...header, alg: 'ES256' }).sign(elliptic.privateKey),
      ],
      [
        'with a shared secret',
        await new SignJWT(good).setProtectedHeader({ alg: 'HS256' }).sign(Buffer.alloc(32)),
      ],
      ['unsigned', none],
      ['cut', whole.slice(0, -5)],
      ['empty', ''],
      ['no token', 'x.y'],
    ];
    for (const [title, changes, extra] of bad) {
      forged.push([title, await signed(first, { ...claimsOf(first), ...changes }, extra ?? {})]);
    }
    for (const [title, token] of forged) {
      const answer = await send(stage.publicUrl, token);
      expect([title, answer.status, codeOf(answer)]).toEqual([title, 400, 'logout_token_invalid']);
      expect([title, answer.headers['cache-control']]).toEqual([title, 'no-store']);
    }
    expect(await lives(browser, stage)).toBe(true);
    expect(stage.logLines.join()).not.toContain(whole);
    expect((await send(stage.publicUrl, whole)).status).toBe(200);
    expect(await lives(browser, stage)).toBe(false);
  });

  test('S-076 that is an ID token ends nothing', async () => {
    const stage = await start();
    const browser = await signIn(stage);
    const { events: _, jti: __, ...idToken } = claimsOf(stage.first);
    expect((await send(stage.publicUrl, await signed(stage.first, idToken))).status).toBe(400);
    expect(await lives(browser, stage)).toBe(true);
  });

  test('S-077 works once, at whichever replica it comes again', async () => {
    const stage = await start({ coatcheck: { store: createMemoryStore() } });
    const replica = await stage.startReplica();
    const token = await signed(stage.first, claimsOf(stage.first));
    expect((await send(stage.publicUrl, token)).status).toBe(200);
    const browser = await signIn(stage);
    for (const base of [stage.publicUrl, replica.address]) {
      expect(codeOf(await send(base, token))).toBe('logout_token_invalid');
    }
    expect(await lives(browser, stage)).toBe(true);
  });

  test('S-077 that could not be carried out works when it comes again', async () => {
    const store = createMemoryStore();
    let isAway = false;
    const indexClose = store.indexClose.bind(store);
    store.indexClose = (index) => {
      if (isAway) throw new CoatcheckError('store_unavailable');
      return indexClose(index);
    };
    const stage = await start({ coatcheck: { store } });
    const browser = await signIn(stage);
    const token = await signed(stage.first, claimsOf(stage.first));
    isAway = true;
    const failed = await send(stage.publicUrl, token);
    expect([failed.status, failed.headers['retry-after']]).toEqual([503, '2']);
    isAway = false;
    expect((await send(stage.publicUrl, token)).status).toBe(200);
    expect(await lives(browser, stage)).toBe(false);
  });
});

describe('which sessions end', () => {
  test('S-078 all of a person where there is only sub, and none of anybody else', async () => {
    const stage = await start();
    const own = [await signIn(stage), await signIn(stage), await signIn(stage)];
    stage.first.person = { sub: 'lise', email: 'lise@example.com' };
    const other = await signIn(stage);
    await send(stage.publicUrl, await signed(stage.first, claimsOf(stage.first)));
    for (const browser of own) expect(await lives(browser, stage)).toBe(false);
    expect(await lives(other, stage)).toBe(true);
  });

  test('S-078 one provider cannot end what belongs to another by its sub or sid', async () => {
    const stage = await start({ both: true });
    stage.first.person = { sub: 'ada', sid: 'one' };
    stage.second.person = { sub: 'user:7', sid: 'two' };
    const browser = await signIn(stage);
    const { second } = stage;
    for (const changes of [{}, { sub: undefined, sid: 'one' }, { sub: 'ada', sid: 'one' }]) {
      const token = await signed(second, claimsOf(second, changes));
      expect((await send(stage.publicUrl, token, 'second')).status).toBe(200);
      expect((await send(stage.publicUrl, token, 'first')).status).toBe(400);
    }
    expect(await lives(browser, stage)).toBe(true);
  });

  test('S-079 those of one session at the provider, of which there may be several; each provider may end the whole', async () => {
    const stage = await start({ both: true });
    stage.first.person = { sub: 'ada', sid: 'one' };
    stage.second.person = { sub: 'user:7', sid: 'two' };
    const [one, again] = [await signIn(stage), await signIn(stage)];
    stage.first.person = { sub: 'ada', sid: 'three' };
    stage.second.person = { sub: 'user:7', sid: 'four' };
    const [by, bySub] = [await signIn(stage), await signIn(stage)];
    const end = async (provider: FakeProvider, name: string, changes: Json): Promise<boolean[]> => {
      await send(stage.publicUrl, await signed(provider, claimsOf(provider, changes)), name);
      return Promise.all([one, again, by, bySub].map((browser) => lives(browser, stage)));
    };
    expect(await end(stage.first, 'first', { sid: 'one' })).toEqual([false, false, true, true]);
    expect(await end(stage.first, 'first', { sid: 'nobody' })).toEqual([false, false, true, true]);
    expect(await end(stage.second, 'second', { sub: undefined, sid: 'four' })).toEqual([
      false,
      false,
      false,
      false,
    ]);
    const last = await signIn(stage);
    await end(stage.second, 'second', { sub: 'user:7' });
    expect(await lives(last, stage)).toBe(false);
  });

  test('S-081 a login under way loses, as does a refresh', async () => {
    const stage = await start({
      both: true,
      config: { upstreams: { late: { url: 'http://127.0.0.1:9', provider: 'first' } } },
    });
    const { first, second } = stage;
    first.person = { sub: 'ada', sid: 'one' };
    const end = async (): Promise<void> => {
      const token = await signed(first, claimsOf(first, { sid: 'one' }));
      expect((await send(stage.publicUrl, token)).status).toBe(200);
    };
    // The second provider answers only after the first has ended its session.
    const browser = newBrowser();
    second.behaviour.idToken = async (claims) => {
      await end();
      return second.sign(claims);
    };
    expect(codeOf(await attempt(browser, stage))).toBe('login_expired');
    expect(await lives(browser, stage)).toBe(false);

    delete second.behaviour.idToken;
    first.behaviour.token = { expires_in: 0, refresh_token: 'refresh' };
    const next = newBrowser();
    expect((await attempt(next, stage)).status).toBe(303);
    first.behaviour.answer = {
      token: (response) => {
        const tokens = { access_token: 'late', token_type: 'Bearer' };
        void end().then(() =>
          response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(tokens)),
        );
      },
    };
    expect((await next.get(`${stage.publicUrl}/api/late/x`)).status).toBe(401);
    expect(await lives(next, stage)).toBe(false);
  });
});

test('S-080 the endpoint takes a form by POST, of a sane size, with one token, and nothing else', async () => {
  const stage = await start();
  const browser = await signIn(stage);
  const token = await signed(stage.first, claimsOf(stage.first));
  const path = `${stage.publicUrl}/auth/backchannel-logout/first`;
  const form = { 'content-type': formType };
  const post = (body: string, headers: Record<string, string> = form): Promise<Answer> =>
    newBrowser().request('POST', path, { headers, body });
  const refused: [string, Promise<Answer>, number][] = [
    ['GET', newBrowser().get(`${path}?logout_token=${token}`), 404],
    [
      'token in the query',
      newBrowser().request('POST', `${path}?logout_token=${token}`, { headers: form, body: '' }),
      400,
    ],
    ['JSON', post(JSON.stringify({ logout_token: token }), { 'content-type': 'application/json' }), 400],
    ['plain text', post(`logout_token=${token}`, { 'content-type': 'text/plain' }), 400],
    ['multipart', post(`logout_token=${token}`, { 'content-type': 'multipart/form-data; boundary=x' }), 400],
    ['no type', post(`logout_token=${token}`, {}), 400],
    ['no token', post('logout=1'), 400],
    ['no body', post(''), 400],
    ['two tokens', post(`logout_token=${token}&logout_token=${token}`), 400],
    ['17 KiB', post(`logout_token=${token}&more=${'x'.repeat(17_000)}`), 413],
    ['another provider', send(stage.publicUrl, token, 'nobody'), 404],
  ];
  for (const [title, answering, status] of refused) {
    const answer = await answering;
    expect([title, answer.status, answer.headers['cache-control']]).toEqual([title, status, 'no-store']);
  }
  expect(await lives(browser, stage)).toBe(true);
  expect(
    (await post(`a=b&logout_token=${token}`, { 'content-type': `${formType}; charset=utf-8` })).status,
  ).toBe(200);
  expect(await lives(browser, stage)).toBe(false);
});

test('S-080 a provider that is not to end sessions has no such endpoint', async () => {
  const stage = await startStage();
  const token = await signed(stage.first, claimsOf(stage.first));
  expect((await send(stage.publicUrl, token)).status).toBe(404);
});

test('S-080 made-up key ids do not make us flood the provider', async () => {
  const stage = await start();
  await signIn(stage);
  for (let count = 0; count < 20; count += 1) {
    const token = await signed(stage.first, claimsOf(stage.first), { kid: `made up ${count}` });
    expect((await send(stage.publicUrl, token)).status).toBe(400);
  }
  expect(stage.first.count('jwks')).toBeLessThanOrEqual(3);
});

test('S-083 no address that a page of another site can load ends a session', async () => {
  const stage = await start();
  stage.first.person = { sub: 'ada', sid: 'one' };
  const browser = await signIn(stage);
  const headers = { 'sec-fetch-site': 'cross-site', 'sec-fetch-dest': 'image', 'sec-fetch-mode': 'no-cors' };
  const query = `?iss=${encodeURIComponent(stage.first.issuer)}&sid=one`;
  for (const path of [
    '/auth/frontchannel-logout',
    '/auth/frontchannel-logout/first',
    '/auth/backchannel-logout/first',
    '/auth/logout',
  ]) {
    expect((await browser.get(stage.publicUrl + path + query, { headers })).status).toBe(404);
  }
  expect(await lives(browser, stage)).toBe(true);
});

test('S-076 a real provider that ends its session ends ours at every replica', async () => {
  const world = await startWorld({
    config: (input) => {
      const providers = input.providers as Record<string, Json>;
      return {
        ...input,
        providers: { ...providers, identity: { ...providers.identity, backchannelLogout: true } },
      };
    },
  });
  try {
    const replica = await world.startReplica();
    const person = await world.signIn('ada');
    const other = await world.signIn('lise');
    const cookie = `__Host-coatcheck=${person.cookies('localhost').get('__Host-coatcheck')}`;
    const status = async (): Promise<number> =>
      (await newBrowser().get(`${replica.address}/auth/session`, { headers: { cookie } })).status;
    expect(await status()).toBe(200);
    const { endSessionEndpoint } = world.simulators.identity;
    const page = await person.get(endSessionEndpoint, { kind: 'navigation' });
    const [, action = ''] = /action="([^"]+)"/.exec(page.body) ?? [];
    const [, xsrf = ''] = /name="xsrf" value="([^"]+)"/.exec(page.body) ?? [];
    const headers = { 'content-type': formType };
    await person.request('POST', action, { kind: 'navigation', headers, body: `xsrf=${xsrf}&logout=yes` });
    await expect.poll(status).toBe(401);
    expect(await lives(person, world)).toBe(false);
    expect(await lives(other, world)).toBe(true);
  } finally {
    await world.close();
  }
});
