import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { createInterface } from 'node:readline';
import { freePort } from '../demo/free-ports.ts';

/** A running server with its own, new cluster and the settings that PostgreSQL comes with. */
export interface PostgresServer {
  readonly url: string;
  /** As `postgres --version` says. */
  readonly version: string;
  stop(): Promise<void>;
}

/** Where distributions lay the server, if not on PATH. */
const versionsDirectory = '/usr/lib/postgresql';

/** Starts a PostgreSQL that is gone afterwards; `undefined` where none is installed. */
export async function startPostgresServer(): Promise<PostgresServer | undefined> {
  const directory = findDirectory();
  if (directory === undefined) return undefined;
  const home = mkdtempSync(join(tmpdir(), 'coatcheck-postgres-'));
  const owner = unprivileged();
  if (owner.uid !== undefined) spawnSync('chown', [`${owner.uid}:${owner.gid}`, home]);
  const cluster = join(home, 'cluster');
  const made = spawnSync(
    join(directory, 'initdb'),
    ['--pgdata', cluster, '--username', 'bench', '--auth', 'trust', '--encoding', 'UTF8', '--no-locale'],
    { ...owner, cwd: home, encoding: 'utf8' },
  );
  if (made.status !== 0) throw new Error(`initdb has failed: ${made.stderr}`);
  const port = await freePort();
  const child = spawn(
    join(directory, 'postgres'),
    ['-D', cluster, '-p', String(port), '-h', '127.0.0.1', '-k', home],
    { ...owner, cwd: home, stdio: ['ignore', 'ignore', 'pipe'] },
  );
  await ready(child);
  return {
    url: `postgres://bench@127.0.0.1:${port}/postgres`,
    version:
      /\d[\d.]*/.exec(
        spawnSync(join(directory, 'postgres'), ['--version'], { encoding: 'utf8' }).stdout,
      )?.[0] ?? '?',
    async stop() {
      if (child.exitCode !== null) return;
      const exited = once(child, 'exit');
      child.kill('SIGINT');
      await exited;
      rmSync(home, { recursive: true, force: true });
    },
  };
}

function findDirectory(): string | undefined {
  const installed = existsSync(versionsDirectory)
    ? readdirSync(versionsDirectory)
        .toSorted((one, other) => Number(other) - Number(one))
        .map((version) => join(versionsDirectory, version, 'bin'))
    : [];
  return [...(process.env.PATH ?? '').split(delimiter), ...installed].find((directory) =>
    existsSync(join(directory, 'initdb')),
  );
}

/** PostgreSQL does not run as root: then as nobody. */
function unprivileged(): { readonly uid?: number; readonly gid?: number } {
  if (process.getuid?.() !== 0) return {};
  const idOf = (option: string): number =>
    Number(spawnSync('id', [option, 'nobody'], { encoding: 'utf8' }).stdout);
  return { uid: idOf('-u'), gid: idOf('-g') };
}

/** By its log, whose lines have to be read to the end anyway. */
async function ready({ stderr }: ChildProcess): Promise<void> {
  if (stderr === null) throw new Error('postgres has no log');
  const lines = createInterface({ input: stderr });
  const said: string[] = [];
  await new Promise<void>((resolve, reject) => {
    lines.on('line', (line) => {
      said.push(line);
      if (line.includes('ready to accept connections')) resolve();
    });
    lines.once('close', () => reject(new Error(`postgres has ended: ${said.join('\n')}`)));
  });
}
