import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
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
  const connection = createRedisConnection({ ...optionsFor(), ...options });
  const store = createRedisStore({ connection });
  const changes: StoreChange[] = [];
  store.changes?.listen((change) => changes.push(change));
  cleanUp.push(() => store.close());
  await connection.start();
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

  test('S-070 the death of the primary: faults at once, the new one found without help, nothing lost that it had', async () => {
    const { store, connection, changes } = await openConnected();
    const ids = Array.from({ length: 30 }, newSessionId);
    const victim = await set.primary();
    await Promise.all(ids.map((id) => store.create(id, record())));
    await waitReplica(victim);
    await victim.kill('SIGKILL');
    await expect.poll(() => connection.connected).toBe(false);
    expect(changes).toContainEqual({ kind: 'doubt' });
    await expect(store.ping()).rejects.toMatchObject(unavailable);
    await expect.poll(() => connection.connected, recovery).toBe(true);
    expect(await set.primary()).not.toBe(victim);
    for (const id of ids) expect(await store.read(id)).toMatchObject({ kind: 'found' });
    await store.create(newSessionId(), record());
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

async function waitReplica(primary: { readonly url: string }): Promise<void> {
  await expect
    .poll(async () => {
      const [, offset, [replica]] = (await ask(primary, 'ROLE')) as [
        string,
        number,
        [string, string, string][],
      ];
      return Number(replica?.[2]) >= offset;
    }, recovery)
    .toBe(true);
}
