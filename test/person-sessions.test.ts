import { randomBytes } from 'node:crypto';
import { EventEmitter } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { stringify } from 'yaml';
import { runCli } from '../src/cli.ts';
import type { Coatcheck } from '../src/coatcheck.ts';
import type { FullSessionDescription } from '../src/gateway/session-description.ts';
import type { Person as PersonOf } from '../src/person-sessions.ts';
import { userIndex } from '../src/session/session.ts';
import { Person } from './person.ts';
import { ask, countCommands } from './redis-server.ts';
import { createSideCoatcheck, mintCookie, startSideGateway } from './security/side-gateway.ts';
import { startWorld, type World } from './world.ts';

const adminToken = randomBytes(32).toString('base64url');
const directory = mkdtempSync(join(tmpdir(), 'coatcheck-people-'));
const file = join(directory, 'coatcheck.yaml');
const issuer = 'https://identity.example.com';

let world: World;
let other: string;
let coatcheck: Coatcheck;

beforeAll(async () => {
  world = await startWorld({
    config: (input) => ({ ...input, listen: { ...(input.listen as object), adminToken } }),
  });
  other = (await world.startReplica()).address;
  coatcheck = await createSideCoatcheck(world);
  writeFileSync(file, stringify(world.input));
});
afterAll(async () => {
  await coatcheck?.close();
  await world?.close();
  rmSync(directory, { recursive: true });
});

const cookieOf = (person: Person): string =>
  `__Host-coatcheck=${person.cookies('localhost').get('__Host-coatcheck')}`;

/** Whether a cookie is a session at the other replica, as soon as that has heard of the end. */
const status = async (cookie: string, base = other): Promise<number> =>
  (await new Person({ fetchMetadata: false }).get(`${base}/auth/session`, { headers: { cookie } })).status;
const isRefused = (cookie: string): Promise<void> => expect.poll(() => status(cookie)).toBe(401);

interface Listed {
  readonly sessions: readonly { session: string; current: boolean; createdAt: string; lastUsedAt: string }[];
}

const listOf = async (person: Person): Promise<Listed['sessions']> =>
  (await person.get(`${world.publicUrl}/auth/sessions`)).json<Listed>().sessions;
const post = (person: Person, path: string): ReturnType<Person['request']> =>
  person.request('POST', world.publicUrl + path);

describe('a person', () => {
  test('S-054 sees all their sessions, with the present one marked, and no id or token', async () => {
    const [first, second] = [await world.signIn('ada'), await world.signIn('ada')];
    const [newest, oldest, ...more] = await listOf(first);
    expect([newest?.current, oldest?.current, more]).toEqual([false, true, []]);
    expect(Date.parse(oldest?.createdAt ?? '')).toBeLessThanOrEqual(Date.parse(newest?.createdAt ?? ''));
    expect((await listOf(second)).map(({ current }) => current)).toEqual([true, false]);
    const { body, headers } = await first.get(`${world.publicUrl}/auth/sessions`);
    expect(headers['cache-control']).toBe('no-store');
    const { user } = (await first.get(`${world.publicUrl}/auth/session`)).json<{ user: PersonOf }>();
    const index = `cc:i:{${userIndex(user)}}`;
    for (const id of (await ask(world.redis, 'ZRANGE', index, '0', '-1')) as string[])
      expect(body).not.toContain(id);
    expect(body).not.toMatch(/eyJ|token/i);
    await post(first, '/auth/logout-everywhere');
  });

  test('S-054 S-087 ends one, all others, or all, at every replica; the others of a device stay', async () => {
    const [here, there, third, fourth] = [
      await world.signIn('lise'),
      await world.signIn('lise'),
      await world.signIn('lise'),
      await world.signIn('lise'),
    ];
    const cookies = [here, there, third, fourth].map(cookieOf);
    for (const cookie of cookies) expect(await status(cookie)).toBe(200);
    const somebody = await world.signIn('gregor');

    const [, , ofThere] = await listOf(here); // newest first
    const path = `/auth/sessions/${ofThere?.session}/logout`;
    expect((await post(somebody, path)).status).toBe(404);
    expect((await post(here, path)).json()).toEqual({ ended: 1 });
    expect((await post(here, path)).status).toBe(404);
    await isRefused(cookies[1] ?? '');
    expect(await listOf(here)).toHaveLength(3);

    expect((await post(here, '/auth/logout-others')).json()).toEqual({ ended: 2 });
    await isRefused(cookies[2] ?? '');
    await isRefused(cookies[3] ?? '');
    expect(await status(cookies[0] ?? '')).toBe(200);

    const again = await world.signIn('lise');
    const gone = await post(here, '/auth/logout-everywhere');
    expect([gone.status, String(gone.headers['set-cookie'])]).toMatchObject([
      303,
      expect.stringMatching(/^__Host-coatcheck=;.*Max-Age=0/),
    ]);
    await isRefused(cookies[0] ?? '');
    await isRefused(cookieOf(again));
    expect(await status(cookieOf(somebody))).toBe(200);
  });

  test('S-088 another site can neither list nor end', async () => {
    const person = await world.signIn('ada');
    const headers = { 'sec-fetch-site': 'cross-site', origin: 'https://evil.example.com' };
    const [own] = await listOf(person);
    for (const path of [
      '/auth/logout-others',
      '/auth/logout-everywhere',
      `/auth/sessions/${own?.session}/logout`,
    ]) {
      const answer = await person.request('POST', world.publicUrl + path, { headers });
      expect([answer.status, answer.json<{ code: string }>().code]).toEqual([403, 'origin_refused']);
      expect(
        (
          await new Person({ fetchMetadata: false }).request('POST', world.publicUrl + path, {
            headers: { 'x-coatcheck-csrf': '1' },
          })
        ).status,
      ).toBe(401);
    }
    expect((await person.get(`${world.publicUrl}/auth/session`)).status).toBe(200);
    await post(person, '/auth/logout-everywhere');
  });

  test('a session can be ended by its own reference, which logs out', async () => {
    const person = await world.signIn('ada');
    const [own] = await listOf(person);
    expect((await post(person, `/auth/sessions/${own?.session}/logout`)).status).toBe(303);
    expect((await person.get(`${world.publicUrl}/auth/session`)).status).toBe(401);
  });
});

