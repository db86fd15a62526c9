import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { DurableConnection } from '../../src/session/durable-connection.ts';
import { createRedisConnection, type RedisConnection } from '../../src/session/redis-connection.ts';
import { createRedisStore } from '../../src/session/redis-store.ts';
import { slotOf } from '../../src/session/slot-map.ts';
import type { SessionStore, StoreChange, StoredRecord } from '../../src/session/store.ts';
import { Person } from '../person.ts';
import { type RedisCluster, startRedisCluster } from '../redis-cluster.ts';
import { ask } from '../redis-server.ts';
import { newSessionId, storeContract } from '../store-contract.ts';
import { startWorld } from '../world.ts';

let cluster: RedisCluster;
const cleanUp: (() => Promise<void>)[] = [];
beforeAll(async () => {
  cluster = await startRedisCluster();
});
afterAll(() => cluster.stop());
afterEach(async () => {
  for (const each of cleanUp.splice(0).reverse()) await each();
});

interface Opened {
  readonly store: SessionStore;
  readonly connection: RedisConnection;
  readonly changes: StoreChange[];
}

async function open(): Promise<Opened> {
  const options = { url: cluster.url, cluster: true };
  const connection = createRedisConnection(options);
  const durable = new DurableConnection({ connection: createRedisConnection(options), timeoutMs: 125 });
  const store = createRedisStore({ connection, durable });
  const changes: StoreChange[] = [];
  store.changes?.listen((change) => changes.push(change));
  cleanUp.push(() => store.close());
  await Promise.all([connection.start(), durable.start()]);
  await expect.poll(() => connection.connected, recovery).toBe(true);
  return { store, connection, changes };
}

const recovery = { timeout: 15_000, interval: 10 };
const keyOf = (id: string): string => `cc:s:{${id}}`;
const record = (text = 'body'): Omit<StoredRecord, 'generation'> => ({
  idleDeadlineMs: Date.now() + 60_000,
  absoluteDeadlineMs: Date.now() + 600_000,
  body: Buffer.from(text),
});

storeContract('the Redis store on a cluster', async ({ now }) => {
  const connection = createRedisConnection({ url: cluster.url, cluster: true });
  const store = createRedisStore({ connection, now });
  await connection.start();
  await connection.whenConnected();
  return { store, close: () => store.close() };
});

