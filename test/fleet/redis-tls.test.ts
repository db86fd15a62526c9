import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { freePort } from '../../demo/free-ports.ts';
import {
  createRedisConnection,
  type RedisConnection,
  type RedisConnectionOptions,
} from '../../src/session/redis-connection.ts';
import { createRedisStore } from '../../src/session/redis-store.ts';
import { slotOf } from '../../src/session/slot-map.ts';
import type { SessionStore, StoredRecord } from '../../src/session/store.ts';
import { type Authority, createAuthority } from '../certificates.ts';
import { type RedisCluster, startRedisCluster } from '../redis-cluster.ts';
import { type RedisSentinels, startRedisSentinels } from '../redis-sentinel.ts';
import { ask } from '../redis-server.ts';
import { newSessionId } from '../store-contract.ts';

let authority: Authority;
const cleanUp: (() => Promise<void>)[] = [];
beforeAll(() => {
  authority = createAuthority();
});
afterAll(() => authority.remove());
afterEach(async () => {
  for (const each of cleanUp.splice(0).reverse()) await each();
});

const recovery = { timeout: 15_000, interval: 10 };
const user = ['--user', 'apps', 'on', '>of-apps', '~cc:*', '+@all', '-@dangerous', '+info', '+cluster|slots'];
const record = (): Omit<StoredRecord, 'generation'> => ({
  idleDeadlineMs: Date.now() + 60_000,
  absoluteDeadlineMs: Date.now() + 600_000,
  body: Buffer.from('body'),
});

async function open(
  options: RedisConnectionOptions,
): Promise<{ store: SessionStore; connection: RedisConnection }> {
  const connection = createRedisConnection({ deadlineMs: 1000, ...options });
  const store = createRedisStore({ connection });
  cleanUp.push(() => store.close());
  await connection.start();
  return { store, connection };
}
const faultOf = (work: Promise<unknown>): Promise<unknown> => work.catch((fault: unknown) => fault);
/** All that was said of a fault, down to its first cause. */
const chainOf = (fault: unknown): string =>
  fault instanceof Error ? `${Reflect.get(fault, 'code')} ${fault.message} ${chainOf(fault.cause)}` : '';

