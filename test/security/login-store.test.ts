import { createClient, type RedisClientType } from '@redis/client';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { type RedisServer, startRedisServer } from '../redis-server.ts';
import {
  attempt,
  authorize,
  begin,
  newBrowser,
  outcome,
  type StageOptions,
  signedIn,
  startStage,
} from './stage.ts';

let server: RedisServer;
let redis: RedisClientType;
beforeAll(async () => {
  server = await startRedisServer();
  redis = createClient({ url: server.url }) as RedisClientType;
  await redis.connect();
});
beforeEach(async () => {
  await redis.flushAll();
});
afterAll(async () => {
  redis.destroy();
  await server.stop();
});

function onRedis(options: StageOptions = {}): StageOptions {
  return { ...options, config: { store: { url: server.url } } };
}

/** An address of one gateway as another one serves it. */
function at(base: string, url: URL): string {
  return `${base}${url.pathname}${url.search}`;
}

test('S-007 of 20 deliveries of one callback, at once and over two replicas, one redeems the code', async () => {
  const stage = await startStage(onRedis());
  const replica = await stage.startReplica();
  const browser = newBrowser();
  const callback = await authorize(await begin(browser, stage));
  const cookie = [...browser.cookies('localhost')].map((pair) => pair.join('=')).join('; ');
  const answers = await Promise.all(
    Array.from({ length: 20 }, (_, index) => {
      const base = index % 2 === 0 ? stage.publicUrl : replica.address;
      return newBrowser().get(at(base, callback), { headers: { cookie } });
    }),
  );
  expect(answers.map(({ status }) => status).sort()).toEqual([303, ...Array(19).fill(400)]);
  expect(answers.filter(({ headers }) => headers['set-cookie'] !== undefined)).toHaveLength(1);
  expect(stage.first.count('token')).toBe(1);

  const later = await browser.get(callback.href);
  expect([later.status, later.json<{ code: string }>().code]).toEqual([400, 'login_expired']);
  expect(stage.first.count('token')).toBe(1);
});

test('S-010 a refused answer leaves nothing in the store, neither a token nor a session', async () => {
  const stage = await startStage(onRedis());
  for (const claims of [{ nonce: undefined }, { nonce: 'A'.repeat(43) }, { aud: 'other' }]) {
    stage.first.behaviour = { claims };
    const browser = newBrowser();
    const answer = await attempt(browser, stage);
    expect(await outcome(browser, stage, answer)).toEqual([502, 'provider_answer_invalid', 'nobody']);
    expect(answer.headers['set-cookie']).toBeUndefined();
    expect(await redis.keys('*')).toEqual([]);
  }
  expect(stage.first.count('userinfo')).toBe(0);
});

test('S-010 where the second provider fails, nothing of the first is left', async () => {
  const stage = await startStage(onRedis({ both: true }));
  stage.second.behaviour = { claims: { nonce: 'other' } };
  await attempt(newBrowser(), stage);
  expect(stage.first.count('token')).toBe(1);
  expect(await redis.keys('*')).toEqual([]);
});

test('S-012 a transaction and its cookie live ten minutes; after that the login starts anew', async () => {
  const stage = await startStage(onRedis());
  const browser = newBrowser();
  const started = await browser.get(`${stage.publicUrl}/auth/login`);
  const maxAge = /Max-Age=(\d+)/.exec(String(started.headers['set-cookie']))?.[1];
  expect(Number(maxAge)).toBe(600);
  const keys = await redis.keys('*');
  expect(keys).toHaveLength(1);
  const ttlMs = await redis.pTTL(keys[0] ?? '');
  expect(ttlMs).toBeGreaterThan(590_000);
  expect(ttlMs).toBeLessThanOrEqual(600_000);

  const callback = await authorize(started.headers.location ?? '');
  await redis.pExpire(keys[0] ?? '', 0);
  const asPage = await browser.get(callback.href, { headers: { accept: 'text/html' } });
  expect(asPage.status).toBe(400);
  expect(asPage.body).toContain('<a href="/auth/login">sign in again</a>');
  expect(stage.first.count('token')).toBe(0);
  expect(await outcome(browser, stage, await attempt(browser, stage))).toEqual(signedIn);
});

test('S-012 the store holds a transaction sealed: no state, verifier or token of it can be read there', async () => {
  const stage = await startStage(onRedis({ both: true, provider: () => ({ userinfo: false }) }));
  stage.first.behaviour = { token: { access_token: 'first-access-token' } };
  const browser = newBrowser();
  const address = await begin(browser, stage);
  const second = await browser.get((await authorize(address)).href);
  const verifier = stage.first.requests
    .find(({ endpoint }) => endpoint === 'token')
    ?.parameters.get('code_verifier');
  const keys = await redis.keys('*');
  expect(keys).toHaveLength(1);
  const dumps = await Promise.all(keys.map((key) => redis.sendCommand(['GET', key])));
  const dump = keys.join() + String(dumps);
  const state = new URL(second.headers.location ?? '').searchParams.get('state') ?? 'none';
  const secret = [...browser.cookies('localhost').values()][0] ?? 'none';
  for (const kept of ['first-access-token', 'ada@example.com', state, verifier ?? 'none', secret])
    expect(dump).not.toContain(kept);
});

test('S-021 a store that is away lets nobody in and takes no cookie away', async () => {
  const own = await startRedisServer();
  const stage = await startStage({ config: { store: { url: own.url } } });
  const browser = newBrowser();
  await attempt(browser, stage);
  const callback = await authorize(await begin(browser, stage));
  await own.stop();
  const addresses = [`${stage.publicUrl}/auth/session`, `${stage.publicUrl}/auth/login`, callback.href];
  for (const address of addresses) {
    const answer = await browser.get(address);
    expect([answer.status, answer.json<{ code: string }>().code]).toEqual([503, 'store_unavailable']);
    expect(answer.headers['set-cookie']).toBeUndefined();
  }
  expect(stage.first.count('token')).toBe(1);
});
