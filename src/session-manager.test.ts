import { randomBytes } from 'node:crypto';
import { Writable } from 'node:stream';
import { beforeEach, describe, expect, test } from 'vitest';
import { CoatcheckError } from './errors.ts';
import { createMemoryStore } from './session/memory-store.ts';
import { observeStore } from './session/observed-store.ts';
import { createKeyring } from './session/seal.ts';
import { type TokenSet, type User, userIndex } from './session/session.ts';
import type { SessionStore } from './session/store.ts';
import { issueTicket, readTicket } from './session/ticket.ts';
import { SessionManager } from './session-manager.ts';
import { createTelemetry } from './telemetry.ts';

const minute = 60_000;
const hour = 60 * minute;
const idleTimeoutMs = hour;
const absoluteTimeoutMs = 12 * hour;

let nowMs = 0;
let store: SessionStore;
let lines: string[];
/** Two replicas on one store. */
let sessions: SessionManager;
let elsewhere: SessionManager;

const user: User = {
  issuer: 'https://identity.example.com',
  subject: 'ada',
  claims: new Map([['name', 'Ada Lovelace']]),
};

const tokens = (rest: Partial<TokenSet> = {}): TokenSet => ({
  issuer: user.issuer,
  subject: 'ada',
  scope: 'openid',
  accessToken: 'canary-access-token',
  refreshToken: 'canary-refresh-token',
  accessTokenExpiresAtMs: nowMs + 15 * minute,
  ...rest,
});

const signIn = async (rest: Partial<TokenSet> = {}): Promise<string> => {
  const { ticket } = await sessions.create({ user, tokenSets: new Map([['identity', tokens(rest)]]) });
  return ticket.value;
};

const manager = (over: Partial<SessionStore> = {}): SessionManager => {
  const keyring = createKeyring([{ id: 'k1', secret: Buffer.alloc(32, 7) }]);
  const destination = new Writable({
    write(chunk: Buffer, _encoding, done) {
      lines.push(chunk.toString());
      done();
    },
  });
  const telemetry = createTelemetry({ level: 'debug', destination });
  const options = { keyring, telemetry, idleTimeoutMs, absoluteTimeoutMs, now: () => nowMs };
  return new SessionManager({ ...options, store: overlay(store, over) });
};

/** The same store with some verbs replaced, so that a test can stand between two of them. */
function overlay(base: SessionStore, over: Partial<SessionStore>): SessionStore {
  return { ...observeStore(base, () => undefined), ...over };
}

beforeEach(() => {
  nowMs = Date.UTC(2026, 0, 1);
  lines = [];
  store = createMemoryStore({ now: () => nowMs });
  sessions = manager();
  elsewhere = manager();
});

describe('load', () => {
  test('finds on one replica what another has created', async () => {
    const cookie = await signIn();
    expect(await elsewhere.load(cookie)).toMatchObject({ kind: 'session', session: { user } });
  });

  test('S-046 a ticket that was never issued is no session, and nothing is written for it', async () => {
    const written: string[] = [];
    const note = (verb: string) => async (): Promise<never> => {
      written.push(verb);
      throw new Error('nothing should be written');
    };
    const watched = manager({ create: note('create'), extend: note('extend'), indexAdd: note('indexAdd') });
    expect(await watched.load(issueTicket().value)).toEqual({ kind: 'none', why: 'unknown' });
    expect(written).toEqual([]);
  });

  test('S-049 a session unused for the idle timeout has ended, on every replica', async () => {
    const cookie = await signIn();
    nowMs += idleTimeoutMs - 1;
    expect(await elsewhere.load(cookie)).toMatchObject({ kind: 'session' });
    nowMs += idleTimeoutMs + 1000;
    for (const replica of [sessions, elsewhere]) {
      expect(await replica.load(cookie)).toEqual({ kind: 'none', why: 'unknown' });
    }
  });

  test('S-049 use moves the idle deadline, and the next use counts from there', async () => {
    const cookie = await signIn();
    for (let use = 0; use < 5; use += 1) {
      nowMs += idleTimeoutMs - minute;
      const loaded = await (use % 2 ? sessions : elsewhere).load(cookie);
      expect(loaded).toMatchObject({ kind: 'session', session: { idleDeadlineMs: nowMs + idleTimeoutMs } });
    }
  });

  test('S-050 steady use carries no session past its absolute timeout', async () => {
    const cookie = await signIn();
    const end = nowMs + absoluteTimeoutMs;
    for (; nowMs < end; nowMs += 10 * minute) {
      const loaded = await sessions.load(cookie);
      expect(loaded).toMatchObject({ kind: 'session', session: { absoluteDeadlineMs: end } });
      expect(loaded.kind === 'session' && loaded.session.idleDeadlineMs <= end).toBe(true);
    }
    expect(await sessions.load(cookie)).toEqual({ kind: 'none', why: 'unknown' });
  });

  test('S-050 a session is kept no longer than its last token is of use', async () => {
    const { refreshToken: _none, ...unrefreshable } = tokens();
    const tokenSets = new Map([['identity', unrefreshable]]);
    const { ticket } = await sessions.create({ user, tokenSets });
    nowMs += 15 * minute;
    expect(await sessions.load(ticket.value)).toEqual({ kind: 'none', why: 'unknown' });
  });

  test('S-051 the deadline in the store holds also where the store has not dropped the record yet', async () => {
    const cookie = await signIn();
    const id = readTicket(cookie)?.sessionId ?? '';
    const stale = await store.read(id);
    nowMs += idleTimeoutMs;
    const extend: SessionStore['extend'] = async (_id, idleDeadlineMs) => ({ kind: 'fresh', idleDeadlineMs });
    const lagging = manager({ read: async () => stale, extend });
    expect(await lagging.load(cookie)).toEqual({ kind: 'none', why: 'unknown' });
  });

  test('a fault of the store is thrown, never answered as no session', async () => {
    const cookie = await signIn();
    const read = async (): Promise<never> => {
      throw new CoatcheckError('store_unavailable');
    };
    await expect(manager({ read }).load(cookie)).rejects.toMatchObject({ code: 'store_unavailable' });
  });

  test('a session that was read stays valid where it cannot be extended', async () => {
    const cookie = await signIn();
    nowMs += idleTimeoutMs / 2;
    const extend = async (): Promise<never> => {
      throw new CoatcheckError('store_unavailable');
    };
    expect(await manager({ extend }).load(cookie)).toMatchObject({ kind: 'session' });
    expect(lines.join('')).toContain('session.extend_failed');
  });
});

