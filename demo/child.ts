/** Child processes that never outlive us, each with a log file of its own. */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, createWriteStream, existsSync, openSync, readFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { dirname } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

/** The repository's root: every child runs there. */
export const rootDirectory: string = dirname(dirname(fileURLToPath(import.meta.url)));

/** What to run. */
export interface ChildOptions {
  /** Shown to people, and the name of the log file. */
  readonly name: string;
  /** Program and arguments. */
  readonly command: readonly [string, ...string[]];
  /** Everything the child writes goes here, appended. */
  readonly logFile: string;
  /** Added to our own environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** The child says what others need to know in one line of JSON on stdout. Default: false, and nobody reads stdout. */
  readonly announces?: boolean;
}

/** A running child. */
export interface Child {
  readonly name: string;
  readonly pid: number;
  readonly logFile: string;
  /** The first line on stdout that is a JSON object, where the child announces one. Rejects if the child ends before it. */
  readonly announcement: Promise<string>;
  /** Resolves, never rejects, when the process has ended. */
  readonly ended: Promise<ChildEnd>;
  /** Sends a signal; a no-op once ended. */
  signal(signal: NodeJS.Signals): void;
  /** SIGTERM, after `graceMs` SIGKILL; resolves when it has ended. Default: 5 s. */
  stop(graceMs?: number): Promise<void>;
}

/** How a child ended. */
export interface ChildEnd {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** True where `stop` was called first. */
  readonly asked: boolean;
}

let reaper: Socket | undefined;

/** Tells the reaper `+pid` or `-pid`, and starts it at first need. It never holds this process open. */
function tellReaper(line: string): void {
  if (reaper === undefined || reaper.destroyed) {
    const child = spawn(process.execPath, [fileURLToPath(new URL('reaper.js', import.meta.url))], {
      detached: true,
      stdio: ['pipe', 'ignore', 'ignore'],
    });
    child.unref();
    reaper = child.stdin as Socket;
    reaper.unref();
    // Somebody ended it: the next child gets a new one.
    reaper.on('error', () => {});
  }
  reaper.write(`${line}\n`);
}

/** The command line for one of our TypeScript files. */
export function typescriptCommand(file: string, ...args: string[]): [string, ...string[]] {
  return [process.execPath, '--disable-warning=ExperimentalWarning', '--import', 'tsx', file, ...args];
}

/** The last lines of a child's log: for the message that says it died. None where the log has been removed already. */
export function logTail(logFile: string, lines = 5): string[] {
  if (!existsSync(logFile)) return [];
  return readFileSync(logFile, 'utf8').trimEnd().split('\n').slice(-lines);
}

/** Starts a child in a process group of its own: a Ctrl-C reaches only us, and we stop the children in order. */
export function startChild(options: ChildOptions): Child {
  const log = openSync(options.logFile, 'a', 0o600);
  const [program, ...args] = options.command;
  const child = spawn(program, args, {
    cwd: rootDirectory,
    detached: true,
    env: { ...process.env, ...options.env },
    stdio: ['ignore', options.announces ? 'pipe' : log, log],
  });
  closeSync(log);
  const { pid } = child;
  let asked = false;
  const ended = new Promise<ChildEnd>((resolve) => {
    child.once('error', () => resolve({ code: null, signal: null, asked }));
    child.once('exit', (code, signal) => {
      if (pid !== undefined) tellReaper(`-${pid}`);
      resolve({ code, signal, asked });
    });
  });
  if (pid !== undefined) tellReaper(`+${pid}`);
  const announcement = readAnnouncement(child, options, ended);
  announcement.catch(() => {});
  const signal = (name: NodeJS.Signals): void => void child.kill(name);
  return {
    name: options.name,
    pid: pid ?? -1,
    logFile: options.logFile,
    announcement,
    ended,
    signal,
    stop: async (graceMs = 5_000) => {
      asked = true;
      signal('SIGTERM');
      const timer = setTimeout(() => signal('SIGKILL'), graceMs);
      await ended;
      clearTimeout(timer);
    },
  };
}

function readAnnouncement(
  child: ChildProcess,
  options: ChildOptions,
  ended: Promise<ChildEnd>,
): Promise<string> {
  const { stdout } = child;
  if (stdout === null) return Promise.resolve('');
  const log = createWriteStream(options.logFile, { flags: 'a' });
  return new Promise((resolve, reject) => {
    const lines = createInterface({ input: stdout });
    let announced = false;
    lines.on('line', (line) => {
      // An announcement may hold secrets, which have no place in a log.
      if (announced || !line.startsWith('{')) return void log.write(`${line}\n`);
      announced = true;
      resolve(line);
    });
    lines.once('close', () => log.end());
    void ended.then(() =>
      reject(new Error(`${options.name} ended before it was ready: ${logTail(options.logFile).join(' | ')}`)),
    );
  });
}
