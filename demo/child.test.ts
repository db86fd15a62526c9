import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { type Child, logTail, rootDirectory, startChild } from './child.ts';

let directory: string;
let logFile: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'coatcheck-child-'));
  logFile = join(directory, 'child.log');
});
afterEach(() => rm(directory, { recursive: true, force: true }));

const start = (script: string, announces = false): Child =>
  startChild({ name: 'child', command: [process.execPath, '-e', script], logFile, announces });

const isAlive = (pid: number): boolean => {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ESRCH') return false;
    throw error;
  }
};

describe('a child', () => {
  test('announces itself once, and its announcement is not logged', async () => {
    const child = start(
      "console.log('noise'); console.log('{\"secret\":1}'); console.log('{\"later\":2}')",
      true,
    );
    expect(await child.announcement).toBe('{"secret":1}');
    await vi.waitFor(async () => expect(await readFile(logFile, 'utf8')).toBe('noise\n{"later":2}\n'));
  });

  test('that ends too early is reported with the last lines of its log', async () => {
    const child = start("console.error('the reason'); process.exitCode = 3", true);
    await expect(child.announcement).rejects.toThrow('the reason');
    expect(await child.ended).toEqual({ code: 3, signal: null, asked: false });
    expect(logTail(logFile, 1)).toEqual(['the reason']);
  });

  test('whose program does not exist ends at once', async () => {
    const child = startChild({ name: 'child', command: ['/does/not/exist'], logFile });
    expect(await child.ended).toEqual({ code: null, signal: null, asked: false });
  });

  test('that ignores SIGTERM is ended by force', async () => {
    const child = start(
      "process.on('SIGTERM', () => {}); setInterval(() => {}, 1e6); console.log('{}')",
      true,
    );
    await child.announcement;
    await child.stop(200);
    expect(await child.ended).toEqual({ code: null, signal: 'SIGKILL', asked: true });
  });

  test('does not outlive a parent that was killed', async () => {
    const command = JSON.stringify([process.execPath, '-e', 'setInterval(() => {}, 1e6)']);
    const script = `import { startChild } from './demo/child.ts';
      const child = startChild({ name: 'child', command: ${command}, logFile: ${JSON.stringify(logFile)} });
      console.log(child.pid);`;
    const parent = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', script], {
      cwd: rootDirectory,
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const [line] = (await once(parent.stdout, 'data')) as [Buffer];
    const pid = Number(line);
    expect(isAlive(pid)).toBe(true);
    parent.kill('SIGKILL');
    await vi.waitFor(() => expect(isAlive(pid)).toBe(false), 5_000);
  });
});
