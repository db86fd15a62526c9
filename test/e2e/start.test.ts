/** `npm start` as a newcomer types it: what it says, what it leaves behind. Needs Linux's /proc to see processes. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { rootDirectory } from '../../demo/child.ts';
import { nextFreePort } from '../../demo/free-ports.ts';

interface Started {
  readonly process: ChildProcess;
  /** All that it has written. */
  output(): string;
}

const started: ChildProcess[] = [];
afterEach(() => {
  for (const process of started.splice(0)) process.kill('SIGKILL');
});

function start(args: readonly string[], env: Record<string, string> = {}): Started {
  const child = spawn(process.execPath, ['demo/start.js', ...args], {
    cwd: rootDirectory,
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  started.push(child);
  let output = '';
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => (output += text));
  return { process: child, output: () => output };
}

async function startReady(
  args: readonly string[],
  env: Record<string, string> = {},
): Promise<Started & { url: string }> {
  const demonstration = start(args, env);
  await vi.waitFor(() => expect(demonstration.output()).toContain('Ctrl-C stops everything'), 60_000);
  return { ...demonstration, url: /Open +(\S+)/.exec(demonstration.output())?.[1] ?? '' };
}

/** Direct children of a process. */
function childrenOf(pid: number): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && existsSync(`/proc/${name}/stat`))
    .filter((name) => Number(/\) \w (\d+)/.exec(readFileSync(`/proc/${name}/stat`, 'utf8'))?.[1]) === pid)
    .map(Number);
}

const alive = (pids: readonly number[]): number[] => pids.filter((pid) => existsSync(`/proc/${pid}`));

describe('npm start', () => {
  test('takes the next port where the wanted one is taken, serves, and stops without a trace', async () => {
    const taken = createServer().listen(0, '127.0.0.1');
    await once(taken, 'listening');
    const address = taken.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    const {
      process: demonstration,
      output,
      url,
    } = await startReady(['--port', `${port}`, '--replicas', '2']);
    taken.close();
    expect(output()).toContain(`Port ${port} is taken`);
    expect(url).not.toBe(`http://localhost:${port}`);
    expect((await fetch(url)).headers.get('coatcheck-replica')).toMatch(/^replica-[12]$/);

    const children = childrenOf(demonstration.pid ?? 0);
    expect(children.length).toBeGreaterThanOrEqual(5);
    const directory = /Logs +(\S+)\/\*\.log/.exec(output())?.[1] ?? '';
    expect(existsSync(directory)).toBe(true);
    demonstration.kill('SIGTERM');
    expect(await once(demonstration, 'exit')).toEqual([0, null]);
    await vi.waitFor(() => expect(alive(children)).toEqual([]), 2_000);
    expect(existsSync(directory)).toBe(false);
  });

  test('leaves no process behind when it is killed itself', async () => {
    const { process: demonstration } = await startReady([
      '--port',
      `${await nextFreePort(18_080)}`,
      '--replicas',
      '1',
    ]);
    const children = childrenOf(demonstration.pid ?? 0);
    expect(children.length).toBeGreaterThanOrEqual(4);
    demonstration.kill('SIGKILL');
    await vi.waitFor(() => expect(alive(children)).toEqual([]), 8_000);
  });

  test('works on a machine without any Redis', async () => {
    const port = await nextFreePort(18_080);
    const { output, url } = await startReady(['--port', `${port}`, '--replicas', '1'], {
      COATCHECK_EMBEDDED_STORE: 'wasm',
    });
    expect(output()).toContain('WebAssembly');
    // The transaction of this sign-in is kept in the store.
    const login = await fetch(`${url}/auth/login?return_to=/`, {
      redirect: 'manual',
      headers: { accept: 'text/html' },
    });
    expect(login.status).toBe(303);
  });

  test('ends when npm is ended, which passes no signal on', async () => {
    const port = await nextFreePort(18_080);
    const npm = spawn('npm', ['start', '--', '--port', `${port}`, '--replicas', '1'], {
      cwd: rootDirectory,
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    started.push(npm);
    let output = '';
    npm.stdout.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
    await vi.waitFor(() => expect(output).toContain('Ctrl-C stops everything'), 60_000);
    npm.kill('SIGTERM');
    await vi.waitFor(() => expect(fetch(`http://localhost:${port}`)).rejects.toThrow(), 10_000);
    const directory = /Logs +(\S+)\/\*\.log/.exec(output)?.[1] ?? '';
    await vi.waitFor(() => expect(existsSync(directory)).toBe(false), 10_000);
  });

  test('names a store that nothing answers at, and leaves nothing running', async () => {
    const failed = start(['--port', `${await nextFreePort(18_080)}`, '--store', 'redis://127.0.0.1:1']);
    expect(await once(failed.process, 'close')).toEqual([1, null]);
    expect(failed.output()).toContain("nothing answers at the store's address 127.0.0.1:1");
  });

  test('explains itself, and names a wrong flag', async () => {
    const help = start(['--help']);
    expect(await once(help.process, 'close')).toEqual([0, null]);
    expect(help.output()).toContain('--replicas');
    const wrong = start(['--replicas', 'many']);
    expect(await once(wrong.process, 'close')).toEqual([2, null]);
    expect(wrong.output()).toContain('--replicas must be a whole number from 1 to 9; it was "many"');
    const unknown = start(['--prot', '1']);
    expect(await once(unknown.process, 'close')).toEqual([2, null]);
    expect(unknown.output()).toContain("'--prot'");
  });
});
