import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createClient } from '@redis/client';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { type EmbeddedStore, type EmbeddedStoreKind, startEmbeddedStore } from './embedded-store.ts';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'coatcheck-store-'));
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(directory, { recursive: true, force: true });
});

const connectTo = (url: string) =>
  createClient({ url, RESP: 3 })
    .on('error', () => {})
    .connect();

async function medianGetMs(url: string): Promise<number> {
  const client = await connectTo(url);
  await client.set('k', 'v');
  const tookMs: number[] = [];
  for (let i = 0; i < 300; i += 1) {
    const beganMs = performance.now();
    await client.get('k');
    tookMs.push(performance.now() - beganMs);
  }
  client.destroy();
  return tookMs.sort((a, b) => a - b)[150] ?? Number.POSITIVE_INFINITY;
}

describe.each<EmbeddedStoreKind>(['wasm', 'redis-server'])('the embedded store of kind %s', (kind) => {
  let store: EmbeddedStore;
  beforeEach(async () => {
    store = await startEmbeddedStore({ directory, kind });
  });
  afterEach(() => store.close());

  test('answers a sequential GET in less than 2 ms at the median', async () => {
    expect(await medianGetMs(store.url)).toBeLessThan(2);
  });

  test('knows the commands that sessions need', async () => {
    const client = await connectTo(store.url);
    const untilMs = Date.now() + 60_000;
    expect(await client.sendCommand(['SET', 'once', 'value', 'NX', 'PXAT', `${untilMs}`])).toBe('OK');
    expect(await client.sendCommand(['SET', 'once', 'other', 'NX', 'PXAT', `${untilMs}`])).toBeNull();
    expect(Number(await client.sendCommand(['PEXPIRETIME', 'once']))).toBe(untilMs);
    expect(await client.sendCommand(['SETRANGE', 'once', '1', 'AL'])).toBe(5);
    expect(await client.sendCommand(['GETDEL', 'once'])).toBe('vALue');
    const sha = await client.scriptLoad(
      "return {struct.unpack('>I4', struct.pack('>I4', tonumber(ARGV[1])))}",
    );
    expect(await client.evalSha(sha, { arguments: ['4000000000'] })).toContain(4_000_000_000);
    client.destroy();
  });

  test('shows every command to MONITOR', async () => {
    const watcher = await connectTo(store.url);
    const client = await connectTo(store.url);
    const seen: string[] = [];
    await watcher.monitor((line) => seen.push(line.toString()));
    await client.set('watched', '1');
    await vi.waitFor(() => expect(seen.join('\n')).toContain('"watched"'));
    watcher.destroy();
    client.destroy();
  });

  test('ends when it is closed', async () => {
    await store.close();
    expect(await store.child.ended).toMatchObject({ asked: true });
    expect(() => process.kill(store.child.pid, 0)).toThrow('ESRCH');
  });
});

test('without a server program on PATH the WebAssembly store is taken', async () => {
  vi.stubEnv('PATH', directory);
  const store = await startEmbeddedStore({ directory });
  expect(store.kind).toBe('wasm');
  await store.close();
});

test('a kind that is not on this machine is named in the error', async () => {
  vi.stubEnv('PATH', directory);
  await expect(startEmbeddedStore({ directory, kind: 'redis-server' })).rejects.toThrow('redis-server');
});