test('S-054 a login under way when everything is ended loses, whenever its person became known', async () => {
  const signedIn = await world.signIn('rosalind');
  const { user } = (await signedIn.get(`${world.publicUrl}/auth/session`)).json<{ user: PersonOf }>();
  const begun = new Person({ username: 'rosalind' });
  const start = await begun.get(`${world.publicUrl}/auth/login`, { kind: 'navigation' });
  expect(await coatcheck.people.endAll(user)).toBe(1);
  await isRefused(cookieOf(signedIn));
  const refused = await begun.follow(start.headers.location ?? '');
  expect([refused.status, refused.body]).toEqual([400, expect.stringContaining('login_expired')]);
  expect(begun.cookies('localhost').get('__Host-coatcheck')).toBeUndefined();
  expect((await (await world.signIn('rosalind')).get(`${world.publicUrl}/auth/session`)).status).toBe(200);
});

describe('an operator, at the second listener', () => {
  const call = async (path: string, { method = 'GET', token = adminToken, base = world.adminUrl } = {}) => {
    const response = await fetch(base + path, { method, headers: { authorization: `Bearer ${token}` } });
    const { headers } = response;
    return { status: response.status, headers, text: await response.text() };
  };
  const query = (subject: string): string => `subject=${subject}&issuer=${encodeURIComponent(issuer)}`;

  test('S-054 needs the token, and finds nothing where none is configured', async () => {
    for (const token of ['', adminToken.slice(1), `${adminToken}x`]) {
      const { status: refused, headers, text } = await call('/admin/sessions?subject=x', { token });
      expect([refused, headers.get('www-authenticate'), headers.get('content-type')]).toEqual([
        401,
        'Bearer',
        'application/problem+json',
      ]);
      expect(JSON.parse(text)).toMatchObject({ code: 'admin_refused' });
    }
    expect((await fetch(`${world.publicUrl}/admin/sessions?subject=x`)).status).toBe(404);
    const { adminToken: _, ...listen } = world.input.listen as Record<string, unknown>;
    const without = await startSideGateway(world, { listen: { ...listen, port: 0 } });
    expect((await call('/admin/sessions?subject=x', { base: without.adminAddress })).status).toBe(404);
    await without.close();
  });

  test.each(['', '?subject=', '?subject=a&subject=b', '?subject=a&issuer=b&issuer=c'])(
    'is told that "%s" names nobody',
    async (wrong) => {
      const { status: refused, text } = await call(`/admin/sessions${wrong}`);
      expect([refused, JSON.parse(text).code]).toEqual([400, 'request_invalid']);
    },
  );

  test('S-054 S-059 lists, shows and ends; sees who and how the providers stand, and no token', async () => {
    const cookies = [];
    for (let count = 0; count < 4; count += 1) cookies.push(await mintCookie(coatcheck, 'emmy'));
    const { text } = await call(`/admin/sessions?${query('emmy')}`);
    const { sessions } = JSON.parse(text) as { sessions: FullSessionDescription[] };
    expect(sessions).toHaveLength(4);
    expect(sessions[0]).toMatchObject({
      user: { issuer, subject: 'emmy', claims: { name: 'canary-name-of-emmy' } },
      providers: { identity: { state: 'ok', scope: 'openid' } },
    });
    expect(text).not.toContain('canary-token');
    expect(text).not.toContain('canary-refresh');
    const [newest, ...rest] = sessions.map(({ session }) => session);
    const one = `/admin/sessions/${newest}?${query('emmy')}`;
    expect(JSON.parse((await call(one)).text)).toEqual(sessions[0]);
    expect((await call(`/admin/sessions/${newest}?${query('another')}`)).status).toBe(404);
    expect((await call(one, { method: 'DELETE' })).text).toBe('{"ended":1}');
    expect((await call(one, { method: 'DELETE' })).status).toBe(404);
    await isRefused(cookies[3] ?? '');
    const others = `/admin/sessions?${query('emmy')}&others_than=`;
    expect((await call(`${others}unknown`, { method: 'DELETE' })).status).toBe(404);
    expect((await call(others + rest[0], { method: 'DELETE' })).text).toBe('{"ended":2}');
    expect(await status(cookies[2] ?? '')).toBe(200);
    expect((await call(`/admin/sessions?${query('emmy')}`, { method: 'DELETE' })).text).toBe('{"ended":1}');
    await isRefused(cookies[2] ?? '');
    expect(JSON.parse((await call(`/admin/sessions?${query('emmy')}`)).text)).toEqual({ sessions: [] });
  });
});

