import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { ask, type RedisServer, startRedisServer, until } from '../../test/redis-server.ts';
import { newSessionId } from '../../test/store-contract.ts';
import { createRedisConnection } from './redis-connection.ts';
import { createRedisStore } from './redis-store.ts';
import type { StoreChange } from './store.ts';

const cleanUp: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const each of cleanUp.splice(0).reverse()) await each();
});

const recovery = { timeout: 15_000, interval: 10 };

/** One address behind which the server can change, as with a name that a cloud points elsewhere. Open connections stay where they are. */
async function startFront(
  first: RedisServer,
): Promise<{ url: string; moveTo(server: RedisServer): void; arrivals: number[] }> {
  let behind = first;
  const arrivals: number[] = [];
  const sockets = new Set<Socket>();
  const front = createServer((client) => {
    arrivals.push(behind.port);
    const server = connect(behind.port, '127.0.0.1');
    for (const [socket, other] of [
      [client, server],
      [server, client],
    ] as const) {
      sockets.add(socket);
      socket.on('error', () => other.destroy()).on('close', () => other.destroy());
    }
    client.pipe(server).pipe(client);
  }).listen(0, '127.0.0.1');
  await once(front, 'listening');
  cleanUp.push(() => {
    for (const socket of sockets) socket.destroy();
    front.close();
  });
  return {
    url: `redis://127.0.0.1:${(front.address() as AddressInfo).port}`,
    arrivals,
    moveTo(server) {
      behind = server;
    },
  };
}

async function startPair(): Promise<[primary: RedisServer, replica: RedisServer]> {
  const primary = await startRedisServer({ args: ['--repl-diskless-sync-delay', '0'] });
  cleanUp.push(() => primary.stop());
  const replica = await startRedisServer({ args: ['--replicaof', `127.0.0.1 ${primary.port}`] });
  cleanUp.push(() => replica.stop());
  await until('the replica is in step', async () =>
    String(await ask(replica, 'INFO', 'replication')).includes('master_link_status:up'),
  );
  return [primary, replica];
}

const record = () => ({
  idleDeadlineMs: Date.now() + 60_000,
  absoluteDeadlineMs: Date.now() + 600_000,
  body: Buffer.from('body'),
});

test.each([
  ['writes', true],
  ['reads alone', false],
])(
  'S-070 a primary that is demoted in peace is left, under %s, for the one to which its name moves',
  async (_, writing) => {
    const [primary, replica] = await startPair();
    const front = await startFront(primary);
    const connection = createRedisConnection({ url: front.url });
    const store = createRedisStore({ connection });
    const changes: StoreChange[] = [];
    store.changes?.listen((change) => changes.push(change));
    cleanUp.push(() => store.close());
    await connection.start();
    await connection.whenConnected();
    const kept = newSessionId();
    await store.create(kept, record());
    await ask(primary, 'WAIT', '1', '1000');
    let working = true;
    const load = (async () => {
      while (working) {
        const work = writing ? store.create(newSessionId(), record()) : store.read(kept);
        await work.catch((fault) => expect(fault).toMatchObject({ code: 'store_unavailable' }));
        await new Promise(setImmediate);
      }
    })();
    changes.length = 0;
    // The roles change first, and the name follows later: whoever comes in between meets a replica.
    await ask(replica, 'REPLICAOF', 'NO', 'ONE');
    await ask(primary, 'REPLICAOF', '127.0.0.1', String(replica.port));
    await expect.poll(() => connection.connected, recovery).toBe(false);
    expect(changes).toContainEqual({ kind: 'doubt' });
    await expect.poll(() => front.arrivals.length, recovery).toBeGreaterThan(4);
    expect(connection.connected).toBe(false);
    front.moveTo(replica);
    const movedAtMs = performance.now();
    await expect.poll(() => connection.connected, recovery).toBe(true);
    expect(performance.now() - movedAtMs).toBeLessThan(3000);
    expect(front.arrivals.at(-1)).toBe(replica.port);
    working = false;
    await load;
    expect(await store.read(kept)).toMatchObject({ kind: 'found' });
    const later = newSessionId();
    expect(await store.create(later, record())).toBe(true);
    expect(await ask(replica, 'EXISTS', `cc:s:{${later}}`)).toBe(1);
  },
);
