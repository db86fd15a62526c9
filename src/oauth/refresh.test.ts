import type { ServerResponse } from 'node:http';
import { Writable } from 'node:stream';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { input } from '../../test/config-input.ts';
import { answerJson, type FakeProvider, type Json, startFakeProvider } from '../../test/fake-provider.ts';
import { parseConfig } from '../config.ts';
import { CoatcheckError } from '../errors.ts';
import { createMemoryStore } from '../session/memory-store.ts';
import { createKeyring } from '../session/seal.ts';
import type { TokenSet } from '../session/session.ts';
import { sealRecord } from '../session/session-record.ts';
import type { SessionStore } from '../session/store.ts';
import { SessionManager, type SignedIn } from '../session-manager.ts';
import { createTelemetry } from '../telemetry.ts';
import { refreshLock } from './lease.ts';
import { createProvider } from './provider.ts';

const minute = 60_000;
const hour = 60 * minute;
const day = 24 * hour;
const keyring = createKeyring([{ id: 'k1', secret: Buffer.alloc(32, 7) }]);

let nowMs: number;
let fake: FakeProvider;
let store: SessionStore;
let lines: string[];

beforeEach(async () => {
  nowMs = Date.now();
  lines = [];
  store = createMemoryStore({ now: () => nowMs });
  fake = await startFakeProvider();
});
afterEach(() => fake.close());

/** One replica. */
function replica(settings: Json = {}, over: Partial<SessionStore> = {}): SessionManager {
  const telemetry = createTelemetry({
    level: 'debug',
    destination: new Writable({
      write(chunk: Buffer, _encoding, done) {
        lines.push(chunk.toString());
        done();
      },
    }),
  });
  const written = { identity: fake.config({ timeout: '300ms', ...settings }) };
  const config = parseConfig(input({ publicUrl: 'http://localhost:1', providers: written }), process.env);
  const identity = config.providers.identity;
  if (identity === undefined) throw new TypeError('no provider');
  const provider = createProvider({
    name: 'identity',
    config: identity,
    redirectUri: 'http://localhost:1/auth/callback/identity',
    telemetry,
    lifetimeIfUntoldMs: 12 * hour,
    now: () => nowMs,
  });
  return new SessionManager({
    store: { ...verbs(store), ...over },
    keyring,
    telemetry,
    providers: new Map([['identity', provider]]),
    idleTimeoutMs: hour,
    absoluteTimeoutMs: 12 * hour,
    now: () => nowMs,
  });
}

/** The same store, so that a test can stand between two of its verbs. */
function verbs(base: SessionStore): SessionStore {
  const names = [
    'read',
    'create',
    'replace',
    'extend',
    'destroy',
    'lock',
    'renewLock',
    'unlock',
    'indexAdd',
  ] as const;
  return Object.fromEntries(names.map((name) => [name, base[name].bind(base)])) as unknown as SessionStore;
}

const seconds = (): number => Math.floor(Date.now() / 1000);
const idClaims = (): Json => ({
  iss: fake.issuer,
  aud: 'apps',
  sub: 'ada',
  iat: seconds(),
  exp: seconds() + 300,
  auth_time: 1_000_000,
  nonce: 'the first nonce',
});

async function tokens(rest: Partial<TokenSet> = {}): Promise<TokenSet> {
  return {
    issuer: fake.issuer,
    subject: 'ada',
    scope: 'openid email',
    accessToken: 'canary-access-1',
    accessTokenExpiresAtMs: nowMs + 15 * minute,
    obtainedAtMs: nowMs,
    refreshToken: 'canary-refresh-1',
    idToken: await fake.sign(idClaims()),
    ...rest,
  };
}

const user = { issuer: 'https://identity.example.com', subject: 'ada', claims: new Map() };
const other: TokenSet = {
  issuer: 'https://notebook.example.com',
  subject: 'ada',
  scope: '',
  accessToken: 'canary-notebook',
  accessTokenExpiresAtMs: Number.MAX_SAFE_INTEGER,
};

async function signIn(sessions: SessionManager, rest: Partial<TokenSet> = {}): Promise<SignedIn> {
  return sessions.create({
    user,
    tokenSets: new Map([
      ['identity', await tokens(rest)],
      ['notebook', other],
    ]),
  });
}

