import { cpus, totalmem, type } from 'node:os';
import { type Contender, contenders, type EndpointResult, type EndpointResults } from './gated-endpoint.ts';
import { plot } from './plot.ts';
import type { Growth, Latency, LoadCost, Results, Revocation, StoredBytes } from './results.ts';
import { type Spread, spreadOf } from './statistics.ts';

/** The plots, by file name. */
export function resultsPlots({ endpoints, growth }: Results): ReadonlyMap<string, string> {
  const rates = [...endpoints].map(([name, { requestsPerSecond, over }]) => ({
    title: contenders[name].title,
    value: requestsPerSecond,
    note: `${over.express.median.toFixed(1)}×`,
    own: contenders[name].title.startsWith('Coatcheck'),
  }));
  const loads = growth.rows.map((row) => ({
    title: `${row.sessions.toLocaleString('en')} sessions stored`,
    value: spreadOf([row.loadMicroseconds]),
    note: `${overFirst(growth, row).toFixed(2)}×`,
    own: true,
  }));
  return new Map([
    [
      'results.svg',
      plot('Requests per second of a session-gated endpoint, and × express-session + connect-redis', rates),
    ],
    ['growth.svg', plot('load() without the near cache: p50 in µs, and × the fewest sessions', loads)],
  ]);
}

/** The whole of `results.md`. */
export function resultsText(results: Results): string {
  const { endpoints, loadCosts, storedBytes, versions, settings } = results;
  return `# Benchmark

<!-- Written by \`npm run bench -- --write\`. -->

- Machine: ${machine()}, shared by server, client and Redis. Load average before the start: ${results.loadBefore.toFixed(1)}${results.loadBefore > 0.5 ? ', so other work disturbed it; the machine to believe is an idle one' : ''}.
- Node.js ${process.versions.node}; ${Object.entries(versions)
    .map(([name, version]) => `${name} ${version}`)
    .join(', ')}.
- ${new Date().toISOString().slice(0, 10)}. ${settings}
- To reproduce: \`npm run bench\`; with \`-- --write\` it overwrites this file and the plots; with \`-- --quick\` it only shows, in
  seconds, that it runs.

![requests per second](results.svg)

## A session-gated endpoint

Each contender in a process of its own, measured in turns, round after round, by the same client; every answer is checked
to belong to the person who asked. In each session are a person and two tokens of 1,200 characters. Median of the rounds, in
brackets the least and the most; ratios are taken within a round. The processor time is that of the server process alone.
All prolong a session that is in use, except iron-session and @fastify/session where it is not rolling. Clients of
connect-redis run without node-redis's default timer per command, as ours do, which is up to twice as fast as their default.
A session answered by Coatcheck's near cache is read again every 30 s, as in production; these reads are in the numbers.

${endpointTable(endpoints)}

### What the decision for Redis weighed

The same app, express-session, over each place that sessions could be in. In memory there is one replica, and a restart
loses everybody; PostgreSQL, with its own defaults, writes ahead what lives for minutes.

${alternativesTable(endpoints)}

## \`load()\`, call by call

${latencyTable(loadCosts)}

The bare GET reads the same bytes by the same client with the same settings, in turns with \`load()\`, which also checks
them, and opens and parses what it has not opened before. ${loadCosts.length} rounds; medians.

## Revocation

${revocationText(results)}

## Growth

![load latency by number of stored sessions](growth.svg)

${growthText(results.growth)}

## Bytes per session in Redis

${bytesTable(storedBytes)}

The server rounds values up to size classes, hence the mean over lengths. Coatcheck also keeps one index entry per
session, by which all sessions of a person can be ended; connect-redis has none. Its sessions lie in plain text, ours sealed.

## Held against the aims

${targetTable(results)}
`;
}

function machine(): string {
  const processors = cpus();
  const gibibytes = Math.round(totalmem() / 2 ** 30);
  return `${processors.length} × ${processors[0]?.model.trim()}, ${gibibytes} GiB, ${type()} ${process.arch}`;
}