describe('destroy', () => {
  test('S-052 ends the session on every replica, and its entry in the index', async () => {
    const cookie = await signIn();
    expect(await store.indexList(userIndex(user))).toHaveLength(1);
    expect(await sessions.destroy(cookie)).toBe(true);
    expect(await elsewhere.load(cookie)).toEqual({ kind: 'none', why: 'unknown' });
    expect(await store.indexList(userIndex(user))).toEqual([]);
    expect(await sessions.destroy(cookie)).toBe(false);
  });

  test('S-051 a new sign-in ends the session before it; its cookie cannot be used again', async () => {
    const previousTicket = await signIn();
    const { ticket } = await sessions.create({
      user,
      tokenSets: new Map([['identity', tokens()]]),
      previousTicket,
    });
    expect(await elsewhere.load(previousTicket)).toEqual({ kind: 'none', why: 'unknown' });
    expect(await elsewhere.load(ticket.value)).toMatchObject({ kind: 'session' });
    expect((await store.indexList(userIndex(user))).map(({ member }) => member)).toEqual([ticket.sessionId]);
  });

  test('S-053 a session that ends between read and extension does not come back', async () => {
    const cookie = await signIn();
    const id = readTicket(cookie)?.sessionId ?? '';
    nowMs += idleTimeoutMs / 2;
    const extend: SessionStore['extend'] = async (...values) => {
      expect(await elsewhere.destroy(cookie)).toBe(true);
      return store.extend(...values);
    };
    expect(await manager({ extend }).load(cookie)).toEqual({ kind: 'none', why: 'unknown' });
    expect(await store.read(id)).toEqual({ kind: 'miss' });
  });
});

test('an access token is handed out until it ends; then its provider must be asked again', async () => {
  const loaded = await sessions.load(await signIn());
  if (loaded.kind !== 'session') throw new TypeError('no session');
  const token = { kind: 'token', accessToken: 'canary-access-token' };
  expect(await sessions.accessToken(loaded, 'identity')).toEqual(token);
  nowMs += 15 * minute;
  for (const provider of ['identity', 'notebook', '__proto__']) {
    expect(await sessions.accessToken(loaded, provider)).toEqual({ kind: 'needs-login', provider });
  }
});

test('of a session that cannot be verified just now nothing is refreshed: its token serves until it ends', async () => {
  const loaded = await sessions.load(await signIn());
  if (loaded.kind !== 'session') throw new TypeError('no session');
  const token = { kind: 'token', accessToken: 'canary-access-token' };
  expect(sessions.staleAccessToken(loaded.session, 'identity')).toEqual(token);
  nowMs += 15 * minute;
  // Once the store is back it can be refreshed, so nobody is sent to sign in.
  expect(() => sessions.staleAccessToken(loaded.session, 'identity')).toThrow(
    expect.objectContaining({ code: 'store_unavailable' }),
  );
  expect(sessions.staleAccessToken(loaded.session, 'notebook')).toMatchObject({ kind: 'needs-login' });
});

test('S-133 no line tells a token, a ticket or a plain session id', async () => {
  const cookie = await signIn();
  const ticket = readTicket(cookie);
  const other = new SessionManager({
    store,
    keyring: createKeyring([{ id: 'k2', secret: randomBytes(32) }]),
    telemetry: createTelemetry({
      destination: new Writable({ write: (chunk: Buffer, _e, done) => done(void lines.push(String(chunk))) }),
    }),
    idleTimeoutMs,
    absoluteTimeoutMs,
    now: () => nowMs,
  });
  expect(await other.load(cookie)).toEqual({ kind: 'none', why: 'unreadable' });
  await sessions.destroy(cookie);
  const log = lines.join('');
  for (const event of ['session.created', 'session.unreadable', 'session.destroyed'])
    expect(log).toContain(event);
  for (const secret of ['canary', cookie.slice(3), ticket?.sessionId ?? '', 'Lovelace']) {
    expect(log).not.toContain(secret);
  }
});
