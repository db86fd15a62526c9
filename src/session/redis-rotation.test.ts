import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { freePort } from '../../demo/free-ports.ts';
import { ask, startRedisServer } from '../../test/redis-server.ts';
import { newSessionId } from '../../test/store-contract.ts';
import { createRedisConnection } from './redis-connection.ts';
import { createRedisStore } from './redis-store.ts';

const cleanUp: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const each of cleanUp.splice(0).reverse()) await each();
});

const recovery = { timeout: 8000, interval: 10 };

function place(): string {
  const directory = mkdtempSync(join(tmpdir(), 'coatcheck-rotation-'));
  cleanUp.push(() => rmSync(directory, { recursive: true }));
  return directory;
}

test('S-069 the password of the store changes without a failed read, and every later connection has the new one', async () => {
  const server = await startRedisServer();
  cleanUp.push(() => server.stop());
  await ask(server, 'ACL', 'SETUSER', 'apps', 'on', '~cc:*', '+@all', '-@dangerous', '>first');
  const passwordFile = join(place(), 'password');
  writeFileSync(passwordFile, 'first\n');
  const url = server.url.replace('//', '//apps@');
  const connection = createRedisConnection({ url, passwordFile });
  const store = createRedisStore({ connection });
  cleanUp.push(() => store.close());
  await connection.start();
  let working = true;
  let reads = 0;
  const load = (async () => {
    for (; working; reads += 1) expect(await store.read(newSessionId())).toEqual({ kind: 'miss' });
  })();
  const readOn = async (): Promise<void> => {
    const before = reads;
    await expect.poll(() => reads).toBeGreaterThan(before + 20);
  };
  await readOn();
  await ask(server, 'ACL', 'SETUSER', 'apps', '>second');
  writeFileSync(passwordFile, 'second\n');
  await readOn();
  await ask(server, 'ACL', 'SETUSER', 'apps', '<first');
  await readOn();
  working = false;
  await load;
  await ask(server, 'CLIENT', 'KILL', 'USER', 'apps');
  await expect.poll(() => connection.connected, recovery).toBe(false);
  await expect.poll(() => connection.connected, recovery).toBe(true);
  await store.ping();
});

test('S-069 the authority of the store changes with its file', async () => {
  const directory = place();
  const [key, certificate, caFile] = ['key', 'certificate', 'ca'].map((name) => join(directory, name));
  if (key === undefined || certificate === undefined || caFile === undefined) throw new Error('no paths');
  /** A new certificate, which is its own authority. */
  const certify = (): void => {
    const name = ['-subj', '/CN=test', '-addext', 'subjectAltName=IP:127.0.0.1'];
    const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', key];
    const args = ['req', '-x509', ...newKey, '-out', certificate, '-days', '1', ...name];
    execFileSync('openssl', args, { stdio: 'pipe' });
  };
  certify();
  const port = await freePort();
  const files = ['--tls-cert-file', certificate, '--tls-key-file', key];
  const args = ['--tls-port', String(port), ...files, '--tls-auth-clients', 'no'];
  const server = await startRedisServer({ args });
  cleanUp.push(() => server.stop());
  execFileSync('cp', [certificate, caFile]);
  const connection = createRedisConnection({ url: `rediss://127.0.0.1:${port}`, caFile });
  cleanUp.push(() => connection.close());
  await connection.start();
  await expect.poll(() => connection.connected, recovery).toBe(true);
  certify();
  await server.restart();
  await expect.poll(() => connection.connected, recovery).toBe(false);
  const fault: unknown = await connection
    .run(undefined, (redis) => redis.send(['PING']))
    .catch((error) => error);
  expect(fault).toMatchObject({ code: 'store_unavailable' });
  execFileSync('cp', [certificate, caFile]);
  await expect.poll(() => connection.connected, recovery).toBe(true);
});