describe('a cluster over TLS', () => {
  let cluster: RedisCluster;
  const tlsPorts: number[] = [];
  beforeAll(async () => {
    for (let index = 0; index < 6; index += 1) tlsPorts.push(await freePort());
    const right = Array.from({ length: 6 }, () => authority.issue('DNS:localhost', 30));
    cluster = await startRedisCluster({
      args(index) {
        const { certFile, keyFile } = right[index] ?? authority.issue('DNS:localhost', 30);
        const files = ['--tls-cert-file', certFile, '--tls-key-file', keyFile];
        const names = [
          '--cluster-announce-hostname',
          'localhost',
          '--cluster-preferred-endpoint-type',
          'hostname',
        ];
        return [
          ...['--tls-port', String(tlsPorts[index]), '--tls-ca-cert-file', authority.caFile, ...files],
          ...['--tls-auth-clients', 'no', '--tls-cluster', 'yes', '--tls-replication', 'yes'],
          ...names,
          ...user,
        ];
      },
    });
  });
  afterAll(() => cluster.stop());

  const url = (): string => `rediss://apps:of-apps@localhost:${tlsPorts[0]}`;
  /** A session whose slot the node owns. */
  const sessionAt = async (index: number): Promise<string> => {
    for (;;) {
      const id = newSessionId();
      if ((await cluster.ownerOf(slotOf(`cc:s:{${id}}`))) === cluster.servers[index]) return id;
    }
  };

  test('S-069 each primary is reached by its name, its certificate and a user of our own', async () => {
    const { store, connection } = await open({ url: url(), cluster: true, caFile: authority.caFile });
    await expect.poll(() => connection.connected, recovery).toBe(true);
    for (const index of [0, 1, 2]) {
      const id = await sessionAt(index);
      expect(await store.create(id, record())).toBe(true);
      expect(await store.read(id)).toMatchObject({ kind: 'found' });
      const clients = String(await ask(cluster.servers[index] ?? cluster, 'CLIENT', 'LIST'));
      expect(clients).toMatch(/laddr=\S+ .*user=apps/);
    }
  });

  test('S-069 an authority that is not ours and a password that is wrong get nowhere', async () => {
    const stranger = createAuthority();
    cleanUp.push(async () => stranger.remove());
    const { store: untrusted } = await open({ url: url(), cluster: true, caFile: stranger.caFile });
    await expect
      .poll(async () => chainOf(await faultOf(untrusted.read(newSessionId()))), recovery)
      .toMatch(/SELF_SIGNED_CERT_IN_CHAIN|UNABLE_TO_VERIFY/);
    const { store: unknown } = await open({
      url: url().replace('of-apps', 'canary-wrong'),
      cluster: true,
      caFile: authority.caFile,
    });
    const said = async (): Promise<string> => chainOf(await faultOf(unknown.read(newSessionId())));
    await expect.poll(said, recovery).toContain('WRONGPASS');
    expect(await said()).not.toContain('canary');
  });

  test('S-069 the one node whose certificate names another host is refused, and what lives on the others is served', async () => {
    const [, second] = cluster.servers;
    if (second === undefined) throw new Error('No second node');
    const { certFile, keyFile } = authority.issue('DNS:store.example.com', 30);
    await ask(second, 'CONFIG', 'SET', 'tls-cert-file', certFile, 'tls-key-file', keyFile);
    const [here, there] = [await sessionAt(0), await sessionAt(1)];
    const { store } = await open({ url: url(), cluster: true, caFile: authority.caFile });
    await expect.poll(() => store.create(here, record()).catch(() => undefined), recovery).toBe(true);
    await expect
      .poll(async () => chainOf(await faultOf(store.read(there))), recovery)
      .toContain('ERR_TLS_CERT_ALTNAME_INVALID');
    const right = authority.issue('DNS:localhost', 30);
    await ask(second, 'CONFIG', 'SET', 'tls-cert-file', right.certFile, 'tls-key-file', right.keyFile);
    await expect.poll(() => store.create(there, record()).catch(() => undefined), recovery).toBe(true);
  });
});

describe('sentinels over TLS', () => {
  let set: RedisSentinels;
  beforeAll(async () => {
    const certificate = authority.issue('DNS:localhost', 30);
    const tls = { ...certificate, caFile: authority.caFile };
    set = await startRedisSentinels({ tls, password: 'of-the-sentinels', args: user });
  });
  afterAll(() => set.stop());

  const options = (changes: Partial<RedisConnectionOptions> = {}): RedisConnectionOptions => ({
    url: 'rediss://apps:of-apps@localhost',
    sentinel: { name: set.name, nodes: set.nodes, password: 'of-the-sentinels' },
    caFile: authority.caFile,
    ...changes,
  });

  test('S-069 they and the primary that they name are verified, also the next one', async () => {
    const { store, connection } = await open(options());
    await expect.poll(() => connection.connected, recovery).toBe(true);
    const id = newSessionId();
    expect(await store.create(id, record())).toBe(true);
    const before = await set.primary();
    await ask(before, 'WAIT', '1', '1000');
    await before.kill('SIGKILL');
    await expect.poll(() => store.read(id).catch(() => undefined), recovery).toMatchObject({ kind: 'found' });
    expect(await set.primary()).not.toBe(before);
    await before.restart();
    await set.untilWhole();
  });

  test('S-069 neither a sentinel of another name nor one of an unknown authority is believed', async () => {
    const nodes = set.nodes.map((node) => node.replace('localhost', '127.0.0.1'));
    const { store: misnamed } = await open(
      options({ sentinel: { name: set.name, nodes, password: 'of-the-sentinels' } }),
    );
    await expect
      .poll(async () => chainOf(await faultOf(misnamed.ping())), recovery)
      .toContain('ERR_TLS_CERT_ALTNAME_INVALID');
    const stranger = createAuthority();
    cleanUp.push(async () => stranger.remove());
    const { store: untrusted } = await open(options({ caFile: stranger.caFile }));
    await expect
      .poll(async () => chainOf(await faultOf(untrusted.ping())), recovery)
      .toMatch(/SELF_SIGNED_CERT_IN_CHAIN|UNABLE_TO_VERIFY/);
  });
});
