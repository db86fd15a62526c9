import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { type AddressInfo, connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { createClient } from '@redis/client';
import { afterEach, describe, expect, test } from 'vitest';
import { freePort } from '../../demo/free-ports.ts';
import { ask, type RedisServer, startRedisServer } from '../../test/redis-server.ts';
import { startReplyProxy } from '../../test/reply-proxy.ts';
import { newSessionId } from '../../test/store-contract.ts';
import { CoatcheckError } from '../errors.ts';
import {
  createRedisConnection,
  type RedisConnection,
  type RedisConnectionOptions,
} from './redis-connection.ts';
import { createRedisStore } from './redis-store.ts';
import type { SessionStore } from './store.ts';

const cleanUp: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const each of cleanUp.splice(0).reverse()) await each();
});

async function serve(...args: string[]): Promise<RedisServer> {
  const server = await startRedisServer({ args });
  cleanUp.push(() => server.stop());
  return server;
}

interface Opened {
  readonly store: SessionStore;
  readonly connection: RedisConnection;
  /** What `onStateChange` was told. */
  readonly states: boolean[];
}

async function open(options: RedisConnectionOptions, watching = false): Promise<Opened> {
  const states: boolean[] = [];
  const connection = createRedisConnection({ ...options, onStateChange: (state) => states.push(state) });
  const store = createRedisStore({ connection });
  if (watching) connection.watch({ onInvalidate: () => undefined, onLost: () => undefined });
  cleanUp.push(() => store.close());
  await connection.start();
  return { store, connection, states };
}

const record = () => ({
  idleDeadlineMs: Date.now() + 60_000,
  absoluteDeadlineMs: Date.now() + 600_000,
  body: Buffer.from('body'),
});
const unavailable = { code: 'store_unavailable' };
const recovery = { timeout: 8000, interval: 10 };

/** The fault of `work`, which must come within `limitMs`. */
async function faultWithin(limitMs: number, work: () => Promise<unknown>): Promise<unknown> {
  const start = performance.now();
  const fault = await work().then(
    () => undefined,
    (error: unknown) => error,
  );
  expect(performance.now() - start).toBeLessThan(limitMs);
  return fault;
}