async function reload(sessions: SessionManager, { ticket }: SignedIn): Promise<SignedIn> {
  const loaded = await sessions.load(ticket.value);
  if (loaded.kind !== 'session') throw new TypeError('no session');
  return loaded;
}

/** What the store has for the provider now. */
const stored = async (signedIn: SignedIn): Promise<TokenSet | undefined> =>
  (await reload(replica(), signedIn)).session.tokenSets.get('identity');

function answerWith(answer: (response: ServerResponse, attempt: number) => unknown): void {
  fake.behaviour = { answer: { token: (response) => answer(response, fake.count('token')) } };
}

const granted = (more: Json = {}): Json => ({
  access_token: 'canary-access-2',
  token_type: 'Bearer',
  expires_in: 900,
  refresh_token: 'canary-refresh-2',
  ...more,
});

const asked = { kind: 'needs-login', provider: 'identity' } as const;

describe('what a provider answers', () => {
  test('S-060 new tokens take the place of the old ones together', async () => {
    const sessions = replica();
    const signedIn = await signIn(sessions);
    answerWith((response) => answerJson(response, granted({ scope: 'openid' })));
    nowMs += 15 * minute;
    expect(await sessions.accessToken(signedIn, 'identity')).toEqual({
      kind: 'token',
      accessToken: 'canary-access-2',
    });
    expect(await stored(signedIn)).toMatchObject({
      accessToken: 'canary-access-2',
      refreshToken: 'canary-refresh-2',
      scope: 'openid',
      obtainedAtMs: nowMs,
      accessTokenExpiresAtMs: nowMs + 15 * minute,
    });
    expect(Object.fromEntries(fake.requests.at(-1)?.parameters ?? [])).toMatchObject({
      grant_type: 'refresh_token',
      refresh_token: 'canary-refresh-1',
    });
    expect((await reload(sessions, signedIn)).session.tokenSets.get('notebook')).toEqual(other);
    expect(lines.join('')).toContain('token.refreshed');
    expect(lines.join('')).not.toContain('canary');
  });

  test('S-034 what it leaves out stays as it was, or gets the configured life; nothing lasts for ever', async () => {
    for (const [settings, lifeMs] of [
      [{}, 12 * hour],
      [{ accessTokenLifetime: '10m' }, 10 * minute],
    ] as const) {
      const sessions = replica(settings);
      const signedIn = await signIn(sessions);
      answerWith((response) =>
        answerJson(response, { access_token: 'canary-access-2', token_type: 'bearer' }),
      );
      nowMs += 15 * minute;
      expect(await sessions.accessToken(signedIn, 'identity')).toMatchObject({ kind: 'token' });
      expect(await stored(signedIn)).toMatchObject({
        scope: 'openid email',
        refreshToken: 'canary-refresh-1',
        accessTokenExpiresAtMs: nowMs + lifeMs,
      });
    }
  });

  test.each<
    [what: string, { settings?: Json; answer?: Json; endsAfterMs: (sinceSignInMs: number) => number }]
  >([
    ['its own word', { answer: { refresh_token_expires_in: 1800 }, endsAfterMs: () => 30 * minute }],
    [
      'its word in the other spelling',
      { answer: { refresh_expires_in: '600' }, endsAfterMs: () => 10 * minute },
    ],
    ['a time without use', { settings: { refreshTokenIdleTimeout: '30d' }, endsAfterMs: () => 30 * day }],
    [
      'a time from sign-in on',
      { settings: { refreshTokenLifetime: '2h' }, endsAfterMs: (since) => 2 * hour - since },
    ],
    [
      'the earliest of all',
      { settings: { refreshTokenLifetime: '8h', refreshTokenIdleTimeout: '1h' }, endsAfterMs: () => hour },
    ],
  ])('S-056 a refresh token ends by %s', async (_, { settings, answer, endsAfterMs }) => {
    const sessions = replica(settings);
    const signedInAtMs = nowMs;
    const signedIn = await signIn(sessions, { authorizedAtMs: nowMs });
    answerWith((response) => answerJson(response, granted(answer)));
    nowMs += 20 * minute;
    await sessions.accessToken(signedIn, 'identity');
    const ends = nowMs + endsAfterMs(nowMs - signedInAtMs);
    expect(await stored(signedIn)).toMatchObject({ refreshTokenExpiresAtMs: ends });
  });

  test('S-056 a refresh token that has ended is not tried', async () => {
    const sessions = replica();
    const signedIn = await signIn(sessions, { refreshTokenExpiresAtMs: nowMs + 20 * minute });
    nowMs += 20 * minute;
    expect(await sessions.accessToken(signedIn, 'identity')).toEqual(asked);
    expect(sessions.providerState(signedIn.session, 'identity')).toBe('needs-login');
    expect(fake.count('token')).toBe(0);
  });

  test.each<[what: string, claims: Json]>([
    ['is of the same sign-in', {}],
    ['has no nonce', { nonce: undefined }],
    ['has no auth_time', { auth_time: undefined }],
  ])('S-031 an ID token that %s is accepted', async (_, claims) => {
    const sessions = replica();
    const signedIn = await signIn(sessions);
    const idToken = await fake.sign({ ...idClaims(), ...claims });
    answerWith((response) => answerJson(response, granted({ id_token: idToken })));
    nowMs += 15 * minute;
    expect(await sessions.accessToken(signedIn, 'identity')).toMatchObject({
      accessToken: 'canary-access-2',
    });
    expect(await stored(signedIn)).toMatchObject({ idToken });
  });

  test.each<[claim: string, claims: Json]>([
    ['iss', { iss: 'https://elsewhere.example.com' }],
    ['sub', { sub: 'eve' }],
    ['aud', { aud: 'another-app' }],
    ['azp', { azp: 'apps' }],
    ['auth_time', { auth_time: 2_000_000 }],
    ['nonce', { nonce: 'another nonce' }],
  ])(
    'S-031 an ID token with another %s ends the authorization, and nothing of the answer is kept',
    async (_, claims) => {
      const sessions = replica();
      const signedIn = await signIn(sessions);
      const idToken = await fake.sign({ ...idClaims(), ...claims });
      answerWith((response) => answerJson(response, granted({ id_token: idToken })));
      nowMs += 15 * minute;
      expect(await sessions.accessToken(signedIn, 'identity')).toEqual(asked);
      const after = await stored(signedIn);
      expect(after).toMatchObject({ accessToken: 'canary-access-1' });
      expect(after).not.toHaveProperty('refreshToken');
      expect(await sessions.accessToken(signedIn, 'identity')).toEqual(asked);
      expect(fake.count('token')).toBe(1);
    },
  );

  test.each(['invalid_grant', 'interaction_required', 'login_required'])(
    'S-056 S-071 %s ends the authorization: the token is used up, then the person is asked; the other provider is not',
    async (error) => {
      const sessions = replica();
      const signedIn = await signIn(sessions);
      answerWith((response) => answerJson(response, { error }, 400));
      nowMs += 14 * minute + 45_000;
      // Early: the access token lasts a quarter of a minute yet.
      expect(await sessions.accessToken(signedIn, 'identity')).toEqual({
        kind: 'token',
        accessToken: 'canary-access-1',
      });
      await expect.poll(() => stored(signedIn)).not.toHaveProperty('refreshToken');
      const later = await reload(sessions, signedIn);
      expect(sessions.providerState(later.session, 'identity')).toBe('ok');
      nowMs += 15_000;
      expect(await sessions.accessToken(later, 'identity')).toEqual(asked);
      expect(sessions.providerState(later.session, 'identity')).toBe('needs-login');
      expect(await sessions.accessToken(later, 'notebook')).toMatchObject({ kind: 'token' });
      expect(fake.count('token')).toBe(1);
      expect(lines.join('')).toContain('token.refused');
    },
  );

  type Answer = (response: ServerResponse) => unknown;
  const ours = { least: 60, most: 60, event: 'token.misconfigured' };
  test.each<[what: string, answer: Answer, wait?: { least: number; most: number; event?: string }]>([
    ['500', (response) => response.writeHead(500).end()],
    [
      '503 with Retry-After',
      (response) => response.writeHead(503, { 'retry-after': '7' }).end(),
      { least: 7, most: 7 },
    ],
    [
      '429 with Retry-After',
      (response) => response.writeHead(429, { 'retry-after': '900' }).end(),
      { least: 300, most: 300 },
    ],
    ['nothing in time', () => undefined],
    ['a broken connection', (response) => response.destroy()],
    ['a page of HTML', (response) => response.end('<html></html>')],
    ['server_error with 400', (response) => answerJson(response, { error: 'server_error' }, 400)],
    ['invalid_client', (response) => answerJson(response, { error: 'invalid_client' }, 401), ours],
    ['unauthorized_client', (response) => answerJson(response, { error: 'unauthorized_client' }, 400), ours],
    ['a challenge', (response) => response.writeHead(401, { 'www-authenticate': 'Basic' }).end(), ours],
  ])(
    'S-071 %s ends nothing; nobody asks again for a while',
    async (_, answer, { least, most, event = 'token.refresh_failed' } = { least: 1, most: 2 }) => {
      const sessions = replica();
      const signedIn = await signIn(sessions);
      answerWith(answer);
      nowMs += 15 * minute;
      const fault = await sessions.accessToken(signedIn, 'identity').catch((error: unknown) => error);
      expect(fault).toMatchObject({ code: 'provider_unavailable' });
      const after = await stored(signedIn);
      expect(after).toMatchObject({ refreshToken: 'canary-refresh-1', refreshFailures: 1 });
      const waitSeconds = ((after?.refreshNotBeforeMs ?? 0) - nowMs) / 1000;
      expect(waitSeconds >= least && waitSeconds <= most, `${waitSeconds} s`).toBe(true);
      for (const any of [sessions, replica()]) {
        const later = await reload(any, signedIn);
        expect(any.providerState(later.session, 'identity')).toBe('unavailable');
        await expect(any.accessToken(later, 'identity')).rejects.toMatchObject({
          code: 'provider_unavailable',
        });
      }
      expect(fake.count('token')).toBe(1);
      expect(lines.join('')).toContain(event);

      nowMs = after?.refreshNotBeforeMs ?? 0;
      answerWith((response) => answerJson(response, granted()));
      const last = await reload(sessions, signedIn);
      expect(await sessions.accessToken(last, 'identity')).toMatchObject({ accessToken: 'canary-access-2' });
      expect(await stored(signedIn)).not.toHaveProperty('refreshFailures');
    },
  );

  test('S-071 the wait grows with each failure, up to a minute', async () => {
    const sessions = replica();
    const signedIn = await signIn(sessions);
    answerWith((response) => response.writeHead(500).end());
    nowMs += 15 * minute;
    for (let failure = 1; failure <= 8; failure += 1) {
      const loaded = await reload(sessions, signedIn);
      await expect(sessions.accessToken(loaded, 'identity')).rejects.toMatchObject({
        code: 'provider_unavailable',
      });
      const { refreshNotBeforeMs = 0, refreshFailures } = (await stored(signedIn)) ?? {};
      expect(refreshFailures).toBe(failure);
      expect(refreshNotBeforeMs - nowMs).toBeLessThanOrEqual(Math.min(1000 * 2 ** failure, minute));
      nowMs = refreshNotBeforeMs;
    }
  });
});

