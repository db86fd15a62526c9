import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { DurableConnection } from '../../src/session/durable-connection.ts';
import {
  createRedisConnection,
  type RedisConnection,
  type RedisConnectionOptions,
} from '../../src/session/redis-connection.ts';
import { createRedisStore } from '../../src/session/redis-store.ts';
import type { SessionStore, StoreChange, StoredRecord } from '../../src/session/store.ts';
import { type RedisSentinels, startRedisSentinels } from '../redis-sentinel.ts';
import { ask } from '../redis-server.ts';
import { newSessionId, storeContract } from '../store-contract.ts';

const password = 'of-the-sentinels';
let set: RedisSentinels;
const cleanUp: (() => Promise<void>)[] = [];
beforeAll(async () => {
  set = await startRedisSentinels({ password });
});
afterAll(() => set.stop());
afterEach(async () => {
  for (const each of cleanUp.splice(0).reverse()) await each();
});

const optionsFor = (): RedisConnectionOptions => ({
  url: 'redis://localhost',
  sentinel: { name: set.name, nodes: set.nodes, password },
});

interface Opened {
  readonly store: SessionStore;
  readonly connection: RedisConnection;
  readonly changes: StoreChange[];
}

async function openConnected(): Promise<Opened> {
  const opened = await open();
  await expect.poll(() => opened.connection.connected, recovery).toBe(true);
  return opened;
}

async function open(options: Partial<RedisConnectionOptions> = {}): Promise<Opened> {
  const settings = { ...optionsFor(), ...options };
  const connection = createRedisConnection(settings);
  const durable = new DurableConnection({ connection: createRedisConnection(settings), timeoutMs: 125 });
  const store = createRedisStore({ connection, durable });
  const changes: StoreChange[] = [];
  store.changes?.listen((change) => changes.push(change));
  cleanUp.push(() => store.close());
  await Promise.all([connection.start(), durable.start()]);
  return { store, connection, changes };
}

const recovery = { timeout: 15_000, interval: 10 };
const unavailable = { code: 'store_unavailable' };
const record = (): Omit<StoredRecord, 'generation'> => ({
  idleDeadlineMs: Date.now() + 60_000,
  absoluteDeadlineMs: Date.now() + 600_000,
  body: Buffer.from('body'),
});

storeContract('the Redis store named by sentinels', async ({ now }) => {
  const connection = createRedisConnection(optionsFor());
  const store = createRedisStore({ connection, now });
  await connection.start();
  await connection.whenConnected();
  return { store, close: () => store.close() };
});

describe('with sentinels', () => {
  test.each([
    ['a name that no sentinel knows', { name: 'others', password }],
    ['a password that is wrong', { name: 'sessions', password: 'canary-wrong' }],
  ])('%s is a fault that tells the name and not the password', async (_, sentinel) => {
    const { store } = await open({ sentinel: { ...sentinel, nodes: set.nodes } });
    const fault: unknown = await store.ping().catch((error: unknown) => error);
    expect(fault).toMatchObject({ ...unavailable, message: expect.stringContaining(sentinel.name) });
    expect(JSON.stringify(fault, Object.getOwnPropertyNames(fault))).not.toContain('canary');
  });

  test('one of them is enough', async () => {
    const dead = ['127.0.0.1:1', '127.0.0.1:2'];
    const { store, connection } = await open({
      sentinel: { name: set.name, nodes: [...dead, ...set.nodes.slice(2)], password },
    });
    await expect.poll(() => connection.connected, recovery).toBe(true);
    await store.ping();
  });

  test('S-070 the death of the primary under load: no acknowledged session is lost, and recovery needs no help', async () => {
    const { store, connection, changes } = await openConnected();
    const acknowledged: string[] = [];
    let working = true;
    const signIns = Array.from({ length: 4 }, async () => {
      while (working) {
        const id = newSessionId();
        if (await store.create(id, record()).catch(faultOnly)) acknowledged.push(id);
        await new Promise(setImmediate);
      }
    });
    await expect.poll(() => acknowledged.length, recovery).toBeGreaterThan(200);
    const victim = await set.primary();
    changes.length = 0;
    await victim.kill('SIGKILL');
    await expect.poll(() => connection.connected, recovery).toBe(false);
    expect(changes).toContainEqual({ kind: 'doubt' });
    await expect.poll(() => connection.connected, recovery).toBe(true);
    expect(await set.primary()).not.toBe(victim);
    const before = acknowledged.length;
    await expect.poll(() => acknowledged.length, recovery).toBeGreaterThan(before + 100);
    working = false;
    await Promise.all(signIns);
    for (const id of acknowledged) expect(await store.read(id), id).toMatchObject({ kind: 'found' });
    await victim.restart();
    await set.untilWhole();
  });

  test('a primary that is demoted in peace is left for the next one', async () => {
    const { store, changes } = await openConnected();
    const before = await set.primary();
    const [sentinel] = set.sentinels;
    await ask(
      { url: sentinel?.url.replace('//', `//:${password}@`) ?? '' },
      'SENTINEL',
      'FAILOVER',
      set.name,
    );
    await expect.poll(() => set.primary(), recovery).not.toBe(before);
    // Sentinels turn the old one into a replica only seconds later; until then it would take writes, and lose them.
    await expect.poll(() => changes, recovery).toContainEqual({ kind: 'doubt' });
    const id = newSessionId();
    await expect.poll(() => store.create(id, record()).catch(() => undefined), recovery).toBe(true);
    expect(await ask(await set.primary(), 'EXISTS', `cc:s:{${id}}`)).toBe(1);
    await set.untilWhole();
  });

  test('S-070 a primary that falls silent is left, and one that says it is none is not taken', async () => {
    const { store, connection } = await openConnected();
    const victim = await set.primary();
    await victim.kill('SIGSTOP');
    await expect.poll(() => connection.connected, recovery).toBe(false);
    await expect
      .poll(() => store.create(newSessionId(), record()).catch(() => undefined), recovery)
      .toBe(true);
    await victim.kill('SIGCONT');
    await set.untilWhole();
    expect(await ask(victim, 'ROLE')).toContain('slave');
    await store.ping();
  });
});

/** A fault of the store is no answer; anything else fails the test. */
function faultOnly(error: unknown): false {
  expect(error).toMatchObject(unavailable);
  return false;
}