describe('an operator, at the command line', () => {
  const run = async (...argv: string[]): Promise<{ code: number; out: string; err: string }> => {
    const out: string[] = [];
    const err: string[] = [];
    const code = await runCli(['sessions', ...argv], {
      env: {},
      stdout: (text) => out.push(text),
      stderr: (text) => err.push(text),
      events: new EventEmitter(),
      start: () => Promise.reject(new TypeError('nothing is served')),
    });
    return { code, out: out.join(''), err: err.join('') };
  };
  const whose = (subject: string): string[] => ['--config', file, '--issuer', issuer, '--subject', subject];

  test('S-054 lists, shows and ends what the gateways serve', async () => {
    const cookies = [];
    for (let count = 0; count < 3; count += 1) cookies.push(await mintCookie(coatcheck, 'kurt'));
    for (const cookie of cookies) expect(await status(cookie)).toBe(200);
    const json = JSON.parse((await run('list', ...whose('kurt'), '--json')).out) as FullSessionDescription[];
    expect(json).toHaveLength(3);
    const [newest, , oldest] = json.map(({ session }) => session);
    const listed = await run('list', ...whose('kurt'));
    expect(listed).toMatchObject({ code: 0, err: '' });
    expect(listed.out.split('\n')).toMatchObject([
      expect.stringMatching(/^SESSION +SIGNED IN +LAST USED +IDLE AT +ENDS AT +ACCESS TOKENS$/),
      expect.stringMatching(new RegExp(`^${newest}  \\d{4}-.*identity ok$`)),
      expect.anything(),
      expect.anything(),
      '',
    ]);
    const shown = await run('show', ...whose('kurt'), '--session', `${newest}`);
    expect(shown.out).toContain('canary-name-of-kurt');
    expect(shown.out + listed.out).not.toMatch(/canary-(token|refresh)/);

    expect(await run('end', ...whose('kurt'), '--session', `${newest}`)).toMatchObject({
      code: 0,
      out: 'ended 1\n',
    });
    await isRefused(cookies[2] ?? '');
    expect(await run('end', ...whose('kurt'), '--session', `${newest}`)).toMatchObject({
      code: 1,
      err: `coatcheck: ${newest} is no session of theirs\n`,
    });
    expect((await run('end', ...whose('kurt'), '--others-than', `${oldest}`, '--json')).out).toBe(
      '{"ended":1}\n',
    );
    await isRefused(cookies[1] ?? '');
    expect((await run('end', ...whose('kurt'), '--all')).out).toBe('ended 1\n');
    await isRefused(cookies[0] ?? '');
    expect((await run('list', ...whose('kurt'))).out).toBe('no sessions\n');
  });

  test('says what is missing', async () => {
    expect(await run('end', ...whose('kurt'))).toMatchObject({
      code: 2,
      err: expect.stringContaining('--all'),
    });
    expect(await run('end', ...whose('kurt'), '--all', '--session', 'x')).toMatchObject({ code: 2 });
    expect(await run('list', '--config', file)).toMatchObject({
      code: 2,
      err: expect.stringContaining('--subject'),
    });
    const memory = join(directory, 'memory.yaml');
    writeFileSync(memory, stringify({ ...world.input, store: { url: 'memory://' } }));
    expect(await run('list', '--config', memory, '--subject', 'kurt')).toMatchObject({
      code: 2,
      err: expect.stringContaining('store.url: "memory://"'),
    });
  });
});

