import { createClient } from '@redis/client';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { countCommands, type RedisServer, startRedisServer } from '../../test/redis-server.ts';
import { type ReplyProxy, startReplyProxy } from '../../test/reply-proxy.ts';
import { newSessionId, randomNumbers, storeContract } from '../../test/store-contract.ts';
import { encodeRecord } from './record-header.ts';
import { createRedisConnection, type RedisConnection } from './redis-connection.ts';
import { createRedisStore } from './redis-store.ts';
import { epochLifetimeMs, type ReadResult, type SessionStore, type StoredRecord } from './store.ts';

const minute = 60_000;
let server: RedisServer;
let admin: ReturnType<typeof createClient>;

beforeAll(async () => {
  server = await startRedisServer();
  admin = createClient({ url: server.url });
  await admin.connect();
});
afterAll(async () => {
  admin.destroy();
  await server.stop();
});
beforeEach(() => admin.flushAll());

async function open(url = server.url): Promise<{ store: SessionStore; connection: RedisConnection }> {
  const connection = createRedisConnection({ url });
  await connection.start();
  return { connection, store: createRedisStore({ connection }) };
}

const record = (text = 'body', idleMs = 10 * minute): Omit<StoredRecord, 'generation'> => ({
  idleDeadlineMs: Date.now() + idleMs,
  absoluteDeadlineMs: Date.now() + 60 * minute,
  body: Buffer.from(text),
});

storeContract('the Redis store', async ({ now }) => {
  const contractServer = await startRedisServer();
  const connection = createRedisConnection({ url: contractServer.url });
  await connection.start();
  const store = createRedisStore({ connection, now });
  return {
    store,
    async close() {
      await store.close();
      await contractServer.stop();
    },
  };
});