describe('what others do meanwhile', () => {
  /** Writes another token set of a provider, as somebody else would. */
  const write = async ({ ticket }: SignedIn, provider: string, next: TokenSet): Promise<void> => {
    const loaded = await reload(replica(), { ticket } as SignedIn);
    const tokenSets = new Map(loaded.session.tokenSets).set(provider, next);
    const record = sealRecord({ ...loaded.session, tokenSets }, ticket, keyring);
    expect(await store.replace(ticket.sessionId, loaded.session.generation, record)).toMatchObject({
      kind: 'replaced',
    });
  };

  test('a new token of the other provider is not lost', async () => {
    const sessions = replica();
    const signedIn = await signIn(sessions);
    answerWith(async (response) => {
      await write(signedIn, 'notebook', { ...other, accessToken: 'canary-notebook-2' });
      answerJson(response, granted());
    });
    nowMs += 15 * minute;
    expect(await sessions.accessToken(signedIn, 'identity')).toMatchObject({
      accessToken: 'canary-access-2',
    });
    const { session } = await reload(sessions, signedIn);
    expect([...session.tokenSets.values()].map(({ accessToken }) => accessToken)).toEqual([
      'canary-access-2',
      'canary-notebook-2',
    ]);
  });

  test('S-062 who was slow does not overwrite newer tokens', async () => {
    const sessions = replica();
    const signedIn = await signIn(sessions);
    const newer = await tokens({
      accessToken: 'canary-newer',
      accessTokenExpiresAtMs: nowMs + hour,
      refreshToken: 'n',
    });
    answerWith(async (response) => {
      await write(signedIn, 'identity', newer);
      answerJson(response, granted());
    });
    nowMs += 15 * minute;
    expect(await sessions.accessToken(signedIn, 'identity')).toEqual({
      kind: 'token',
      accessToken: 'canary-newer',
    });
    expect(await stored(signedIn)).toEqual(newer);
    expect(lines.join('')).toContain('token.discarded');
  });

  test('S-071 that a refresh has failed is noted beside a new token of the other provider', async () => {
    const sessions = replica();
    const signedIn = await signIn(sessions);
    answerWith(async (response) => {
      await write(signedIn, 'notebook', { ...other, accessToken: 'canary-notebook-2' });
      response.writeHead(503).end();
    });
    nowMs += 15 * minute;
    await expect(sessions.accessToken(signedIn, 'identity')).rejects.toThrow();
    expect(await stored(signedIn)).toMatchObject({ refreshFailures: 1 });
  });

  test('a refresh token that another has given up is not put back by a failure', async () => {
    const sessions = replica();
    const signedIn = await signIn(sessions);
    answerWith(async (response) => {
      const { refreshToken, ...rest } = await tokens();
      await write(signedIn, 'identity', rest);
      response.writeHead(503).end();
    });
    nowMs += 14 * minute + 45_000;
    await sessions.accessToken(signedIn, 'identity');
    await sessions.close();
    const after = await stored(signedIn);
    expect(after).not.toHaveProperty('refreshToken');
    expect(after).not.toHaveProperty('refreshFailures');
  });

  test('S-053 a session that has ended is not written again', async () => {
    const sessions = replica();
    const signedIn = await signIn(sessions);
    answerWith(async (response) => {
      await store.destroy(signedIn.session.id);
      answerJson(response, granted());
    });
    nowMs += 15 * minute;
    expect(await sessions.accessToken(signedIn, 'identity')).toEqual({ kind: 'ended' });
    expect(await store.read(signedIn.session.id)).toEqual({ kind: 'miss' });
  });
});

