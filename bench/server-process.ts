import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';

const processes = join(import.meta.dirname, 'processes');

/** Plain Node, production, nothing of our own loader. */
function start(file: string, words: readonly string[], env: Readonly<Record<string, string>>): ChildProcess {
  return fork(join(processes, file), words, {
    execArgv: [],
    env: { ...process.env, ...env, NODE_ENV: 'production', NODE_OPTIONS: '' },
  });
}

/** The next message; a process that ends instead has failed. */
function messageOf(child: ChildProcess, file: string): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const onMessage = (message: unknown): void => {
      child.off('exit', onExit);
      resolve(message);
    };
    const onExit = (code: number | null): void => {
      child.off('message', onMessage);
      reject(new Error(`${file} ended with ${code}`));
    };
    child.once('message', onMessage).once('exit', onExit);
  });
}

/** Runs one of `processes/` to its one message. */
export async function runProcess(file: string, words: readonly string[]): Promise<unknown> {
  const child = start(file, words, {});
  const message = await messageOf(child, file);
  if (child.exitCode === null) await once(child, 'exit');
  return message;
}

/** A contender in a process of its own. */
export interface ServerProcess {
  readonly port: number;
  readonly cookies: readonly string[];
  /** What it has used up so far. */
  usage(): Promise<Usage>;
  stop(): Promise<void>;
}

/** What a contender has used up since its start. */
export interface Usage {
  readonly processorMicroseconds: number;
  /** Length of its store's write-ahead log; 0 where there is none. */
  readonly writtenBytes: number;
}

/** What a contender needs. */
export interface ServerOptions {
  /** Its file in `processes/`, and its argument. */
  readonly file: string;
  readonly words: readonly string[];
  readonly redisUrl: string;
  readonly postgresUrl: string | undefined;
  readonly sessions: number;
}

/** Starts a contender and waits until it listens and has made its sessions. */
export async function startServer({
  file,
  words,
  redisUrl,
  postgresUrl = '',
  sessions,
}: ServerOptions): Promise<ServerProcess> {
  const child = start(file, words, {
    BENCH_REDIS_URL: redisUrl,
    BENCH_POSTGRES_URL: postgresUrl,
    BENCH_SESSIONS: String(sessions),
  });
  const { port, cookies } = (await messageOf(child, file)) as { port: number; cookies: string[] };
  return {
    port,
    cookies,
    async usage() {
      const answer = messageOf(child, file);
      child.send('usage');
      return (await answer) as Usage;
    },
    async stop() {
      const exited = once(child, 'exit');
      child.disconnect();
      await exited;
    },
  };
}
