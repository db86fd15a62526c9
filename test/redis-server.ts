/** Real Redis processes for tests and demos: private, in memory, gone with the process that started them. */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { accessSync, constants, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { createClient } from '@redis/client';
import { freePort } from '../demo/free-ports.ts';

/** A running server. */
export interface RedisServer {
  /** `redis://127.0.0.1:<port>`. */
  readonly url: string;
  readonly port: number;
  /** Of the present process; another one after `restart`. */
  readonly pid: number;
  readonly process: ChildProcess;
  /** Ends it, also where it is stopped or hangs. */
  stop(): Promise<void>;
  /** Sends a signal, e.g. `SIGSTOP`; waits for the end after `SIGKILL` and `SIGTERM`. */
  kill(signal: NodeJS.Signals): Promise<void>;
  /** Starts anew, empty, on the same port; what it has learned of a cluster it still knows. */
  restart(): Promise<void>;
}

/** Options of {@link startRedisServer}. */
export interface RedisServerOptions {
  /** Further command line arguments, e.g. `['--replicaof', '127.0.0.1 6380']`. */
  readonly args?: readonly string[];
  /** Default: a free one. */
  readonly port?: number;
  /** The text of a configuration file, which the server may rewrite. Default: none. */
  readonly config?: string;
}

/** Starts `redis-server` (or `valkey-server`) from PATH and waits until it answers. */
export async function startRedisServer(options: RedisServerOptions = {}): Promise<RedisServer> {
  const binary = findBinary();
  const port = options.port ?? (await freePort());
  const directory = mkdtempSync(join(tmpdir(), 'coatcheck-redis-'));
  const fixed = [
    '--port',
    port,
    '--bind',
    '127.0.0.1',
    '--save',
    '',
    '--appendonly',
    'no',
    '--dir',
    directory,
  ];
  const configFile = join(directory, 'redis.conf');
  if (options.config !== undefined) writeFileSync(configFile, options.config);
  const file = options.config === undefined ? [] : [configFile];
  const args = [...file, ...fixed.map(String), ...(options.args ?? [])];
  let child = await launch(binary, args, port);
  const kill = async (signal: NodeJS.Signals): Promise<void> => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, 'exit');
    child.kill(signal);
    if (signal === 'SIGKILL' || signal === 'SIGTERM') await exited;
  };
  return {
    url: `redis://127.0.0.1:${port}`,
    port,
    get pid() {
      return child.pid ?? 0;
    },
    get process() {
      return child;
    },
    kill,
    // Nothing is kept on disk, so nothing is lost by SIGKILL; and it also ends a stopped process.
    async stop() {
      await kill('SIGKILL');
      rmSync(directory, { recursive: true, force: true });
    },
    async restart() {
      await kill('SIGKILL');
      child = await launch(binary, args, port);
    },
  };
}

/**
 * The commands that clients send to the server at `url` during `work`: name and first argument. Those of scripts are
 * left out, and so are `INFO` and `PING`, by which a connection asks about the server now and then.
 */
export async function countCommands(url: string, work: () => Promise<unknown>): Promise<string[][]> {
  const port = Number(new URL(url).port);
  const monitor = connect(port, '127.0.0.1');
  const marker = connect(port, '127.0.0.1');
  try {
    await Promise.all([once(monitor, 'connect'), once(marker, 'connect')]);
    const lines = createInterface({ input: monitor })[Symbol.asyncIterator]();
    monitor.write('MONITOR\r\n');
    await lines.next();
    await work();
    // Redis is single-threaded: when the monitor shows the mark, it has shown all that went before.
    const mark = randomUUID();
    marker.write(`ECHO ${mark}\r\n`);
    const commands: string[][] = [];
    for (let line = await lines.next(); !line.done && !line.value.includes(mark); line = await lines.next()) {
      const [, source, command] = /^\S+ \[\d+ (\S+)\] (.*)$/.exec(line.value) ?? [];
      if (command === undefined || source === 'lua') continue;
      const words = Array.from(command.matchAll(/"((?:[^"\\]|\\.)*)"/g), (match) => match[1] ?? '');
      if (words[0] !== 'INFO' && words[0] !== 'PING') commands.push(words.slice(0, 2));
    }
    return commands;
  } finally {
    monitor.destroy();
    marker.destroy();
  }
}

function findBinary(): string {
  for (const name of ['redis-server', 'valkey-server']) {
    for (const directory of (process.env.PATH ?? '').split(delimiter)) {
      const path = join(directory, name);
      if (isExecutable(path)) return path;
    }
  }
  throw new Error('No redis-server or valkey-server in PATH. On Debian: apt-get install redis-server');
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** Sends one command on a connection of its own. */
export async function ask(server: { readonly url: string }, ...command: string[]): Promise<unknown> {
  const client = createClient({ url: server.url, disableOfflineQueue: true });
  client.on('error', () => undefined);
  await client.connect();
  try {
    return await client.sendCommand(command);
  } finally {
    client.destroy();
  }
}

/** Waits until `condition` holds; a fault of it means not yet. */
export async function until(what: string, condition: () => Promise<boolean>): Promise<void> {
  const deadlineMs = performance.now() + 20_000;
  while (!(await condition().catch(() => false))) {
    if (performance.now() > deadlineMs) throw new Error(`Not within 20 s: ${what}`);
    await delay(20);
  }
}

async function launch(binary: string, args: readonly string[], port: number): Promise<ChildProcess> {
  const child = spawn(binary, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  endWithUs(child);
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output = (output + text).slice(-2000);
    });
  }
  const deadlineMs = performance.now() + 10_000;
  while (!(await answersPing(port))) {
    if (child.exitCode !== null || performance.now() > deadlineMs) {
      child.kill('SIGKILL');
      throw new Error(`${binary} did not start on port ${port}:\n${output}`);
    }
    await delay(10);
  }
  return child;
}

/** Ends the server when this process is gone, even by SIGKILL: only then does the watcher's stdin end. */
function endWithUs(child: ChildProcess): void {
  const watcher = spawn('sh', ['-c', 'cat >/dev/null; kill -9 "$0"', String(child.pid)], {
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  watcher.unref();
  (watcher.stdin as Socket).unref();
  // Before the pipe closes, so that a process id used again is never hit.
  child.once('exit', () => watcher.kill('SIGKILL'));
}

/** True for any answer: a server that wants a password, or still loads, is up. */
async function answersPing(port: number): Promise<boolean> {
  const socket: Socket = connect(port, '127.0.0.1');
  try {
    socket.write('PING\r\n');
    await once(socket, 'data', { signal: AbortSignal.timeout(1000) });
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}
