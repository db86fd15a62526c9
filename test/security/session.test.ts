import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Coatcheck } from '../../src/coatcheck.ts';
import type { Gateway } from '../../src/gateway/server.ts';
import { issueTicket, readTicket } from '../../src/session/ticket.ts';
import { Person } from '../person.ts';
import { countCommands } from '../redis-server.ts';
import { startWorld, type World } from '../world.ts';
import { openRawStore, type RawStore } from './raw-store.ts';
import { createSideCoatcheck, mintCookie } from './side-gateway.ts';

const hour = 3_600_000;

let world: World;
let raw: RawStore;
let side: Coatcheck;
/** The clock of `later`, ahead of ours by this much. */
let aheadMs = 0;
let later: Gateway;

beforeAll(async () => {
  world = await startWorld();
  raw = await openRawStore(world.redis.url);
  side = await createSideCoatcheck(world);
  later = await world.startReplica({ now: () => Date.now() + aheadMs });
});
afterAll(async () => {
  raw.close();
  await side.close();
  await world.close();
});

const anyone = new Person();
const sessionWith = (cookie: string, base: string = world.publicUrl): ReturnType<Person['get']> =>
  anyone.get(`${base}/auth/session`, { headers: { cookie } });

const openPage = (path: string): ReturnType<Person['get']> =>
  anyone.get(world.publicUrl + path, { kind: 'navigation' });

function ticketOf(person: Person): string {
  return person.cookies('localhost').get('__Host-coatcheck') ?? '';
}

function keyOf(cookie: string): string {
  return `cc:s:{${readTicket(cookie.replace('__Host-coatcheck=', ''))?.sessionId}}`;
}

describe('what is no session', () => {
  test('S-046 an id that was never issued is not adopted: 401, and nothing in Redis', async () => {
    const before = await raw.keys();
    const { value } = issueTicket();
    expect((await sessionWith(`__Host-coatcheck=${value}`)).status).toBe(401);
    expect(await raw.keys()).toEqual(before);
  });

  test('S-047 a cookie that we cannot have issued gets 401, and Redis is not asked', async () => {
    const good = issueTicket().value;
    const garbage = [
      '*',
      'a:b',
      '{x}',
      '{x}:y',
      '__proto__',
      'constructor',
      'v1.',
      `v1.${'*'.repeat(43)}`,
      `${good}x`,
      `${good.slice(0, -1)}=`,
      `"${good}"`,
      `${good},${good}`,
      `%76${good.slice(1)}`,
      'x'.repeat(8000),
      Buffer.from([0xff, 0xfe, 0x80]).toString('latin1'),
      'cc:s:{AAAA}',
      `GET ${good}`,
      'eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZGEifQ.',
    ];
    const commands = await countCommands(world.redis.url, async () => {
      for (const value of garbage) {
        const answer = await sessionWith(`__Host-coatcheck=${value}`);
        expect(answer.status, value.slice(0, 60)).toBe(401);
      }
    });
    expect(commands).toEqual([]);
  });

  test('S-047 a cookie of a megabyte is refused by the parser, and the gateway lives on', async () => {
    const answer = await sessionWith(`__Host-coatcheck=${'x'.repeat(1_000_000)}`).catch(() => undefined);
    expect(answer?.status ?? 431).toBe(431);
    expect((await sessionWith('a=b')).status).toBe(401);
  });

  test('S-048 a ticket counts in the cookie only', async () => {
    const cookie = await mintCookie(side, 'ada');
    const ticket = cookie.replace('__Host-coatcheck=', '');
    expect((await sessionWith(cookie)).status).toBe(200);
    const url = `${world.publicUrl}/auth/session`;
    for (const query of ['sid', 'session', '__Host-coatcheck', 'ticket', 'access_token']) {
      expect((await anyone.get(`${url}?${query}=${ticket}`)).status, query).toBe(401);
    }
    const headers = ['authorization', 'x-session', 'x-coatcheck-session', '__host-coatcheck', 'cookie2'];
    for (const name of headers) {
      for (const value of [ticket, `Bearer ${ticket}`, cookie]) {
        expect((await anyone.get(url, { headers: { [name]: value } })).status, name).toBe(401);
      }
    }
  });
});

