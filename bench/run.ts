/**
 * `npm run bench`: Coatcheck beside its alternatives, in one run on one machine. `-- --write` overwrites results.md and
 * results.svg; `-- --quick` takes seconds and shows that it runs, not how fast.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { loadavg } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { startRedisServer } from '../test/redis-server.ts';
import { measureEndpoints } from './gated-endpoint.ts';
import {
  type LoadCost,
  type Results,
  type Revocation,
  resultsPlot,
  resultsText,
  type StoredBytes,
} from './report.ts';
import { runProcess } from './server-process.ts';

const here = import.meta.dirname;

const { values: flags } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    write: { type: 'boolean', default: false },
  },
});

const size = flags.quick
  ? {
      rounds: 1,
      roundMs: 200,
      warmUpMs: 100,
      connections: 8,
      sessions: 10,
      loadRounds: 1,
      loads: 100,
      ended: 20,
    }
  : {
      rounds: 5,
      roundMs: 2000,
      warmUpMs: 2000,
      connections: 32,
      sessions: 1000,
      loadRounds: 5,
      loads: 3000,
      ended: 1000,
    };

const [loadBefore = 0] = loadavg();
const versions = installPeers();
const results = await measure();
const text = resultsText(results);
console.log(`\n${text}`);
if (flags.write) {
  writeFileSync(join(here, 'results.md'), text);
  writeFileSync(join(here, 'results.svg'), resultsPlot(results));
}

async function measure(): Promise<Results> {
  const redis = await startRedisServer();
  try {
    console.log('A session-gated endpoint');
    const endpoints = await measureEndpoints({ ...size, redisUrl: redis.url });
    console.log('load(), call by call');
    const loadCosts: LoadCost[] = [];
    for (let round = 0; round < size.loadRounds; round += 1) {
      loadCosts.push((await runProcess('load-cost.js', [redis.url, String(size.loads)])) as LoadCost);
    }
    console.log('Revocation');
    const revocation = (await runProcess('revocation.js', [redis.url, String(size.ended)])) as Revocation;
    console.log('Bytes per session');
    const { rows } = (await runProcess('stored-bytes.js', [redis.url])) as { rows: StoredBytes[] };
    return {
      endpoints,
      loadCosts,
      storedBytes: rows,
      revocation,
      loadBefore,
      versions: { ...versions, 'redis-server': redisVersion() },
      settings: `${size.rounds} rounds of ${size.roundMs / 1000} s each, ${size.connections} connections, ${size.sessions} sessions.`,
    };
  } finally {
    await redis.stop();
  }
}

/** Installs what we are compared with, where a package or its version is missing; returns the versions. */
function installPeers(): Record<string, string> {
  const { dependencies } = packageFile(here) as { dependencies: Record<string, string> };
  const missing = Object.entries(dependencies).some(
    ([name, version]) => packageFile(join(here, 'node_modules', name))?.version !== version,
  );
  if (missing) {
    console.log('Installing what Coatcheck is compared with …');
    const { status } = spawnSync('npm', ['install', '--no-save', '--ignore-scripts'], {
      cwd: here,
      stdio: ['ignore', 'ignore', 'inherit'],
      shell: process.platform === 'win32',
    });
    if (status !== 0) throw new Error('npm install in bench/ has failed');
  }
  return dependencies;
}

function packageFile(directory: string): Record<string, unknown> | undefined {
  try {
    return JSON.parse(readFileSync(join(directory, 'package.json'), 'utf8')) as Record<string, unknown>;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
}

function redisVersion(): string {
  const { stdout } = spawnSync('redis-server', ['--version'], { encoding: 'utf8' });
  return /v=(\S+)/.exec(stdout ?? '')?.[1] ?? 'unknown';
}
