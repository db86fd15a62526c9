import { cpus, totalmem, type } from 'node:os';
import { type Contender, contenders, type EndpointResults } from './gated-endpoint.ts';
import { plot } from './plot.ts';
import { type Spread, spreadOf } from './statistics.ts';

/** Times of single calls, in µs. */
export interface Latency {
  readonly p50: number;
  readonly p99: number;
  readonly calls: number;
}

/** What `load-cost.js` tells. */
export interface LoadCost {
  /** From the near cache. */
  readonly cached: Latency;
  /** From the store, of a session that this process has not opened before. */
  readonly first: Latency;
  /** From the store, of one that it has, unchanged since. */
  readonly again: Latency;
  /** A bare GET of the same bytes. */
  readonly get: Latency;
}

/** What `revocation.js` tells. */
export interface Revocation {
  readonly sessions: number;
  readonly replicas: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly mostMs: number;
}

/** What `stored-bytes.js` tells of one length of token, in bytes. */
export interface StoredBytes {
  readonly tokenCharacters: number;
  readonly coatcheck: number;
  readonly index: number;
  readonly peer: number;
  readonly coatcheckValue: number;
  readonly peerValue: number;
}

/** Everything that was measured. */
export interface Results {
  readonly endpoints: EndpointResults;
  /** One per round. */
  readonly loadCosts: readonly LoadCost[];
  readonly storedBytes: readonly StoredBytes[];
  readonly revocation: Revocation;
  /** By package; `redis-server` among them. */
  readonly versions: Readonly<Record<string, string>>;
  /** Of the last minute before the start: whether the machine had other work. */
  readonly loadBefore: number;
  /** How it was measured, in a sentence. */
  readonly settings: string;
}

const names = Object.keys(contenders) as Contender[];

/** The plot of the endpoints. */
export function resultsPlot({ endpoints }: Results): string {
  const bars = names.map((name) => ({
    title: contenders[name].title,
    value: endpoints[name].requestsPerSecond,
    note: `${endpoints[name].over.express.median.toFixed(1)}×`,
    own: contenders[name].title.startsWith('Coatcheck'),
  }));
  return plot('Requests per second of a session-gated endpoint, one process', bars);
}

/** The whole of `results.md`. */
export function resultsText(results: Results): string {
  const { endpoints, loadCosts, storedBytes, revocation, versions, settings } = results;
  return `# Benchmark

<!-- Written by \`npm run bench -- --write\`. -->

- Machine: ${machine()}, shared by server, client and Redis. Load average before the start: ${results.loadBefore.toFixed(1)}${results.loadBefore > 0.5 ? ', so other work disturbed it; the machine to believe is an idle one' : ''}.
- Node.js ${process.versions.node}; ${Object.entries(versions)
    .map(([name, version]) => `${name} ${version}`)
    .join(', ')}.
- ${new Date().toISOString().slice(0, 10)}. ${settings}
- To reproduce: \`npm run bench\`; with \`-- --write\` it overwrites this file and the plot; with \`-- --quick\` it only shows, in
  seconds, that it runs.

![requests per second](results.svg)

## A session-gated endpoint

Each contender in a process of its own, measured in turns, round after round, by the same client; every answer is checked
to belong to the person who asked. In each session are a person and two tokens of 1,200 characters. Median of the rounds, in
brackets the least and the most; ratios are taken within a round. The processor time is that of the server process alone.
All prolong a session that is in use, except iron-session and @fastify/session where it is not rolling. Clients of
connect-redis run without node-redis's default timer per command, as ours do, which is up to twice as fast as their default.

${endpointTable(endpoints)}

## \`load()\`, call by call

${latencyTable(loadCosts)}

The bare GET reads the same bytes by the same client with the same settings, in turns with \`load()\`, which also checks
them, and opens and parses what it has not opened before. ${loadCosts.length} rounds; medians.

## Revocation

${revocationText(revocation)}

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
  const rows = names.map((name) => {
    const { requestsPerSecond, processorMicroseconds, over } = endpoints[name];
    return [
      contenders[name].title,
      spread(requestsPerSecond, 0),
      spread(processorMicroseconds, 1),
      spread(over.express, 2),
      spread(over.bare, 2),
    ];
  });
  return table(['', 'requests/s', 'processor µs/request', '× express-session', '× bare'], rows);
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

function revocationText({ sessions, replicas, p50Ms, p99Ms, mostMs }: Revocation): string {
  const [p50, p99, most] = [p50Ms, p99Ms, mostMs].map((value) => value.toFixed(2));
  return `From the call of \`destroy()\` in one process to the refusal in each of ${replicas} others that had the session in their near
caches and ask every millisecond; ${sessions} sessions, ${sessions * replicas} refusals: p50 ${p50} ms, p99 ${p99} ms, at most ${most} ms.`;
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

function targetTable({ endpoints, loadCosts, storedBytes, revocation }: Results): string {
  const { cached, uncached } = endpoints;
  const overGet = (pick: (cost: LoadCost) => Latency): number =>
    median(loadCosts.map((cost) => pick(cost).p50 / cost.get.p50));
  const rates: [string, number, number][] = [
    ['cached, × express-session + connect-redis', cached.over.express.median, 8],
    ['cached, × @fastify/session + connect-redis', cached.over.fastifyRolling.median, 4],
    ['cached, × bare node:http', cached.over.bare.median, 0.75],
    ['uncached, × express-session + connect-redis', uncached.over.express.median, 1.8],
  ];
  const limits: [string, number, number][] = [
    ['`load()` cached, p50, µs', median(loadCosts.map((cost) => cost.cached.p50)), 5],
    ['`load()` uncached, p50, × the bare GET', overGet(({ again }) => again), 1.3],
    ['the same, for the first time in a process', overGet(({ first }) => first), 1.3],
    ['bytes per session, × connect-redis, 1,200 characters', bytesRatio(at1200(storedBytes)), 1.1],
    ['bytes per session, × connect-redis, mean over lengths', bytesRatio(storedBytes), 1.1],
    ['revocation, p99, ms', revocation.p99Ms, 10],
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