describe('the end of a session', () => {
  test('S-049 an hour without a request ends it on every replica, whatever the browser kept', async () => {
    const cookie = await mintCookie(side, 'ada');
    aheadMs = hour - 1000;
    expect((await sessionWith(cookie, later.address)).status).toBe(200);
    const other = await mintCookie(side, 'ada');
    aheadMs = hour + 1000;
    expect((await sessionWith(other, later.address)).status).toBe(401);
  });

  test('S-050 no write lets a key live beyond the absolute timeout', async () => {
    const person = await world.signIn('gregor');
    const cookie = `__Host-coatcheck=${ticketOf(person)}`;
    const end = Date.parse(
      (await sessionWith(cookie)).json<{ absoluteExpiresAt: string }>().absoluteExpiresAt,
    );
    for (let hours = 0.9; hours < 12; hours += 0.9) {
      aheadMs = hours * hour;
      const answer = await sessionWith(cookie, later.address);
      const told = answer.json<{ absoluteExpiresAt: string; idleExpiresAt: string }>();
      expect([answer.status, Date.parse(told.absoluteExpiresAt)]).toEqual([200, end]);
      expect(Date.parse(told.idleExpiresAt)).toBeLessThanOrEqual(end);
      expect(Date.now() + (await raw.ttlMs(keyOf(cookie)))).toBeLessThanOrEqual(end + 50);
    }
    aheadMs = 12 * hour + 1000;
    expect((await sessionWith(cookie, later.address)).status).toBe(401);
    aheadMs = 0;
  });

  test('S-051 S-052 after log-out the saved cookie is worth nothing anywhere, and the key is gone', async () => {
    const person = await world.signIn('lise');
    const cookie = `__Host-coatcheck=${ticketOf(person)}`;
    expect(await raw.keys(keyOf(cookie).replace(/[{}]/g, '?'))).toHaveLength(1);
    expect((await person.request('POST', `${world.publicUrl}/auth/logout`)).status).toBe(303);
    expect(await raw.keys(keyOf(cookie).replace(/[{}]/g, '?'))).toEqual([]);
    aheadMs = 0;
    for (const base of [world.publicUrl, later.address]) {
      expect((await sessionWith(cookie, base)).status).toBe(401);
      expect((await anyone.get(`${base}/api/eln/echo`, { headers: { cookie } })).status).toBe(401);
    }
  });

  test('S-053 a slow call that outlives its session does not bring it back', async () => {
    const person = await world.signIn('lise');
    const cookie = `__Host-coatcheck=${ticketOf(person)}`;
    world.simulators.faults.set('facade', { kind: 'slow', delayMs: 300 });
    // Late enough that the call extends the session; its extension and the log-out race, and the log-out must win.
    aheadMs = hour / 2;
    const calls = Array.from({ length: 10 }, () =>
      anyone.get(`${later.address}/api/eln/echo`, { headers: { cookie } }),
    );
    const logout = await anyone.request('POST', `${world.publicUrl}/auth/logout`, { headers: { cookie } });
    const answers = await Promise.all(calls);
    world.simulators.faults.clear();
    aheadMs = 0;
    expect(logout.status).toBe(303);
    for (const { status, headers } of answers) {
      expect([200, 401]).toContain(status);
      expect(headers).not.toHaveProperty('set-cookie');
    }
    expect(await raw.keys(keyOf(cookie).replace(/[{}]/g, '?'))).toEqual([]);
    expect((await sessionWith(cookie)).status).toBe(401);
  });
});