describe('S-061 what is lost on the way', () => {
  const away = async (): Promise<never> => {
    throw new CoatcheckError('store_unavailable');
  };

  test('new tokens are stored as soon as the store is back', async () => {
    let faults = 3;
    const sessions = replica(
      {},
      { replace: (...values) => (faults-- > 0 ? away() : store.replace(...values)) },
    );
    const signedIn = await signIn(sessions);
    answerWith((response) => answerJson(response, granted()));
    nowMs += 15 * minute;
    expect(await sessions.accessToken(signedIn, 'identity')).toMatchObject({
      accessToken: 'canary-access-2',
    });
    expect(await stored(signedIn)).toMatchObject({ refreshToken: 'canary-refresh-2' });
  });

  test('a write whose answer was lost is not written twice', async () => {
    let faults = 1;
    const sessions = replica(
      {},
      {
        async replace(...values) {
          const result = await store.replace(...values);
          return faults-- > 0 ? away() : result;
        },
      },
    );
    const signedIn = await signIn(sessions);
    answerWith((response) => answerJson(response, granted()));
    nowMs += 15 * minute;
    expect(await sessions.accessToken(signedIn, 'identity')).toMatchObject({
      accessToken: 'canary-access-2',
    });
    expect((await reload(sessions, signedIn)).session.generation).toBe(2);
    expect(fake.count('token')).toBe(1);
  });

  const lockOf = ({ ticket }: SignedIn): string => refreshLock(ticket, 'identity', 'canary-refresh-1');
  /** Somebody who takes the lock, begins where that is told, and is never heard of again. */
  const vanish = async (signedIn: SignedIn, owner: string, hasBegun = true): Promise<void> => {
    await store.lock(lockOf(signedIn), owner, 1000);
    if (hasBegun) await store.renewLock(lockOf(signedIn), owner, { ttlMs: 1000, begunForMs: 12 * hour });
    nowMs += 1000;
  };

  test('a refresh token that two holders of the lock may have used is not sent again', async () => {
    const sessions = replica();
    const signedIn = await signIn(sessions);
    answerWith((response) => answerJson(response, granted()));
    await vanish(signedIn, 'first');
    // Longer than anybody would wait, and in the same session.
    nowMs += 20 * minute;
    await vanish(signedIn, 'second');
    expect(await sessions.accessToken(signedIn, 'identity')).toEqual(asked);
    expect(fake.count('token')).toBe(0);
    expect(await stored(signedIn)).not.toHaveProperty('refreshToken');
  });

  test('one lost holder is forgiven', async () => {
    const sessions = replica();
    const signedIn = await signIn(sessions);
    answerWith((response) => answerJson(response, granted()));
    nowMs += 15 * minute;
    await vanish(signedIn, 'lost');
    expect(await sessions.accessToken(signedIn, 'identity')).toMatchObject({
      accessToken: 'canary-access-2',
    });
  });

  test('those who are lost before they have sent anything do not count', async () => {
    const sessions = replica();
    const signedIn = await signIn(sessions);
    answerWith((response) => answerJson(response, granted()));
    nowMs += 15 * minute;
    for (const owner of ['first', 'second', 'third']) await vanish(signedIn, owner, false);
    expect(await sessions.accessToken(signedIn, 'identity')).toMatchObject({
      accessToken: 'canary-access-2',
    });
  });

  test('a new refresh token begins without a burden, also where the last lock was never given back', async () => {
    const sessions = replica({}, { unlock: away });
    const signedIn = await signIn(sessions);
    for (let round = 2; round < 6; round += 1) {
      const next = { access_token: `canary-access-${round}`, refresh_token: `canary-refresh-${round}` };
      answerWith((response) => answerJson(response, granted(next)));
      nowMs += 15 * minute;
      const loaded = await reload(sessions, signedIn);
      expect(await sessions.accessToken(loaded, 'identity')).toMatchObject({
        accessToken: `canary-access-${round}`,
      });
    }
  });

  test('a refresh token that has been seen to work twice is not given up', async () => {
    const sessions = replica();
    const signedIn = await signIn(sessions);
    answerWith((response) => answerJson(response, granted({ refresh_token: 'canary-refresh-1' })));
    nowMs += 15 * minute;
    await sessions.accessToken(signedIn, 'identity');
    answerWith((response) => answerJson(response, granted({ access_token: 'canary-access-3' })));
    nowMs += 15 * minute;
    for (const owner of ['first', 'second']) await vanish(signedIn, owner);
    const loaded = await reload(sessions, signedIn);
    expect(await sessions.accessToken(loaded, 'identity')).toMatchObject({ accessToken: 'canary-access-3' });
    expect(await stored(signedIn)).not.toHaveProperty('refreshTokenReusable');
  });

  test('who holds an old session takes what is new, and leaves no lock', async () => {
    const sessions = replica();
    const signedIn = await signIn(sessions);
    answerWith((response) => answerJson(response, granted()));
    nowMs += 15 * minute;
    await sessions.accessToken(signedIn, 'identity');
    const { session } = signedIn;
    expect(await replica().accessToken({ ...signedIn, session }, 'identity')).toMatchObject({
      accessToken: 'canary-access-2',
    });
    // The new token has ended as well: it is refreshed under its own lock.
    answerWith((response) => answerJson(response, granted({ access_token: 'canary-access-3' })));
    nowMs += 15 * minute;
    expect(await replica().accessToken({ ...signedIn, session }, 'identity')).toMatchObject({
      accessToken: 'canary-access-3',
    });
    expect(fake.requests.at(-1)?.parameters.get('refresh_token')).toBe('canary-refresh-2');
    expect(await store.lock(lockOf(signedIn), 'next', 1)).toEqual({ kind: 'taken', unfinished: 0 });
  });

  type Answer = (response: ServerResponse) => unknown;
  const status =
    (code: number): Answer =>
    (response) =>
      response.writeHead(code).end();
  const error =
    (code: string): Answer =>
    (response) =>
      answerJson(response, { error: code }, 400);
  test.each<[what: string, answer: Answer | 'away', isCounted: boolean]>([
    ['429', status(429), false],
    ['503', status(503), false],
    ['nobody listening', 'away', false],
    ['403 without a word', status(403), false],
    ['temporarily_unavailable', error('temporarily_unavailable'), false],
    ['invalid_client', error('invalid_client'), false],
    ['invalid_scope', error('invalid_scope'), false],
    ['500', status(500), false],
    ['502', status(502), false],
    ['504', status(504), true],
    ['server_error', error('server_error'), false],
    ['nothing in time', () => undefined, true],
    ['a broken connection', (response) => response.destroy(), true],
    ['a page of HTML', (response) => response.end('<html></html>'), true],
    ['an unreadable ID token', (response) => answerJson(response, granted({ id_token: 'e30.e30.' })), true],
  ])(
    'after %s it is tried again; whether the third time, depends on what may have happened',
    async (_, answer, isCounted) => {
      const sessions = replica();
      const signedIn = await signIn(sessions);
      // So that the metadata are known.
      nowMs += 15 * minute;
      if (answer === 'away') {
        answerWith(status(503));
        await expect(sessions.accessToken(signedIn, 'identity')).rejects.toThrow();
        await fake.close();
      } else answerWith(answer);
      for (let attempt = 0; attempt < 2; attempt += 1) {
        nowMs += 6 * minute;
        const loaded = await reload(sessions, signedIn);
        await expect(sessions.accessToken(loaded, 'identity')).rejects.toMatchObject({
          code: 'provider_unavailable',
        });
      }
      const sent = fake.count('token');
      nowMs += 6 * minute;
      const last = await reload(sessions, signedIn);
      const result = await sessions.accessToken(last, 'identity').catch(() => 'unavailable');
      expect(result).toEqual(isCounted ? asked : 'unavailable');
      if (answer !== 'away') expect(fake.count('token') - sent).toBe(isCounted ? 0 : 1);
    },
  );

  test('a lost answer to the write, and a conflict: what is there is our own', async () => {
    let faults = 1;
    const sessions = replica(
      {},
      {
        async replace(...values) {
          const result = await store.replace(...values);
          if (faults-- <= 0) return result;
          const { ticket } = signedIn;
          const loaded = await reload(replica(), signedIn);
          const newer = { ...other, accessToken: 'canary-notebook-2' };
          const tokenSets = new Map(loaded.session.tokenSets).set('notebook', newer);
          const record = sealRecord({ ...loaded.session, tokenSets }, ticket, keyring);
          await store.replace(ticket.sessionId, loaded.session.generation, record);
          return away();
        },
      },
    );
    const signedIn = await signIn(sessions);
    answerWith((response) => answerJson(response, granted()));
    nowMs += 15 * minute;
    expect(await sessions.accessToken(signedIn, 'identity')).toMatchObject({
      accessToken: 'canary-access-2',
    });
    expect(lines.join('')).toContain('token.refreshed');
    expect(lines.join('')).not.toContain('token.discarded');
    expect((await reload(sessions, signedIn)).session.generation).toBe(3);
  });
});