describe('on a cluster', () => {
  test('the slot of a key is that which the server computes', async () => {
    for (const key of [
      '',
      'a',
      keyOf(newSessionId()),
      '{}x',
      'x{}{y}',
      '{a}b{c}',
      'ö{ü}',
      '{{a}}',
      'a}b{c',
    ]) {
      expect(slotOf(key), key).toBe(await ask(cluster, 'CLUSTER', 'KEYSLOT', key));
    }
  });

  test('every primary is watched: a change at one store is told to the other, wherever the key lives', async () => {
    const [one, other] = [await open(), await open()];
    const ids = Array.from({ length: 30 }, newSessionId);
    const owners = new Set(await Promise.all(ids.map((id) => cluster.ownerOf(slotOf(keyOf(id))))));
    expect(owners.size).toBe(3);
    await Promise.all(ids.map((id) => one.store.create(id, record())));
    expect(other.store.changes?.watching()).toBe(true);
    await Promise.all(ids.map((id) => other.store.read(id)));
    await Promise.all(ids.map((id) => one.store.destroy(id)));
    await expect
      .poll(() =>
        other.changes.flatMap((change) => (change.kind === 'changed' ? [change.sessionId] : [])).sort(),
      )
      .toEqual([...ids].sort());
  });

  test('a slot that moves under load is followed, by ASK and by MOVED, without a fault', async () => {
    const { store } = await open();
    const id = newSessionId();
    const slot = slotOf(keyOf(id));
    const from = await cluster.ownerOf(slot);
    const to = (await Promise.all([0, 6000, 12_000].map((each) => cluster.ownerOf(each)))).find(
      (server) => server !== from,
    );
    if (to === undefined) throw new Error('nowhere to go');
    await store.create(id, record());
    let working = true;
    let generation = 1;
    const load = (async () => {
      while (working) {
        const replaced = await store.replace(id, generation, record(`body ${generation}`));
        expect(replaced).toEqual({ kind: 'replaced', generation: generation + 1 });
        generation += 1;
        expect(await store.read(id)).toMatchObject({ kind: 'found', record: { generation } });
      }
    })().finally(() => {
      working = false;
    });
    const [fromId, toId] = [await cluster.idOf(from), await cluster.idOf(to)];
    const reached = async (): Promise<void> => {
      const target = generation + 50;
      while (working && generation < target) await new Promise(setImmediate);
    };
    await reached();
    await ask(to, 'CLUSTER', 'SETSLOT', String(slot), 'IMPORTING', fromId);
    await ask(from, 'CLUSTER', 'SETSLOT', String(slot), 'MIGRATING', toId);
    await ask(from, 'MIGRATE', '127.0.0.1', String(to.port), keyOf(id), '0', '5000');
    await reached(); // by ASK
    await ask(to, 'CLUSTER', 'SETSLOT', String(slot), 'NODE', toId);
    await ask(from, 'CLUSTER', 'SETSLOT', String(slot), 'NODE', toId);
    await reached(); // by MOVED, then straight
    working = false;
    await load;
    expect(await ask(to, 'EXISTS', keyOf(id))).toBe(1);
    await cluster.untilWhole();
  });

  test('a primary that is demoted in peace costs a moment, and everything read before is in doubt', async () => {
    const { store, changes } = await open();
    const id = newSessionId();
    await store.create(id, record());
    const owner = await cluster.ownerOf(slotOf(keyOf(id)));
    const replica = await replicaOf(owner);
    changes.length = 0;
    await ask(replica, 'CLUSTER', 'FAILOVER');
    await expect.poll(() => cluster.ownerOf(slotOf(keyOf(id))), recovery).toBe(replica);
    await expect
      .poll(() => store.extend(id, Date.now() + 120_000, 0).catch(() => undefined), recovery)
      .toMatchObject({ kind: 'extended' });
    await expect.poll(() => changes, recovery).toContainEqual({ kind: 'doubt' });
    await cluster.untilWhole();
  });

  test('S-070 the death of a primary under load: no acknowledged session is lost, and recovery needs no help', async () => {
    const { store, connection, changes } = await open();
    const acknowledged: string[] = [];
    let longestMs = 0;
    let working = true;
    const signIns = Array.from({ length: 4 }, async () => {
      while (working) {
        const id = newSessionId();
        const startMs = performance.now();
        const created = await store.create(id, record()).catch(faultOnly);
        longestMs = Math.max(longestMs, performance.now() - startMs);
        if (created) acknowledged.push(id);
        await new Promise(setImmediate);
      }
    });
    await expect.poll(() => acknowledged.length, recovery).toBeGreaterThan(200);
    const victim = await cluster.ownerOf(slotOf(keyOf(acknowledged.at(-1) ?? '')));
    changes.length = 0;
    await victim.kill('SIGKILL');
    await expect.poll(() => connection.connected, recovery).toBe(false);
    expect(changes).toContainEqual({ kind: 'doubt' });
    await expect.poll(() => connection.connected, recovery).toBe(true);
    const before = acknowledged.length;
    await expect.poll(() => acknowledged.length, recovery).toBeGreaterThan(before + 100);
    working = false;
    await Promise.all(signIns);
    for (const id of acknowledged) expect(await store.read(id), id).toMatchObject({ kind: 'found' });
    expect(longestMs).toBeLessThan(1000);
    await victim.restart();
    await cluster.untilWhole();
  });

  test('S-070 a primary that falls silent is noticed also where nobody writes, and replaced', async () => {
    const { store, connection, changes } = await open();
    const id = newSessionId();
    await store.create(id, record());
    const victim = await cluster.ownerOf(slotOf(keyOf(id)));
    changes.length = 0;
    await victim.kill('SIGSTOP');
    await expect.poll(() => changes, recovery).toContainEqual({ kind: 'doubt' });
    await expect.poll(() => connection.connected, recovery).toBe(true);
    await expect.poll(() => store.read(id).catch(faultOnly), recovery).toMatchObject({ kind: 'found' });
    await victim.kill('SIGCONT');
    await cluster.untilWhole();
  });

  test('S-070 while one primary is silent only its sessions are refused, and those at once', async () => {
    const { store } = await open();
    const ids = Array.from({ length: 60 }, newSessionId);
    await Promise.all(ids.map((id) => store.create(id, record())));
    const owners = await Promise.all(ids.map((id) => cluster.ownerOf(slotOf(keyOf(id)))));
    const [victim] = owners;
    if (victim === undefined) throw new Error('nobody owns anything');
    const isSilent = (_: string, at: number): boolean => owners[at] === victim;
    const [silent, others] = [ids.filter(isSilent), ids.filter((id, at) => !isSilent(id, at))];
    await victim.kill('SIGSTOP');
    const outcomes = await Promise.all(silent.map((id) => store.read(id).catch(faultOnly)));
    expect(outcomes.every((outcome) => outcome === false)).toBe(true);
    const startMs = performance.now();
    for (const id of silent) expect(await store.read(id).catch(faultOnly)).toBe(false);
    expect(performance.now() - startMs).toBeLessThan(250);
    for (const id of others) expect(await store.read(id)).toMatchObject({ kind: 'found' });
    await victim.kill('SIGCONT');
    await cluster.untilWhole();
  });
});

describe('a gateway on a cluster', () => {
  test('S-051 S-052 who signs in at one replica is known at the other, and refused there after the sign-out', async () => {
    const world = await startWorld({
      config: (input) => ({ ...input, store: { url: cluster.url, cluster: true } }),
    });
    cleanUp.push(() => world.close());
    const other = (await world.startReplica()).address;
    for (const username of ['ada', 'lise', 'gregor']) {
      const person = await world.signIn(username);
      const cookie = [...person.cookies('localhost')].map((pair) => pair.join('=')).join('; ');
      const atOther = async (): Promise<number> => {
        const stranger = new Person({ fetchMetadata: false });
        return (await stranger.get(`${other}/auth/session`, { headers: { cookie } })).status;
      };
      expect([await atOther(), await atOther()]).toEqual([200, 200]);
      expect((await person.request('POST', `${world.publicUrl}/auth/logout`)).status).toBe(303);
      await expect.poll(atOther, { timeout: 1000, interval: 1 }).toBe(401);
    }
  });
});

/** A fault of the store is no answer; anything else fails the test. */
function faultOnly(error: unknown): false {
  expect(error).toMatchObject({ code: 'store_unavailable' });
  return false;
}

async function replicaOf(primary: { readonly url: string }): Promise<RedisCluster['servers'][number]> {
  const [, , replicas] = (await ask(primary, 'ROLE')) as [string, number, [string, string, string][]];
  const replica = cluster.servers.find(({ port }) => port === Number(replicas[0]?.[1]));
  if (replica === undefined) throw new Error('It has no replica');
  return replica;
}
