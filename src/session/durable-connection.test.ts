import { afterEach, describe, expect, test } from 'vitest';
import { ask, countCommands, type RedisServer, startRedisServer, until } from '../../test/redis-server.ts';
import { newSessionId } from '../../test/store-contract.ts';
import { DurableConnection, type DurableConnectionOptions } from './durable-connection.ts';
import { createRedisConnection } from './redis-connection.ts';
import { createRedisStore } from './redis-store.ts';
import type { SessionStore, StoreChange, StoredRecord } from './store.ts';

const cleanUp: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const each of cleanUp.splice(0).reverse()) await each();
});

async function serve(...args: string[]): Promise<RedisServer> {
  const server = await startRedisServer({ args: [...args, '--repl-diskless-sync-delay', '0'] });
  cleanUp.push(() => server.stop());
  return server;
}

/** A replica that is in step. */
async function follow(primary: RedisServer): Promise<RedisServer> {
  const replica = await serve('--replicaof', `127.0.0.1 ${primary.port}`);
  await ask(primary, 'SET', 'written', 'before');
  await until('the replica acknowledges', async () =>
    /state=online,offset=[1-9]/.test(String(await ask(primary, 'INFO', 'replication'))),
  );
  return replica;
}

interface Opened {
  readonly store: SessionStore;
  readonly changes: StoreChange[];
  readonly refusals: () => number;
}

async function open(url: string, options: Partial<DurableConnectionOptions> = {}): Promise<Opened> {
  let refusals = 0;
  const connection = createRedisConnection({ url, deadlineMs: 2000 });
  const durable = new DurableConnection({
    connection: createRedisConnection({ url, deadlineMs: 2000 }),
    timeoutMs: 500,
    onRefused: () => {
      refusals += 1;
    },
    ...options,
  });
  const store = createRedisStore({ connection, durable });
  const changes: StoreChange[] = [];
  store.changes?.listen((change) => changes.push(change));
  cleanUp.push(() => store.close());
  await Promise.all([connection.start(), durable.start()]);
  return { store, changes, refusals: () => refusals };
}

const record = (): Omit<StoredRecord, 'generation'> => ({
  idleDeadlineMs: Date.now() + 60_000,
  absoluteDeadlineMs: Date.now() + 600_000,
  body: Buffer.from('body'),
});
const unavailable = { code: 'store_unavailable' };

async function commandsOf(server: RedisServer, work: () => Promise<unknown>): Promise<string[]> {
  const commands = await countCommands(server.url, work);
  return commands.map(([name = '']) => name).filter((name) => !['PING', 'REPLCONF'].includes(name));
}