describe('the Redis store on its server', () => {
  let store: SessionStore;
  beforeAll(async () => {
    ({ store } = await open());
  });
  afterAll(() => store.close());

  test('a session is one key, which ends with the earlier deadline to the millisecond', async () => {
    const id = newSessionId();
    const key = `cc:s:{${id}}`;
    const written = record();
    await store.create(id, written);
    expect(await admin.keys('*')).toEqual([key]);
    expect(await admin.pExpireTime(key)).toBe(written.idleDeadlineMs);
    const wanted = written.idleDeadlineMs + minute;
    await store.extend(id, wanted, 0);
    expect(await admin.pExpireTime(key)).toBe(wanted);
    await store.replace(id, 1, written);
    expect(await admin.pExpireTime(key)).toBe(wanted);
    await store.extend(id, wanted + 90 * minute, 0);
    expect(await admin.pExpireTime(key)).toBe(written.absoluteDeadlineMs);
    await store.replace(id, 2, { ...written, absoluteDeadlineMs: wanted - 1 });
    expect(await admin.pExpireTime(key)).toBe(wanted - 1);
  });

  test('S-072 every key has a time to live, which is that of what it holds', async () => {
    const id = newSessionId();
    const endsAtMs = Date.now() + 5 * minute;
    await store.create(id, record());
    await store.replace(id, 1, record('next'));
    await store.extend(id, Date.now() + 20 * minute, 0);
    await store.putOnce(id, Buffer.from('transaction'), minute);
    await store.lock(id, 'owner', minute);
    await store.renewLock(id, 'owner', { ttlMs: 2 * minute });
    for (const [member, endMs] of [
      ['a', endsAtMs - minute],
      ['b', endsAtMs],
      ['c', endsAtMs + minute],
    ] as const) {
      await store.indexAdd(id, { member, expiresAtMs: endMs });
      expect(await admin.pExpireTime(`cc:i:{${id}}`)).toBe(endMs);
    }
    await store.indexRemove(id, 'c');
    await store.indexList(id);
    const keys = (await admin.keys('*')).sort();
    expect(keys).toEqual(['i', 'l', 'o', 's'].map((kind) => `cc:${kind}:{${id}}`));
    for (const key of keys) expect(await admin.pTTL(key), key).toBeGreaterThan(0);
    expect(await admin.pExpireTime(`cc:i:{${id}}`)).toBe(endsAtMs);
    expect(await admin.pTTL(`cc:l:{${id}}`)).toBeGreaterThan(minute);
    expect(await admin.pTTL(`cc:o:{${id}}`)).toBeLessThanOrEqual(minute);
    for (const member of ['a', 'b']) await store.indexRemove(id, member);
    expect(await admin.exists(`cc:i:{${id}}`)).toBe(0);
    const closedAtMs = Date.now();
    await store.indexClose(id);
    expect(await admin.pExpireTime(`cc:i:{${id}}`)).toBeGreaterThanOrEqual(closedAtMs + epochLifetimeMs);
    expect(await admin.pTTL(`cc:i:{${id}}`)).toBeLessThanOrEqual(epochLifetimeMs);
  });

  test('every verb is one command', async () => {
    const id = newSessionId();
    const entry = { member: 'a', expiresAtMs: Date.now() + minute };
    const verbs: [string, string, () => Promise<unknown>][] = [
      ['SET', 's', () => store.create(id, record())],
      ['GET', 's', () => store.read(id)],
      ['GET', 's', () => store.read(newSessionId())],
      ['EVALSHA', 's', () => store.replace(id, 1, record())],
      ['EVALSHA', 's', () => store.extend(id, Date.now() + 20 * minute, 0)],
      ['DEL', 's', () => store.destroy(id)],
      ['SET', 'o', () => store.putOnce(id, Buffer.from('once'), minute)],
      ['GETDEL', 'o', () => store.takeOnce(id)],
      ['EVALSHA', 'l', () => store.lock(id, 'owner', minute)],
      ['EVALSHA', 'l', () => store.renewLock(id, 'owner', { ttlMs: minute })],
      ['EVALSHA', 'l', () => store.unlock(id, 'owner', 'settled')],
      ['EVALSHA', 'i', () => store.indexAdd(id, entry)],
      ['EVALSHA', 'i', () => store.indexEpoch(id)],
      ['EVALSHA', 'i', () => store.indexClose(id)],
      ['EVALSHA', 'i', () => store.indexRemove(id, 'b')],
      ['EVALSHA', 'i', () => store.indexList(id)],
    ];
    for (const [, , verb] of verbs) await verb();
    for (const [name, kind, verb] of verbs) {
      const commands = await countCommands(server.url, verb);
      expect(commands, String(verb)).toHaveLength(1);
      expect(commands[0]?.[0]).toBe(name);
      if (name !== 'EVALSHA') expect(commands[0]?.[1]).toMatch(new RegExp(`^cc:${kind}:\\{`));
    }
  });

  test('a server that has forgotten the scripts is sent them again', async () => {
    const id = newSessionId();
    await store.create(id, record());
    await store.extend(id, Date.now() + 20 * minute, 0);
    await admin.scriptFlush();
    const commands = await countCommands(server.url, async () => {
      const idleDeadlineMs = Date.now() + 30 * minute;
      expect(await store.extend(id, idleDeadlineMs, 0)).toEqual({ kind: 'extended', idleDeadlineMs });
      await store.extend(id, idleDeadlineMs, 0);
    });
    expect(commands.map(([name]) => name)).toEqual(['EVALSHA', 'EVAL', 'EVALSHA']);
  });

  test('S-074 a record of an unknown format version is no session, and stays untouched until log-out', async () => {
    const id = newSessionId();
    const key = `cc:s:{${id}}`;
    const stored = encodeRecord(id, { ...record('of the next release'), generation: 4 });
    stored[0] = 2;
    const before = stored.toString('latin1');
    await admin.set(key, stored, { PX: minute });
    const endsAtMs = await admin.pExpireTime(key);
    expect(await store.read(id)).toEqual({ kind: 'unreadable', why: 'format' });
    expect(await store.create(id, record())).toBe(false);
    expect(await store.replace(id, 4, record())).toEqual({ kind: 'gone' });
    expect(await store.extend(id, Date.now() + 30 * minute, 0)).toEqual({ kind: 'gone' });
    const dump = await admin.withTypeMapping({ 36: Buffer }).get(key);
    expect(dump?.toString('latin1')).toBe(before);
    expect(await admin.pExpireTime(key)).toBe(endsAtMs);
    expect(await store.destroy(id)).toBe(true);
    expect(await admin.exists(key)).toBe(0);
  });

  test("S-066 another session's record under our key is no session, and is not written to", async () => {
    const [mine, other] = [newSessionId(), newSessionId()];
    await store.create(other, record('not mine'));
    await admin.copy(`cc:s:{${other}}`, `cc:s:{${mine}}`);
    const [read, ...others] = await Promise.all([store.read(mine), store.read(other), store.ping()]);
    expect(read).toEqual({ kind: 'unreadable', why: 'foreign' });
    expect(others[0]).toMatchObject({ kind: 'found' });
    expect(await store.replace(mine, 1, record())).toEqual({ kind: 'gone' });
    expect(await store.extend(mine, Date.now() + 30 * minute, 0)).toEqual({ kind: 'gone' });
    expect(await store.read(other)).toMatchObject({ kind: 'found' });
  });

  test('an error reply is a fault, not an answer', async () => {
    const id = newSessionId();
    await admin.lPush(`cc:s:{${id}}`, 'not a string');
    await expect(store.read(id)).rejects.toMatchObject({ code: 'store_unavailable' });
    await expect(store.replace(id, 1, record())).rejects.toMatchObject({ code: 'store_unavailable' });
  });
});

