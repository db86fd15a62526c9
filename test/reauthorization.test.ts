import { Writable } from 'node:stream';
import { expect, onTestFinished, test } from 'vitest';
import { type Coatcheck, createCoatcheck } from '../src/coatcheck.ts';
import { parseConfig } from '../src/config.ts';
import { createMemoryStore } from '../src/session/memory-store.ts';
import { userIndex } from '../src/session/session.ts';
import type { SessionStore } from '../src/session/store.ts';
import type { SignedIn } from '../src/session-manager.ts';
import { answerJson } from './fake-provider.ts';
import type { Answer, Person } from './person.ts';
import { attempt, authorize, begin, newBrowser, outcome, type Stage, startStage } from './security/stage.ts';

/** A gateway with two providers, a browser that is signed in, and another replica on the same store. */
interface Scene {
  readonly stage: Stage;
  readonly browser: Person;
  readonly elsewhere: Coatcheck;
  readonly store: SessionStore;
  /** How far the clock of all replicas is ahead, ms. */
  aheadMs: number;
  /** What happens just before a verb of the store. */
  before: Partial<Record<keyof SessionStore, () => Promise<unknown>>>;
}

const keys = [{ id: 'k1', secret: Buffer.alloc(32, 7).toString('base64') }];

async function prepare(): Promise<Scene> {
  const plain = createMemoryStore();
  const scene: { -readonly [Name in keyof Scene]?: Scene[Name] } = { aheadMs: 0, before: {}, store: plain };
  const store = new Proxy(plain, {
    get(target, name: keyof SessionStore) {
      const verb = Reflect.get(target, name);
      if (typeof verb !== 'function') return verb;
      return async (...values: unknown[]): Promise<unknown> => {
        const before = scene.before?.[name];
        if (scene.before) delete scene.before[name];
        await before?.();
        return Reflect.apply(verb, target, values);
      };
    },
  });
  const now = (): number => Date.now() + (scene.aheadMs ?? 0);
  const stage = await startStage({ both: true, config: { keys }, coatcheck: { store, now } });
  for (const provider of [stage.first, stage.second])
    provider.behaviour = { token: { refresh_token: `canary-${provider.issuer}` } };
  const { publicUrl, first, second } = stage;
  const providers = { first: first.config(), second: second.config({ sameUser: 'email' }) };
  const written = { publicUrl, store: { url: 'memory://' }, keys, providers, login: ['first', 'second'] };
  const logDestination = new Writable({ write: (_chunk, _encoding, done) => done() });
  const elsewhere = await createCoatcheck(parseConfig(written, {}), { store: plain, now, logDestination });
  onTestFinished(() => elsewhere.close());
  const browser = newBrowser();
  expect((await attempt(browser, stage)).status).toBe(303);
  return Object.assign(scene, { stage, browser, elsewhere }) as Scene;
}

const cookieOf = (browser: Person): string => browser.cookies('localhost').get('__Host-coatcheck') ?? '';

async function look({ elsewhere }: Scene, cookie: string): Promise<SignedIn> {
  const loaded = await elsewhere.sessions.load(cookie);
  if (loaded.kind !== 'session') throw new Error('no session');
  return loaded;
}

/** Asks the second provider again; the gateway's answer to its callback. */
async function askAgain({ browser, stage }: Scene): Promise<Answer> {
  const address = await begin(browser, stage, '?provider=second&return_to=/there');
  expect(address.origin).toBe(stage.second.issuer);
  return browser.get((await authorize(address)).href);
}

test('S-014 one provider is asked again: its tokens are new, all else is as it was, under a new ticket', async () => {
  const scene = await prepare();
  const { browser, stage, store } = scene;
  const old = cookieOf(browser);
  const before = await look(scene, old);
  const asked = stage.first.requests.length;
  const answer = await askAgain(scene);
  expect([answer.status, answer.headers.location]).toEqual([303, '/there']);
  expect(stage.first.requests).toHaveLength(asked);
  const after = await look(scene, cookieOf(browser));
  expect(after.ticket.value).not.toBe(old);
  const { tokenSets, createdAtMs, absoluteDeadlineMs, user } = after.session;
  expect({ createdAtMs, absoluteDeadlineMs, user }).toEqual({
    createdAtMs: before.session.createdAtMs,
    absoluteDeadlineMs: before.session.absoluteDeadlineMs,
    user: before.session.user,
  });
  expect(tokenSets.get('first')).toEqual(before.session.tokenSets.get('first'));
  expect(tokenSets.get('second')?.accessToken).not.toBe(before.session.tokenSets.get('second')?.accessToken);
  expect(await store.read(before.session.id)).toEqual({ kind: 'miss' });
  expect(await scene.elsewhere.people.list(user)).toHaveLength(1);
});