function endpointTable(endpoints: EndpointResults): string {
  const rows = [...endpoints].map(([name, { requestsPerSecond, processorMicroseconds, over }]) => [
    contenders[name].title,
    spread(requestsPerSecond, 0),
    spread(processorMicroseconds, 1),
    spread(over.express, 2),
    spread(over.bare, 2),
  ]);
  return table(['', 'requests/s', 'processor µs/request', '× express-session', '× bare'], rows);
}

function alternativesTable(endpoints: EndpointResults): string {
  const row = (title: string, name: Contender): string[] => {
    const result = endpoints.get(name);
    if (result === undefined) return [title, 'not installed', '', ''];
    return [
      title,
      spread(result.requestsPerSecond, 0),
      spread(result.over.express, 2),
      spread(result.writtenBytes, 0),
    ];
  };
  return table(
    ['express-session over', 'requests/s', '× Redis', 'written ahead, bytes/request'],
    [
      row('memory', 'expressMemory'),
      row('Redis (connect-redis)', 'express'),
      row('PostgreSQL (connect-pg-simple)', 'expressPostgres'),
    ],
  );
}

function latencyTable(loadCosts: readonly LoadCost[]): string {
  const row = (title: string, pick: (cost: LoadCost) => Latency): string[] => [
    title,
    median(loadCosts.map((cost) => pick(cost).p50)).toFixed(1),
    median(loadCosts.map((cost) => pick(cost).p99)).toFixed(1),
    String(loadCosts.reduce((sum, cost) => sum + pick(cost).calls, 0)),
  ];
  return table(
    ['', 'p50 µs', 'p99 µs', 'calls'],
    [
      row('`load()` from the near cache', ({ cached }) => cached),
      row('`load()` without it, opened here before', ({ again }) => again),
      row('`load()` without it, for the first time', ({ first }) => first),
      row('bare GET of the same bytes', ({ get }) => get),
    ],
  );
}

function revocationText({ revocation, cutRevocation }: Results): string {
  const times = ({ sessions, refusals, p50Ms, p99Ms, mostMs }: Revocation): string => {
    const [p50, p99, most] = [p50Ms, p99Ms, mostMs].map((value) => value.toFixed(2));
    return `${sessions} sessions, ${refusals} refusals: p50 ${p50} ms, p99 ${p99} ms, at most ${most} ms`;
  };
  return `From the call of \`destroy()\` in one process to the refusal in each of ${revocation.refusals / revocation.sessions} others that had the session in their near
caches and ask every millisecond. ${times(revocation)}.

The same where a proxy between those others and Redis lets everything through but what the server tells of changes, with a
maximum age of ${cutRevocation.maximumAgeMs} ms. ${times(cutRevocation)}.`;
}

function growthText(growth: Growth): string {
  const { sessionsPerPerson, cacheEntries, cacheBytes, rows } = growth;
  const cells = rows.map((row) => [
    row.sessions.toLocaleString('en'),
    row.loadMicroseconds.toFixed(1),
    overFirst(growth, row).toFixed(2),
    row.listMicroseconds.toFixed(1),
    row.destroyAllMicroseconds.toFixed(0),
    row.storedBytes.toFixed(0),
  ]);
  return `${table(
    [
      'sessions stored',
      '`load()` p50 µs',
      '× the first',
      'listing a person µs',
      'ending them µs',
      'stored bytes/session',
    ],
    cells,
  )}

Servers of each size are asked in turns; near cache off. A person has ${sessionsPerPerson} sessions, which are listed by the index and then
ended side by side. Stored bytes are those of the whole server, index entries and key table included. An entry of the near
cache takes ${cacheBytes.toFixed(0)} bytes of heap and buffers, session included (${cacheEntries.toLocaleString('en')} entries).`;
}

function overFirst({ rows }: Growth, { loadMicroseconds }: { readonly loadMicroseconds: number }): number {
  return loadMicroseconds / (rows[0]?.loadMicroseconds ?? Number.NaN);
}

