import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { freePort } from '../../demo/free-ports.ts';
import { ask, type RedisServer, startRedisServer } from '../../test/redis-server.ts';
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

describe('S-069 the password of the store changes under load', () => {
  interface Loaded {
    readonly server: RedisServer;
    readonly passwordFile: string;
    readonly reads: { done: number; failed: unknown[] };
    readonly writes: { done: number; failed: unknown[] };
    /** Lets every live connection ask for its credentials now. */
    readonly renew: () => void;
    /** Resolves after some more of both. */
    goOn(): Promise<void>;
    end(): Promise<void>;
  }

  /** Four who read and one who writes, each as fast as it can, on a store with one user and its password `first`. */
  async function load(): Promise<Loaded> {
    const server = await startRedisServer();
    cleanUp.push(() => server.stop());
    await ask(server, 'ACL', 'SETUSER', 'apps', 'on', '~cc:*', '+@all', '-@dangerous', '>first');
    const passwordFile = join(place(), 'password');
    writeFileSync(passwordFile, 'first\n');
    const timers = new Set<() => void>();
    const connection = createRedisConnection({
      url: server.url.replace('//', '//apps@'),
      passwordFile,
      // Other tests may want the machine too.
      deadlineMs: 5000,
      startTimer(work) {
        timers.add(work);
        return () => timers.delete(work);
      },
    });
    const store = createRedisStore({ connection });
    cleanUp.push(() => store.close());
    await connection.start();
    await connection.whenConnected();
    let working = true;
    const repeat = async (tally: { done: number; failed: unknown[] }, work: () => Promise<unknown>) => {
      for (; working; tally.done += 1) {
        await work().catch((fault) => tally.failed.push(fault));
        await new Promise(setImmediate);
      }
    };
    const reads = { done: 0, failed: [] };
    const writes = { done: 0, failed: [] };
    const record = { idleDeadlineMs: Date.now() + 60_000, absoluteDeadlineMs: Date.now() + 60_000 };
    const workers = [
      ...Array.from({ length: 4 }, () => repeat(reads, () => store.read(newSessionId()))),
      repeat(writes, () => store.create(newSessionId(), { ...record, body: Buffer.from('body') })),
    ];
    return {
      server,
      passwordFile,
      reads,
      writes,
      renew() {
        const due = [...timers];
        timers.clear();
        for (const work of due) work();
      },
      async goOn() {
        const before = [reads.done, writes.done];
        await expect.poll(() => reads.done).toBeGreaterThan(Number(before[0]) + 100);
        await expect.poll(() => writes.done).toBeGreaterThan(Number(before[1]) + 20);
      },
      async end() {
        working = false;
        await Promise.all(workers);
      },
    };
  }
  /** With which password the connections of the user have come in. */
  const passwords = async (server: RedisServer): Promise<number> =>
    ((await ask(server, 'ACL', 'GETUSER', 'apps')) as { passwords: string[] }).passwords.length;
  const authCalls = async (server: RedisServer): Promise<number> =>
    Number(/cmdstat_auth:calls=(\d+)/.exec(String(await ask(server, 'INFO', 'commandstats')))?.[1] ?? 0);

  test('and no request fails: live connections sign in again, and every later one has the new one', async () => {
    const { server, passwordFile, renew, goOn, end, reads, writes } = await load();
    await goOn();
    await ask(server, 'ACL', 'SETUSER', 'apps', '>second');
    expect(await passwords(server)).toBe(2);
    writeFileSync(passwordFile, 'second\n');
    renew();
    await expect.poll(() => authCalls(server)).toBe(1);
    await ask(server, 'ACL', 'SETUSER', 'apps', '<first');
    await goOn();
    // Not again while the file stays as it is.
    renew();
    await goOn();
    await end();
    expect([reads.failed, writes.failed]).toEqual([[], []]);
    expect(await authCalls(server)).toBe(1);
    await ask(server, 'CLIENT', 'KILL', 'USER', 'apps');
  });

  test('and its connections are cut besides: no read fails, and of the writes only what was under way', async () => {
    const { server, passwordFile, goOn, end, reads, writes } = await load();
    await goOn();
    await ask(server, 'ACL', 'SETUSER', 'apps', '>second');
    writeFileSync(passwordFile, 'second\n');
    await ask(server, 'ACL', 'SETUSER', 'apps', '<first');
    const cuts = 3;
    for (let cut = 0; cut < cuts; cut += 1) {
      await ask(server, 'CLIENT', 'KILL', 'USER', 'apps');
      await goOn();
      // Cuts within seconds of each other are one incident, and only its first is made good at once.
      await new Promise((resolve) => setTimeout(resolve, 5100));
    }
    await end();
    expect(reads.failed).toEqual([]);
    // Nobody knows whether it has happened, so it is not done again: at most one for each cut, for there is one writer.
    expect(writes.failed.length).toBeLessThanOrEqual(cuts);
    for (const fault of writes.failed)
      expect(fault).toMatchObject({
        code: 'store_unavailable',
        message: expect.stringContaining('the connection was lost'),
      });
  });
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