describe('S-070 when the server', () => {
  test('stops answering, commands fail within 500 ms, then at once, and recover with it', async () => {
    const server = await serve();
    const { store, connection, states } = await open({ url: server.url });
    await expect.poll(() => connection.connected, recovery).toBe(true);
    const id = newSessionId();
    await store.create(id, record());
    await server.kill('SIGSTOP');
    for (let count = 0; count < 3; count++) {
      expect(await faultWithin(500, () => store.read(id))).toMatchObject(unavailable);
    }
    await expect.poll(() => connection.connected, recovery).toBe(false);
    expect(await faultWithin(50, () => store.read(id))).toMatchObject(unavailable);
    await server.kill('SIGCONT');
    await expect.poll(() => store.read(id).catch(() => undefined), recovery).toMatchObject({ kind: 'found' });
    expect(states).toEqual([true, false, true]);
  });

  test('stops answering under steady traffic, the connection is given up after about a second', async () => {
    const server = await serve();
    const { store, connection } = await open({ url: server.url });
    await server.kill('SIGSTOP');
    const start = performance.now();
    while (connection.connected) {
      await store.ping().catch(() => undefined);
      if (performance.now() - start > 5000) break;
    }
    expect(performance.now() - start).toBeLessThan(2000);
    await server.kill('SIGCONT');
  });

  test('is killed and started again, commands fail at once meanwhile and then recover', async () => {
    const server = await serve();
    const { store, states } = await open({ url: server.url });
    await server.kill('SIGKILL');
    await expect.poll(() => states).toEqual([true, false]);
    for (const verb of [
      () => store.ping(),
      () => store.read(newSessionId()),
      () => store.create(newSessionId(), record()),
    ]) {
      expect(await faultWithin(50, verb)).toMatchObject(unavailable);
    }
    await server.restart();
    await expect
      .poll(() => store.create(newSessionId(), record()).catch(() => undefined), recovery)
      .toBe(true);
    expect(states).toEqual([true, false, true]);
  });

  test('is away at the start, start() returns all the same, and the store comes up by itself', async () => {
    const port = await freePort();
    const { store, states } = await open({ url: `redis://127.0.0.1:${port}` });
    await expect(store.ping()).rejects.toMatchObject(unavailable);
    const server = await startRedisServer({ port });
    cleanUp.push(() => server.stop());
    await expect
      .poll(
        () =>
          store.ping().then(
            () => 'up',
            () => 'down',
          ),
        recovery,
      )
      .toBe('up');
    expect(states).toEqual([true]);
  });

  test('accepts a connection and then says nothing, another one is made', async () => {
    const server = await serve();
    let connections = 0;
    const front = createServer((socket) => {
      socket.on('error', () => socket.destroy());
      if (connections++ === 0) return;
      const upstream = connect(server.port, '127.0.0.1');
      upstream.on('error', () => socket.destroy());
      socket.pipe(upstream).pipe(socket);
    }).listen(0, '127.0.0.1');
    await once(front, 'listening');
    cleanUp.push(async () => void front.close());
    const { port } = front.address() as AddressInfo;
    const { store, states } = await open({ url: `redis://127.0.0.1:${port}` });
    expect(states).toEqual([]);
    await expect.poll(() => states, recovery).toEqual([true]);
    await store.ping();
    expect(connections).toBe(2);
  });

  test('greets and then says nothing, over and over: most are told at once, and of the change once', async () => {
    const server = await serve();
    const proxy = await startReplyProxy(server.port);
    cleanUp.push(() => proxy.close());
    const { store, states } = await open({ url: proxy.url });
    proxy.fault = () => 'hold';
    let [asked, slow] = [0, 0];
    const ask = async (): Promise<void> => {
      const start = performance.now();
      await expect(store.read(newSessionId())).rejects.toMatchObject(unavailable);
      asked += 1;
      if (performance.now() - start > 200) slow += 1;
      await new Promise(setImmediate);
    };
    await Promise.all(Array.from({ length: 5 }, ask));
    const connections = proxy.connections;
    while (proxy.connections < connections + 3) await ask();
    // Five before anybody knew, then one on each connection.
    expect(slow).toBeLessThanOrEqual(5 + 3);
    expect(asked).toBeGreaterThan(100);
    expect(states).toEqual([true, false]);
    proxy.fault = () => 'pass';
    await expect
      .poll(() => store.read(newSessionId()).catch(() => undefined), recovery)
      .toEqual({ kind: 'miss' });
    expect(states).toEqual([true, false, true]);
  });

  test('dies in silence, a connection that nobody uses is given up too', async () => {
    const server = await serve();
    const { states } = await open({ url: server.url });
    await server.kill('SIGSTOP');
    await expect.poll(() => states, recovery).toEqual([true, false]);
    await server.kill('SIGCONT');
    await expect.poll(() => states, recovery).toEqual([true, false, true]);
  });

  test('becomes a read-only replica, writes fail, it is not taken again, and all recovers with its promotion', async () => {
    const [server, primary] = [await serve(), await serve()];
    const { store, states } = await open({ url: server.url });
    await ask(server, 'REPLICAOF', '127.0.0.1', String(primary.port));
    expect(await faultWithin(500, () => store.create(newSessionId(), record()))).toMatchObject({
      ...unavailable,
      message: expect.stringContaining('READONLY'),
    });
    await expect
      .poll(() => store.ping().catch((fault) => fault.cause?.message), recovery)
      .toContain('it is not the primary');
    expect(states).toEqual([true, false]);
    await ask(server, 'REPLICAOF', 'NO', 'ONE');
    await expect
      .poll(() => store.create(newSessionId(), record()).catch(() => undefined), recovery)
      .toBe(true);
    expect(states).toEqual([true, false, true]);
  });

  test('becomes a replica while nobody writes, its connection is given up all the same', async () => {
    const [server, primary] = [await serve(), await serve()];
    const { connection } = await open({ url: server.url }, true);
    await expect.poll(() => connection.tracking, recovery).toBe(true);
    await ask(server, 'REPLICAOF', '127.0.0.1', String(primary.port));
    await expect.poll(() => connection.connected, recovery).toBe(false);
  });

  test('is a replica, it is refused, unless any node will do', async () => {
    const primary = await serve();
    const replica = await serve('--replicaof', `127.0.0.1 ${primary.port}`);
    expect((await open({ url: replica.url })).states).toEqual([]);
    expect((await open({ url: replica.url, primaryOnly: false })).states).toEqual([true]);
  });

  test('refuses one command, the others go on', async () => {
    const server = await serve('--maxmemory', '1');
    const { store, states } = await open({ url: server.url });
    const writes = store.create(newSessionId(), record());
    await expect(writes).rejects.toMatchObject({ ...unavailable, message: expect.stringContaining('OOM') });
    expect(await store.read(newSessionId())).toEqual({ kind: 'miss' });
    expect(states).toEqual([true]);
  });
});