test('S-014 whoever signs in there as somebody else is refused, and keeps the session that was', async () => {
  const scene = await prepare();
  const old = cookieOf(scene.browser);
  scene.stage.second.person = { sub: 'eve', name: 'Eve', email: 'ada@example.com' };
  const answer = await askAgain(scene);
  expect(await outcome(scene.browser, scene.stage, answer)).toEqual([
    403,
    'login_person_mismatch',
    'signed in',
  ]);
  expect(cookieOf(scene.browser)).toBe(old);
});

test('an answer for another session of the browser is refused', async () => {
  const scene = await prepare();
  const { browser, stage } = scene;
  const callback = await authorize(await begin(browser, stage, '?provider=second'));
  await attempt(browser, stage);
  const session = cookieOf(browser);
  const answer = await browser.get(callback.href);
  expect(await outcome(browser, stage, answer)).toEqual([400, 'login_expired', 'signed in']);
  expect(cookieOf(browser)).toBe(session);
});

test('without a session all providers are asked; one that the login does not know is not found', async () => {
  const { stage, browser } = await prepare();
  const address = await begin(newBrowser(), stage, '?provider=second');
  expect(address.origin).toBe(stage.first.issuer);
  expect((await browser.get(`${stage.publicUrl}/auth/login?provider=third`)).status).toBe(404);
});

test.each<keyof SessionStore>(['lock', 'indexAdd', 'create', 'destroy', 'renewLock'])(
  'S-053 a logout meanwhile, just before %s, wins: both sessions are over',
  async (verb) => {
    const scene = await prepare();
    const { browser, elsewhere, stage, store } = scene;
    const old = cookieOf(browser);
    const { session } = await look(scene, old);
    const ids = new Set([session.id]);
    const logOut = async (): Promise<void> => {
      for (const { member } of await listed()) ids.add(member);
      // With the lock's last check it comes too late for the old ticket, yet in time to end everything.
      if (verb === 'renewLock') await elsewhere.people.endAll(session.user);
      else expect(await elsewhere.sessions.destroy(old)).toBe(true);
    };
    const listed = () => store.indexList(userIndex(session.user));
    const address = await begin(browser, stage, '?provider=second');
    const callback = await authorize(address);
    scene.before[verb] = logOut;
    const answer = await browser.get(callback.href);
    if (verb !== 'renewLock') expect(answer.json()).toMatchObject({ code: 'login_expired' });
    expect((await browser.get(`${stage.publicUrl}/auth/session`)).status).toBe(401);
    for (const { member } of await listed()) ids.add(member);
    for (const id of ids) expect(await store.read(id)).toEqual({ kind: 'miss' });
  },
);

test('S-014 a refresh of the other provider meanwhile loses nothing', async () => {
  const scene = await prepare();
  const { browser, elsewhere, stage } = scene;
  let refreshes = 0;
  let sent = '';
  stage.first.behaviour.answer = {
    token: (response) => {
      refreshes += 1;
      sent = stage.first.requests.at(-1)?.parameters.get('refresh_token') ?? '';
      const tokens = { access_token: `access ${refreshes}`, refresh_token: `refresh ${refreshes}` };
      setTimeout(() => answerJson(response, { ...tokens, token_type: 'Bearer', expires_in: 600 }), 300);
    },
  };
  const callback = await authorize(await begin(browser, stage, '?provider=second'));
  scene.aheadMs += 3_600_000 - 5000;
  const refreshing = elsewhere.sessions.accessToken(await look(scene, cookieOf(browser)), 'first');
  expect(await refreshing).toMatchObject({ kind: 'token' });
  await expect.poll(() => refreshes).toBe(1);
  expect((await browser.get(callback.href)).status).toBe(303);
  const after = await look(scene, cookieOf(browser));
  expect(after.session.tokenSets.get('first')).toMatchObject({
    accessToken: 'access 1',
    refreshToken: 'refresh 1',
  });
  scene.aheadMs += 600_000;
  expect(await elsewhere.sessions.accessToken(after, 'first')).toEqual({
    kind: 'token',
    accessToken: 'access 2',
  });
  expect(sent).toBe('refresh 1');
});

test('a token that may have been used does not move along', async () => {
  const scene = await prepare();
  const { browser, elsewhere, stage } = scene;
  stage.first.behaviour.answer = { token: (response) => response.destroy() };
  scene.aheadMs += 3_600_000 - 5000;
  const { session } = await look(scene, cookieOf(browser));
  await elsewhere.sessions.accessToken(await look(scene, cookieOf(browser)), 'first');
  await expect
    .poll(async () => (await look(scene, cookieOf(browser))).session.tokenSets.get('first'))
    .toMatchObject({ refreshFailures: 1 });
  expect((await askAgain(scene)).status).toBe(303);
  const first = (await look(scene, cookieOf(browser))).session.tokenSets.get('first');
  expect(first?.accessToken).toBe(session.tokenSets.get('first')?.accessToken);
  expect(first).not.toHaveProperty('refreshToken');
});