describe('a write of a session', () => {
  test('is one command and a WAIT where there is a replica, and every other verb is one', async () => {
    const server = await serve();
    await follow(server);
    const { store } = await open(server.url);
    const id = newSessionId();
    await store.replace(id, 1, record());
    expect(await commandsOf(server, () => store.create(id, record()))).toEqual(['SET', 'WAIT']);
    expect(await commandsOf(server, () => store.create(id, record()))).toEqual(['SET']);
    expect(await commandsOf(server, () => store.read(id))).toEqual(['GET']);
    expect(await commandsOf(server, () => store.replace(id, 1, record()))).toEqual(['EVALSHA', 'WAIT']);
    expect(await commandsOf(server, () => store.replace(id, 1, record()))).toEqual(['EVALSHA']);
    expect(await commandsOf(server, () => store.putOnce(id, Buffer.from('x'), 1000))).toEqual(['SET']);
    expect(await commandsOf(server, () => store.destroy(id))).toEqual(['DEL', 'WAIT']);
    expect(await commandsOf(server, () => store.destroy(id))).toEqual(['DEL']);
  });

  test('is one command where there is no replica', async () => {
    const server = await serve();
    const { store, refusals } = await open(server.url);
    expect(await commandsOf(server, () => store.create(newSessionId(), record()))).toEqual(['SET']);
    expect(refusals()).toBe(0);
  });

  test('is a fault while the replica hangs; reads go on beside it, and all is well with the replica', async () => {
    const server = await serve();
    const replica = await follow(server);
    const { store } = await open(server.url);
    const id = newSessionId();
    await store.create(id, record());
    await replica.kill('SIGSTOP');
    const writing = store.create(newSessionId(), record());
    const start = performance.now();
    const outcome = expect(writing).rejects.toMatchObject({
      ...unavailable,
      message: expect.stringContaining('0 of 1 replicas'),
    });
    expect(await store.read(id)).toMatchObject({ kind: 'found' });
    expect(performance.now() - start).toBeLessThan(450);
    await outcome;
    await replica.kill('SIGCONT');
    expect(await store.create(newSessionId(), record())).toBe(true);
  });

  test('needs a replica that is gone for ten seconds more: the primary may have been replaced', async () => {
    let nowMs = 0;
    const server = await serve();
    const replica = await follow(server);
    const { store } = await open(server.url, { now: () => nowMs });
    const write = (): Promise<boolean> => store.create(newSessionId(), record());
    await write();
    await replica.kill('SIGKILL');
    await until('the primary has noticed', async () =>
      String(await ask(server, 'INFO', 'replication')).includes('connected_slaves:0'),
    );
    for (nowMs of [0, 5000, 9999]) await expect(write()).rejects.toMatchObject(unavailable);
    nowMs = 10_000;
    expect(await write()).toBe(true);
    const next = await follow(server);
    nowMs = 15_000;
    expect(await commandsOf(server, write)).toEqual(['SET', 'WAIT']);
    await next.stop();
  });

  test('needs all replicas that there were: one that has left may be the primary by now, and the others follow it soon', async () => {
    let nowMs = 0;
    const server = await serve();
    const leaving = await follow(server);
    await follow(server);
    await until('both acknowledge', async () => {
      const told = String(await ask(server, 'INFO', 'replication'));
      return (told.match(/state=online,offset=[1-9]/g) ?? []).length === 2;
    });
    const { store } = await open(server.url, { now: () => nowMs });
    const write = (): Promise<boolean> => store.create(newSessionId(), record());
    // A replica that has just come may be slow at first.
    await until('both have a write', () => write().catch(() => false));
    await ask(leaving, 'REPLICAOF', 'NO', 'ONE');
    await until('the primary has noticed', async () =>
      String(await ask(server, 'INFO', 'replication')).includes('connected_slaves:1'),
    );
    for (nowMs of [1, 5000, 9999]) {
      await expect(write()).rejects.toMatchObject({
        ...unavailable,
        message: expect.stringContaining('1 of 2 replicas'),
      });
    }
    nowMs = 10_000;
    expect(await write()).toBe(true);
  });

  test('is told to the listener before it is answered', async () => {
    const server = await serve();
    const { store, changes } = await open(server.url);
    const id = newSessionId();
    await store.create(id, record());
    changes.length = 0;
    await store.replace(id, 1, record());
    expect(changes).toContainEqual({ kind: 'changed', sessionId: id });
  });
});

describe('a number of replicas that was asked for', () => {
  test('is insisted on', async () => {
    const server = await serve();
    await follow(server);
    const { store } = await open(server.url, { acknowledgedBy: 2 });
    await expect(store.create(newSessionId(), record())).rejects.toMatchObject(unavailable);
    const { store: content } = await open(server.url, { acknowledgedBy: 1 });
    expect(await content.create(newSessionId(), record())).toBe(true);
  });
});

describe('a server without WAIT', () => {
  const withoutWait = ['--rename-command', 'WAIT', ''];

  test('is written to all the same, which is told once', async () => {
    const server = await serve(...withoutWait);
    await follow(server);
    const { store, refusals } = await open(server.url);
    for (let count = 0; count < 3; count += 1)
      expect(await store.create(newSessionId(), record())).toBe(true);
    expect(refusals()).toBe(1);
  });

  test('is a fault where replicas were asked for', async () => {
    const server = await serve(...withoutWait);
    const { store, refusals } = await open(server.url, { acknowledgedBy: 1 });
    await expect(store.create(newSessionId(), record())).rejects.toMatchObject(unavailable);
    expect(refusals()).toBe(0);
  });
});