test('S-085 another site cannot log a person out', async () => {
  const person = await world.signIn('ada');
  const url = `${world.publicUrl}/auth/logout`;
  const hostile: [method: string, headers: Record<string, string | null>][] = [
    ['GET', { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document' }],
    ['GET', { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'no-cors', 'sec-fetch-dest': 'image' }],
    ['POST', { 'sec-fetch-site': 'cross-site', origin: 'https://evil.example' }],
    ['POST', { 'sec-fetch-site': 'same-site', origin: 'http://localhost:1' }],
    ['POST', { 'sec-fetch-site': null, origin: 'null' }],
    ['POST', { 'sec-fetch-site': null, origin: null }],
  ];
  for (const [method, headers] of hostile) {
    const answer = await person.request(method, url, { headers });
    expect(answer.status, JSON.stringify(headers)).toBeGreaterThanOrEqual(400);
    expect(answer.headers).not.toHaveProperty('set-cookie');
    expect((await person.get(`${world.publicUrl}/auth/session`)).status).toBe(200);
  }
});

test('S-086 log-out removes both cookies as they were set, and what the browser has stored', async () => {
  const person = await world.signIn('ada');
  const { status, headers } = await person.request('POST', `${world.publicUrl}/auth/logout`);
  expect([status, headers.location]).toEqual([303, '/']);
  expect(String(headers['set-cookie'])).toMatch(
    /^__Host-coatcheck=; Path=\/; Secure; HttpOnly; SameSite=Lax; Max-Age=0,__Host-coatcheck-login-[\w-]{8}=; Path=\/; Secure; HttpOnly; SameSite=Lax; Max-Age=0$/,
  );
  expect(headers['clear-site-data']).toBe('"cache", "storage"');
  expect(headers['cache-control']).toBe('no-store');
});

test('S-075 /auth/session tells these things and no others', async () => {
  const person = await world.signIn('ada');
  const told = (await person.get(`${world.publicUrl}/auth/session`)).json();
  const provider = ['state', 'accessTokenExpiresAt', 'refreshable', 'scope'];
  expect(keysOf(told)).toEqual([
    ...['user', 'user.issuer', 'user.subject', 'user.claims', 'user.claims.name', 'user.claims.email'],
    ...['createdAt', 'idleExpiresAt', 'absoluteExpiresAt', 'providers'],
    ...['identity', 'notebook'].flatMap((name) => [
      `providers.${name}`,
      ...provider.map((key) => `providers.${name}.${key}`),
    ]),
  ]);
});

test('S-073 claims, queries and headers named like parts of every object do no harm', async () => {
  const cookie = await mintCookie(side, 'ada');
  const told = await sessionWith(cookie);
  expect(told.status).toBe(200);
  const names = ['__proto__', 'constructor', 'hasOwnProperty', 'prototype'];
  for (const name of names) {
    const query = `?${name}=polluted&${name}[polluted]=1&a[${name}]=1`;
    const headers = { cookie, [name]: 'polluted' };
    const answer = await anyone.get(`${world.publicUrl}/auth/session${query}`, { headers });
    expect(answer.status, name).toBe(200);
    // A session of its own: the system refuses its made-up token, and so does the provider to refresh it.
    const forwarded = await anyone.get(`${world.publicUrl}/api/systems/echo${query}`, {
      headers: { cookie: await mintCookie(side, 'ada') },
    });
    expect(forwarded.status).toBeLessThan(500);
    expect((await anyone.get(`${world.publicUrl}/api/${name}/x`, { headers })).status).toBe(404);
    expect((await openPage(`/auth/login?return_to=/&${name}=x`)).status).toBe(303);
    expect((await openPage(`/auth/callback/${name}?code=x`)).status).toBe(404);
  }
  expect(({} as Record<string, unknown>).polluted).toBeUndefined();
});

test('S-073 a header named like a part of every object is forwarded like any other', async () => {
  const cookie = await mintCookie(side, 'ada');
  for (const name of ['__proto__', 'hasOwnProperty', 'prototype', 'constructor']) {
    const headers = { cookie, [name]: 'polluted' };
    const answer = await anyone.get(`${world.publicUrl}/api/systems/echo`, { headers });
    expect(answer.status, name).toBeLessThan(500);
  }
});

test('S-073 nothing here needs __proto__: all of it works where Node has none', async () => {
  const script = fileURLToPath(new URL('without-proto.ts', import.meta.url));
  const { stdout } = await promisify(execFile)(process.execPath, [
    '--disable-proto=delete',
    '--import',
    'tsx',
    script,
  ]);
  expect(JSON.parse(stdout)).toEqual({ hasProto: false, statuses: [200, 200, 200, 303] });
});

test('S-074 a record of a newer format version is no session here, and stays as it is', async () => {
  const cookie = await mintCookie(side, 'ada');
  const key = keyOf(cookie);
  const newer = await raw.read(key);
  newer[0] = 2;
  await raw.overwrite(key, newer);
  const ttlMs = await raw.ttlMs(key);
  expect((await sessionWith(cookie)).status).toBe(401);
  expect(await raw.read(key)).toEqual(newer);
  expect(await raw.ttlMs(key)).toBeGreaterThan(ttlMs - 5000);
});

test('S-072 after all of this every key has a time to live', async () => {
  await openPage('/auth/login');
  const keys = await raw.keys();
  expect(new Set(keys.map((key) => key.split(':')[1]))).toEqual(new Set(['s', 'i', 'o']));
  for (const key of keys) expect(await raw.ttlMs(key), key).toBeGreaterThan(0);
});

function keysOf(value: unknown, path = ''): string[] {
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([name, part]) => [path + name, ...keysOf(part, `${path}${name}.`)]);
}