test('a list costs one command and one per session, and takes dead entries away', async () => {
  const mary = { issuer, subject: 'mary' };
  const cookies = [];
  for (let count = 0; count < 5; count += 1) cookies.push(await mintCookie(coatcheck, 'mary'));
  const index = `cc:i:{${userIndex(mary)}}`;
  const [dead] = (await ask(world.redis, 'ZRANGE', index, '0', '0')) as string[];
  await ask(world.redis, 'DEL', `cc:s:{${dead}}`);
  const list = (): Promise<unknown> => coatcheck.people.list(mary);
  const names = async (): Promise<string[]> =>
    (await countCommands(world.redis.url, list))
      .map(([name = '']) => name)
      .filter((name) => name !== 'PING')
      .sort();
  const reads = Array.from({ length: 5 }, () => 'GET');
  expect(await names()).toEqual(['EVALSHA', 'EVALSHA', ...reads]);
  expect(await names()).toEqual(['EVALSHA', ...reads.slice(1)]);
  expect(await ask(world.redis, 'ZCARD', index)).toBe(4);
});

test('S-055 with a limit the oldest session ends at one more; without a cookie there is no session at all', async () => {
  const session = { limit: 2 };
  const replicas = [
    await createSideCoatcheck(world, { session }),
    await createSideCoatcheck(world, { session }),
  ];
  const [one, two] = replicas as [Coatcheck, Coatcheck];
  const cookies = [await mintCookie(one, 'niels'), await mintCookie(two, 'niels')];
  for (const cookie of cookies) expect(await status(cookie)).toBe(200);
  cookies.push(await mintCookie(one, 'niels'));
  await isRefused(cookies[0] ?? '');
  expect([await status(cookies[1] ?? ''), await status(cookies[2] ?? '')]).toEqual([200, 200]);

  const living = async (subject: string): Promise<number> =>
    (await one.people.list({ issuer, subject })).length;
  for (let round = 0; round < 20; round += 1) {
    const subject = `niels-${round}`;
    const logins = Array.from({ length: 6 }, (_, at) => mintCookie(replicas[at % 2] ?? one, subject));
    await Promise.allSettled(logins);
    expect(await living(subject)).toBe(2);
    expect(await ask(world.redis, 'ZCARD', `cc:i:{${userIndex({ issuer, subject })}}`)).toBe(2);
  }
  const keys = async (): Promise<number> => Number(await ask(world.redis, 'DBSIZE'));
  const before = await keys();
  await Promise.all(Array.from({ length: 300 }, () => fetch(`${world.publicUrl}/auth/session`)));
  expect(await keys()).toBe(before);
  await Promise.all(replicas.map((replica) => replica.close()));
});

test('S-054 everything of everyone ends at a moment in the configuration; a moment to come ends nobody', async () => {
  const before = await mintCookie(coatcheck, 'paul');
  const ahead = await startSideGateway(world, {
    session: { validFrom: new Date(Date.now() + 3_600_000).toISOString() },
  });
  expect(await status(before, ahead.address)).toBe(200);
  const soon = new Date(Date.now() + 1500).toISOString();
  const changed = await createSideCoatcheck(world, { session: { validFrom: soon } });
  const loaded = (cookie: string): Promise<{ kind: string }> =>
    changed.sessions.load(cookie.split('=')[1] ?? '');
  const cached = await mintCookie(coatcheck, 'paul');
  expect(await loaded(cached)).toMatchObject({ kind: 'session' });
  await expect.poll(async () => (await loaded(cached)).kind, { timeout: 5000 }).toBe('none');
  expect(await loaded(before)).toEqual({ kind: 'none', why: 'unknown' });
  expect(await changed.people.list({ issuer, subject: 'paul' })).toEqual([]);
  const after = await mintCookie(changed, 'paul');
  expect(await loaded(after)).toMatchObject({ kind: 'session' });
  await Promise.all([ahead.close(), changed.close()]);
});