function bytesTable(rows: readonly StoredBytes[]): string {
  const line = (title: string, of: readonly StoredBytes[]): string[] => [
    title,
    ...(['coatcheck', 'peer', 'coatcheckValue', 'peerValue', 'index'] as const).map((name) =>
      mean(of.map((row) => row[name])).toFixed(0),
    ),
    bytesRatio(of).toFixed(3),
  ];
  return table(
    [
      'two tokens of',
      'Coatcheck',
      'connect-redis',
      'Coatcheck, value alone',
      'connect-redis, value alone',
      'our index entry',
      'ratio',
    ],
    [
      line('1,200 characters', at1200(rows)),
      line(`${rows[0]?.tokenCharacters}…${rows.at(-1)?.tokenCharacters} characters, mean`, rows),
    ],
  );
}

function at1200(rows: readonly StoredBytes[]): StoredBytes[] {
  return rows.filter(({ tokenCharacters }) => tokenCharacters === 1200);
}

function bytesRatio(rows: readonly StoredBytes[]): number {
  return mean(rows.map(({ coatcheck }) => coatcheck)) / mean(rows.map(({ peer }) => peer));
}

function targetTable(results: Results): string {
  const { endpoints, loadCosts, storedBytes, revocation, cutRevocation, growth } = results;
  const over = (name: Contender, other: keyof EndpointResult['over']): number =>
    endpoints.get(name)?.over[other].median ?? Number.NaN;
  const overGet = (pick: (cost: LoadCost) => Latency): number =>
    median(loadCosts.map((cost) => pick(cost).p50 / cost.get.p50));
  const rates: [string, number, number][] = [
    ['cached, × express-session + connect-redis', over('cached', 'express'), 8],
    ['cached, × @fastify/session + connect-redis', over('cached', 'fastifyRolling'), 4],
    ['cached, × bare node:http', over('cached', 'bare'), 0.75],
    ['uncached, × express-session + connect-redis', over('uncached', 'express'), 1.8],
  ];
  const limits: [string, number, number][] = [
    ['`load()` cached, p50, µs', median(loadCosts.map((cost) => cost.cached.p50)), 5],
    ['`load()` uncached, p50, × the bare GET', overGet(({ again }) => again), 1.3],
    ['the same, for the first time in a process', overGet(({ first }) => first), 1.3],
    ['bytes per session, × connect-redis, 1,200 characters', bytesRatio(at1200(storedBytes)), 1.1],
    ['bytes per session, × connect-redis, mean over lengths', bytesRatio(storedBytes), 1.1],
    ['revocation, p99, ms', revocation.p99Ms, 10],
    [
      'revocation that nobody tells of, at most, × the maximum age',
      cutRevocation.mostMs / cutRevocation.maximumAgeMs,
      1.1,
    ],
    [
      '`load()` uncached beside most sessions, × beside fewest',
      Math.max(...growth.rows.map((row) => overFirst(growth, row))),
      1.2,
    ],
  ];
  return table(
    ['', 'aim', 'measured', ''],
    [
      ...rates.map(([title, value, aim]) => [title, `≥ ${aim}`, value.toFixed(2), verdict(value >= aim)]),
      ...limits.map(([title, value, aim]) => [title, `≤ ${aim}`, value.toFixed(2), verdict(value <= aim)]),
    ],
  );
}

function verdict(reached: boolean): string {
  return reached ? 'reached' : 'missed';
}

function spread({ median: middle, least, most }: Spread, digits: number): string {
  const [first, low, high] = [middle, least, most].map((value) =>
    value.toLocaleString('en', { minimumFractionDigits: digits, maximumFractionDigits: digits }),
  );
  return `${first} (${low}–${high})`;
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const rule = head.map((_, index) => (index === 0 ? '---' : '--:'));
  return [head, rule, ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

function median(values: readonly number[]): number {
  return spreadOf(values).median;
}
