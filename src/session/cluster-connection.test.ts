import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { freePort } from '../../demo/free-ports.ts';
import { ask, countCommands, type RedisServer, startRedisServer, until } from '../../test/redis-server.ts';
import {
  createRedisConnection,
  type RedisConnection,
  type RedisConnectionOptions,
} from './redis-connection.ts';

const cleanUp: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const each of cleanUp.splice(0).reverse()) await each();
});

const recovery = { timeout: 8000, interval: 10 };

/** A cluster of one node, which serves all slots. */
async function serve(...args: string[]): Promise<RedisServer> {
  const server = await serveEmpty(...args);
  await ask(server, 'CLUSTER', 'ADDSLOTSRANGE', '0', '16383');
  await until('all slots are served', async () =>
    String(await ask(server, 'CLUSTER', 'INFO')).includes('cluster_state:ok'),
  );
  return server;
}

async function serveEmpty(...args: string[]): Promise<RedisServer> {
  const bus = ['--cluster-enabled', 'yes', '--cluster-port', String(await freePort())];
  const server = await startRedisServer({ args: [...bus, ...args] });
  cleanUp.push(() => server.stop());
  return server;
}

async function open(options: RedisConnectionOptions): Promise<RedisConnection> {
  const connection = createRedisConnection({ ...options, cluster: true });
  cleanUp.push(() => connection.close());
  await connection.start();
  return connection;
}

const get = (connection: RedisConnection, key = 'a'): Promise<unknown> =>
  connection.run(key, (redis) => redis.send(['GET', key]));
const faultOf = (work: Promise<unknown>): Promise<unknown> => work.catch((error: unknown) => error);

test('a node that does not know its own host is found at that of the URL', async () => {
  const server = await serve();
  const connection = await open({ url: server.url });
  await expect.poll(() => connection.connected, recovery).toBe(true);
  expect(await get(connection)).toBeNull();
});

test('an operation is one command, with nothing before it', async () => {
  const server = await serve();
  const connection = await open({ url: server.url });
  await expect.poll(() => connection.connected, recovery).toBe(true);
  await get(connection);
  const commands = (await countCommands(server.url, () => get(connection))).map(([name]) => name);
  expect(commands.filter((name) => name !== 'CLUSTER')).toEqual(['GET']);
});

test('a node that answers CLUSTERDOWN is asked for the map until it has one', async () => {
  const server = await serveEmpty();
  const connection = await open({ url: server.url });
  expect(await faultOf(get(connection))).toMatchObject({ code: 'store_unavailable' });
  await ask(server, 'CLUSTER', 'ADDSLOTSRANGE', '0', '16383');
  await expect.poll(() => get(connection).catch(faultOnly), recovery).toBeNull();
});

test('a server that is no cluster is a fault that tells so', async () => {
  const server = await startRedisServer();
  cleanUp.push(() => server.stop());
  const connection = await open({ url: server.url });
  await expect
    .poll(() => faultOf(get(connection)), recovery)
    .toMatchObject({
      code: 'store_unavailable',
      cause: { message: expect.stringContaining('it answered ERR') },
    });
});

test('S-069 without TLS no node beyond loopback is asked, whatever the cluster says', async () => {
  const server = await serve('--cluster-announce-ip', '192.0.2.1');
  const connection = await open({ url: server.url });
  await expect
    .poll(() => faultOf(get(connection)), recovery)
    .toMatchObject({
      code: 'store_unavailable',
      cause: { message: expect.stringContaining('is not on loopback') },
    });
  expect(connection.connected).toBe(false);
});

test('S-069 over TLS each node must have a certificate for the name by which the cluster calls it', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'coatcheck-cluster-'));
  cleanUp.push(() => rmSync(directory, { recursive: true }));
  const [key, certificate] = [join(directory, 'key.pem'), join(directory, 'certificate.pem')];
  const name = ['-subj', '/CN=test', '-addext', 'subjectAltName=DNS:localhost'];
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', key];
  const made = ['req', '-x509', ...newKey, '-out', certificate, '-days', '1', ...name];
  execFileSync('openssl', made, { stdio: 'pipe' });
  const port = await freePort();
  const files = ['--tls-cert-file', certificate, '--tls-key-file', key, '--tls-ca-cert-file', certificate];
  const tls = ['--tls-port', String(port), ...files, '--tls-auth-clients', 'no', '--tls-cluster', 'yes'];
  const names = ['--cluster-announce-hostname', 'localhost', '--cluster-preferred-endpoint-type'];
  const server = await serve(...tls, ...names, 'hostname');
  const options = { url: `rediss://localhost:${port}`, caFile: certificate };
  const connection = await open(options);
  await expect.poll(() => connection.connected, recovery).toBe(true);
  expect(await get(connection)).toBeNull();
  await ask(
    server,
    'CONFIG',
    'SET',
    'cluster-preferred-endpoint-type',
    'ip',
    'cluster-announce-ip',
    '127.0.0.1',
  );
  const refused = await open(options);
  await expect
    .poll(() => faultOf(get(refused)), recovery)
    .toMatchObject({
      cause: { code: 'ERR_TLS_CERT_ALTNAME_INVALID' },
    });
});

/** No answer yet. */
function faultOnly(error: unknown): string {
  expect(error).toMatchObject({ code: 'store_unavailable' });
  return 'a fault';
}