test('who waits for another replica adopts its result', async () => {
  const [first, second] = [replica({ timeout: '5s' }), replica({ timeout: '5s' })];
  const signedIn = await signIn(first);
  answerWith((response) => setTimeout(() => answerJson(response, granted()), 200));
  nowMs += 15 * minute;
  const answers = await Promise.all(
    [first, second, first, second].map((sessions) => sessions.accessToken(signedIn, 'identity')),
  );
  expect(new Set(answers.map((answer) => answer.kind === 'token' && answer.accessToken))).toEqual(
    new Set(['canary-access-2']),
  );
  expect(fake.count('token')).toBe(1);
});

test('closing waits for what is under way and begins nothing new', async () => {
  const sessions = replica({ timeout: '5s' });
  const signedIn = await signIn(sessions);
  answerWith((response) => setTimeout(() => answerJson(response, granted()), 200));
  nowMs += 15 * minute;
  const answer = sessions.accessToken(signedIn, 'identity');
  await sessions.close();
  expect(await stored(signedIn)).toMatchObject({ refreshToken: 'canary-refresh-2' });
  expect(await answer).toMatchObject({ kind: 'token' });
  nowMs += 15 * minute;
  const later = await reload(sessions, signedIn);
  await expect(sessions.accessToken(later, 'identity')).rejects.toMatchObject({ code: 'draining' });
});