test('close waits for what is in flight, and nothing is sent after it', async () => {
  const server = await serve();
  const { store, states } = await open({ url: server.url });
  const id = newSessionId();
  const created = store.create(id, record());
  const read = store.read(id);
  await store.close();
  expect(await created).toBe(true);
  expect(await read).toMatchObject({ kind: 'found' });
  await expect(store.read(id)).rejects.toMatchObject(unavailable);
  expect(states).toEqual([true, false]);
});

test('close does not wait for a server that is away', async () => {
  const { connection } = await open({ url: `redis://127.0.0.1:${await freePort()}` });
  await connection.close();
  await expect(connection.whenConnected()).rejects.toMatchObject(unavailable);
});

test('close while it connects leaves no connection behind', async () => {
  const server = await serve();
  const admin = await createClient({ url: server.url }).connect();
  cleanUp.push(async () => admin.destroy());
  const connection = createRedisConnection({ url: server.url });
  const started = connection.start();
  await new Promise(setImmediate);
  await connection.close();
  await started;
  const number = async (name: string) => Number(new RegExp(`${name}:(\\d+)`).exec(await admin.info())?.[1]);
  // The one that asked whether the server is up, the administrator's, and ours.
  await expect.poll(() => number('total_connections_received')).toBeGreaterThanOrEqual(3);
  await expect.poll(() => number('connected_clients')).toBe(1);
});

describe('the URL', () => {
  const password = 'p4ssw0rd';
  const urls = [
    `redis://user:${password}@10.0.0.1:6379`,
    `redis://user:${password}@redis.example.com`,
    `http://user:${password}@127.0.0.1`,
    `rediss://user:${password}@`,
    `redis://user:${password}@127.0.0.1:99999`,
    `redis://user:${password}@127.0.0.1/name`,
    `redis://user:${password}@127.0.0.1?tls=no`,
    `redis://user:${password}%zz@127.0.0.1`,
    `user:${password}`,
    '',
  ];
  test.each(urls)('%s is refused, without quoting the password', (url) => {
    let fault: unknown;
    try {
      createRedisConnection({ url });
    } catch (error) {
      fault = error;
    }
    expect(fault).toMatchObject({ code: 'config_invalid' });
    expect(inspect(fault, { depth: 10, showHidden: true })).not.toContain(password);
  });

  test.each(['redis://127.0.0.1', 'redis://[::1]:6380', 'redis://LOCALHOST/2', 'rediss://redis.example.com'])(
    '%s is accepted',
    (url) => {
      expect(createRedisConnection({ url }).connected).toBe(false);
    },
  );

  test('signs in with its user and password; a wrong one is a fault that does not quote it', async () => {
    const server = await serve('--requirepass', `${password}/right`);
    const address = server.url.slice('redis://'.length);
    const { store, connection } = await open({ url: `redis://:${password}%2Fright@${address}/3` });
    await expect.poll(() => connection.connected, recovery).toBe(true);
    await store.ping();
    const { store: refused } = await open({ url: `redis://:${password}wrong@${address}` });
    const fault = await faultWithin(500, () => refused.ping());
    expect(CoatcheckError.is(fault) && fault.cause).toMatchObject({
      message: expect.stringContaining('WRONGPASS'),
    });
    expect(inspect(fault, { depth: 10, showHidden: true })).not.toContain(password);
  });
});

describe('S-069 over TLS', () => {
  const directory = mkdtempSync(join(tmpdir(), 'coatcheck-tls-'));
  afterEach(() => rmSync(directory, { recursive: true, force: true }));

  test('a certificate is verified: our authority and its host name, or no connection', async () => {
    const [key, certificate] = [join(directory, 'key.pem'), join(directory, 'cert.pem')];
    const name = ['-subj', '/CN=test', '-addext', 'subjectAltName=IP:127.0.0.1'];
    const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', key];
    execFileSync('openssl', ['req', '-x509', ...newKey, '-out', certificate, '-days', '1', ...name], {
      stdio: 'pipe',
    });
    const port = await freePort();
    const tls = ['--tls-cert-file', certificate, '--tls-key-file', key, '--tls-auth-clients', 'no'];
    await serve('--tls-port', String(port), ...tls);
    const ca = readFileSync(certificate);
    const trusted = await open({ url: `rediss://127.0.0.1:${port}`, ca });
    await trusted.store.ping();
    for (const options of [
      { url: `rediss://127.0.0.1:${port}` },
      { url: `rediss://localhost:${port}`, ca },
    ]) {
      const { store, states } = await open(options);
      await expect(store.ping()).rejects.toMatchObject(unavailable);
      expect(states).toEqual([]);
    }
  });
});
