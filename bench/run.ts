/**
 * `npm run bench`: Coatcheck beside its alternatives, in one run on one machine. `-- --write` overwrites results.md and
 * the plots; `-- --quick` takes seconds and shows that it runs, not how fast.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { loadavg } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type RedisServer, startRedisServer } from '../test/redis-server.ts';
import { startReplyProxy } from '../test/reply-proxy.ts';
import { measureEndpoints } from './gated-endpoint.ts';
import { startPostgresServer } from './postgres-server.ts';
import { resultsPlots, resultsText } from './report.ts';
import type { Growth, LoadCost, Results, Revocation, StoredBytes } from './results.ts';
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
      endedUntold: 10,
      maximumAgeMs: 500,
      grown: [500, 2000],
      grownLoads: 200,
    }
  : {
      rounds: 5,
      roundMs: 2000,
      warmUpMs: 2000,
      connections: 32,
      sessions: 1000,
      loadRounds: 5,
      loads: 3000,
      ended: 3400,
      endedUntold: 200,
      maximumAgeMs: 1000,
      grown: [1000, 10_000, 100_000, 1_000_000],
      grownLoads: 2000,
    };

const [loadBefore = 0] = loadavg();
const versions = installPeers();
const results = await measure();
const text = resultsText(results);
console.log(`\n${text}`);
if (flags.write) {
  writeFileSync(join(here, 'results.md'), text);
  for (const [name, plot] of resultsPlots(results)) writeFileSync(join(here, name), plot);
}

async function measure(): Promise<Results> {
  const redis = await startRedisServer();
  const postgres = await startPostgresServer();
  try {
    console.log('A session-gated endpoint');
    const endpoints = await measureEndpoints({ ...size, redisUrl: redis.url, postgresUrl: postgres?.url });
    await postgres?.stop();
    console.log('load(), call by call');
    const loadCosts: LoadCost[] = [];
    for (let round = 0; round < size.loadRounds; round += 1) {
      loadCosts.push((await runProcess('load-cost.js', [redis.url, String(size.loads)])) as LoadCost);
    }
    console.log('Revocation');
    const revocation = await revoke(redis, redis.url, {
      sessions: size.ended,
      atOnce: 1,
      maximumAgeMs: 30_000,
    });
    const cutRevocation = await revokeUntold(redis);
    console.log('Bytes per session');
    const { rows } = (await runProcess('stored-bytes.js', [redis.url])) as { rows: StoredBytes[] };
    console.log('Growth');
    return {
      endpoints,
      loadCosts,
      storedBytes: rows,
      revocation,
      cutRevocation,
      growth: await grow(),
      loadBefore,
      versions: {
        ...versions,
        'redis-server': redisVersion(),
        ...(postgres && { PostgreSQL: postgres.version }),
      },
      settings: `${size.rounds} rounds of ${size.roundMs / 1000} s each, ${size.connections} connections, ${size.sessions} sessions.`,
    };
  } finally {
    await Promise.all([redis.stop(), postgres?.stop()]);
  }
}

interface Ending {
  readonly sessions: number;
  readonly atOnce: number;
  readonly maximumAgeMs: number;
}

/** `replicaUrl`: by which those who are to refuse reach the server. */
async function revoke(
  { url }: RedisServer,
  replicaUrl: string,
  { sessions, atOnce, maximumAgeMs }: Ending,
): Promise<Revocation> {
  const words = [url, replicaUrl, String(sessions), String(atOnce), `${maximumAgeMs}ms`];
  return (await runProcess('revocation.js', words)) as Revocation;
}

/** Through a proxy that passes everything on but what the server tells of changes. */
async function revokeUntold(redis: RedisServer): Promise<Results['cutRevocation']> {
  const proxy = await startReplyProxy(redis.port);
  proxy.fault = (reply) => (reply.includes('invalidate') ? 'drop' : 'pass');
  try {
    const { endedUntold: sessions, maximumAgeMs } = size;
    const ending = { sessions, atOnce: Math.min(sessions, 50), maximumAgeMs };
    return { ...(await revoke(redis, proxy.url, ending)), maximumAgeMs };
  } finally {
    await proxy.close();
  }
}

/** Beside ever more sessions, each number of them on a server of its own. */
async function grow(): Promise<Growth> {
  const servers: RedisServer[] = [];
  try {
    const words = [String(size.grownLoads)];
    for (const sessions of size.grown) {
      const server = await startRedisServer();
      servers.push(server);
      words.push(`${sessions}=${server.url}`);
    }
    return (await runProcess('growth.js', words)) as Growth;
  } finally {
    await Promise.all(servers.map((server) => server.stop()));
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