describe('S-064 with replies mixed up on the way', () => {
  let proxy: ReplyProxy;
  let store: SessionStore;
  let connection: RedisConnection;
  const [first, second] = [newSessionId(), newSessionId()];

  beforeEach(async () => {
    proxy = await startReplyProxy(server.port);
    ({ store, connection } = await open(proxy.url));
    for (const id of [first, second]) {
      await store.create(id, record(`body of ${id}`));
      await store.putOnce(id, Buffer.from(`transaction of ${id}`), minute);
      await store.lock(id, `owner of ${id}`, minute);
    }
    return async () => {
      await store.close();
      await proxy.close();
    };
  });

  const duplicateNext = (): void => {
    proxy.fault = () => {
      proxy.fault = () => 'pass';
      return 'duplicate';
    };
  };
  const swapNextTwo = (): void => {
    proxy.fault = () => {
      proxy.fault = () => 'pass';
      return 'hold';
    };
  };

  test.each([
    ['twice', duplicateNext, 2],
    ['in each other’s place', swapNextTwo, 1],
  ])('two reads answered %s are healed, or fail', async (_, fault, connections) => {
    fault();
    const reads = await Promise.allSettled([store.read(first), store.read(second)]);
    const bodies = reads.map((read) => (read.status === 'fulfilled' ? bodyOf(read.value) : read.reason.code));
    expect([`body of ${first}`, 'store_unavailable']).toContain(bodies[0]);
    expect([`body of ${second}`, 'store_unavailable']).toContain(bodies[1]);
    expect(bodies).toContain(`body of ${second}`);
    expect(proxy.connections).toBe(connections);
    expect(bodyOf(await store.read(first))).toBe(`body of ${first}`);
  });

  const verbs: Record<string, () => Promise<unknown>> = {
    create: () => store.create(newSessionId(), record()),
    replace: () => store.replace(second, 1, record()),
    extend: () => store.extend(second, Date.now() + 30 * minute, 0),
    destroy: () => store.destroy(second),
    putOnce: () => store.putOnce(newSessionId(), Buffer.from('new'), minute),
    takeOnce: () => store.takeOnce(second),
    lock: () => store.lock(second, 'other', minute),
    renewLock: () => store.renewLock(second, `owner of ${second}`, { ttlMs: minute }),
    unlock: () => store.unlock(second, `owner of ${second}`, 'settled'),
    indexAdd: () => store.indexAdd(second, { member: 'm', expiresAtMs: Date.now() + minute }),
    indexEpoch: () => store.indexEpoch(second),
    indexClose: () => store.indexClose(second),
    indexRemove: () => store.indexRemove(second, 'm'),
    indexList: () => store.indexList(second),
    ping: () => store.ping(),
  };
  test.each(Object.keys(verbs))('%s given the reply of another command is a fault', async (name) => {
    await Promise.all([store.extend(first, 1, 0), verbs[name]?.()]);
    await admin.flushAll();
    duplicateNext();
    await store.putOnce(second, Buffer.from('again'), minute);
    const stray = store.takeOnce(second).catch(() => undefined);
    await expect(verbs[name]?.()).rejects.toMatchObject({ code: 'store_unavailable' });
    await stray;
    await connection.whenConnected();
    await store.ping();
  });

  test.each(['replace', 'extend', 'lock', 'indexList'])(
    '%s given the same script’s reply for another key is a fault',
    async (name) => {
      await verbs[name]?.();
      await store.indexAdd(first, { member: 'not yours', expiresAtMs: Date.now() + minute });
      const same: Record<string, () => Promise<unknown>> = {
        replace: () => store.replace(first, 1, record()),
        extend: () => store.extend(first, Date.now() + 30 * minute, 0),
        lock: () => store.lock(first, `owner of ${first}`, minute),
        indexList: () => store.indexList(first),
      };
      duplicateNext();
      const [one, two] = await Promise.allSettled([same[name]?.(), verbs[name]?.()]);
      expect(one?.status).toBe('fulfilled');
      expect(two).toMatchObject({ status: 'rejected', reason: { code: 'store_unavailable' } });
    },
  );

  test('a reply that nobody asked for ends the connection', async () => {
    duplicateNext();
    await store.ping();
    await expect.poll(() => proxy.connections).toBe(2);
    await connection.whenConnected();
    await store.ping();
  });

  test('one browser’s transaction is not handed to another', async () => {
    duplicateNext();
    const [one, two] = await Promise.allSettled([store.takeOnce(first), store.takeOnce(second)]);
    expect(one).toMatchObject({ status: 'fulfilled', value: Buffer.from(`transaction of ${first}`) });
    expect(two).toMatchObject({ status: 'rejected', reason: { code: 'store_unavailable' } });
  });

  test('no session ever gets another’s record, and all are back once replies come in order', async () => {
    const random = randomNumbers(64);
    const ids = Array.from({ length: 20 }, newSessionId);
    for (const id of ids) await store.create(id, record(`body of ${id}`));
    proxy.fault = () => (random() < 0.9 ? 'pass' : random() < 0.5 ? 'duplicate' : 'hold');
    let answers = 0;
    while (proxy.connections < 6) {
      await expect.poll(() => connection.connected, { timeout: 5000, interval: 5 }).toBe(true);
      const asked = Array.from({ length: 10 }, () => ids[Math.floor(random() * ids.length)] ?? '');
      const reads = await Promise.allSettled(asked.map((id) => store.read(id)));
      for (const [at, read] of reads.entries()) {
        if (read.status === 'rejected') {
          expect(read.reason).toMatchObject({ code: 'store_unavailable' });
        } else if (read.value.kind === 'found') {
          expect(bodyOf(read.value)).toBe(`body of ${asked[at]}`);
          answers++;
        } else {
          expect(read.value).toEqual({ kind: 'unreadable', why: 'foreign' });
        }
      }
    }
    expect(answers).toBeGreaterThan(0);
    proxy.fault = () => 'pass';
    await expect
      .poll(async () => bodyOf(await store.read(first).catch(() => undefined)), { timeout: 5000 })
      .toBe(`body of ${first}`);
    for (const id of ids) expect(bodyOf(await store.read(id))).toBe(`body of ${id}`);
  });
});

function bodyOf(answer: ReadResult | undefined): string | undefined {
  return answer?.kind === 'found' ? answer.record.body.toString() : answer?.kind;
}
