/** The page that tells the results. */
import { execFileSync } from 'node:child_process';
import { cpus, totalmem } from 'node:os';
import type { Scenario } from './play.ts';
import type { PolicyCounts, RunResult } from './run-result.ts';
import type { TrafficKind } from './traffic.ts';

/** Where and when something was measured. */
export interface Environment {
  readonly machine: string;
  readonly versions: string;
  readonly date: string;
}

/** All runs of one scenario. */
export interface ScenarioReport extends Environment {
  readonly name: string;
  readonly runs: readonly RunResult[];
}

/** What there is to tell, in the scenarios' order. */
export type Report = readonly ScenarioReport[];

/** Of this machine, now. */
export function environment(): Environment {
  const [processor] = cpus();
  const server = execFileSync('redis-server', ['--version'], { encoding: 'utf8' });
  return {
    machine: `${cpus().length} × ${processor?.model.split(' ').slice(0, 2).join(' ')}, ${Math.round(totalmem() / 2 ** 30)} GiB, ${process.platform} ${process.arch}`,
    versions: `Node.js ${process.versions.node}, redis-server ${/v=(\S+)/.exec(server)?.[1]}`,
    date: new Date().toISOString().slice(0, 10),
  };
}

/** The page, in Markdown. */
export function reportText(report: Report, scenarios: readonly Scenario[]): string {
  const whatOf = (name: string): Scenario | undefined => scenarios.find((each) => each.name === name);
  const measured = report.map(
    ({ machine, versions, date, runs }) => `${machine}; ${versions}; ${date}; ${runs.length} runs each`,
  );
  return `# What happens when the store fails

<!-- Written by \`npm run failover -- --write\`. -->

Real \`redis-server\` processes are broken beside a fleet of two gateways (real processes, default settings, near cache on) and a
balancer, while people who are signed in read and others sign in: about 250 reads and 3 sign-ins a second, at a pace that does
not wait for answers. One fleet lives through all runs of a scenario; nothing of ours is restarted. Everything shares one machine.

${[...new Set(measured)].map((line) => `- ${line}`).join('\n')}

A run is broken, and the command fails, unless all of this holds: no session is lost whose owner was told (an emptied store
excepted: there, people sign in again, and can); nobody with a live session is sent to sign in, no cookie is touched; 99.9 % of answers
come within 500 ms and all within 2 s; everything is as ever within a second of the store's own recovery. When that was, a bare
client tells, which asks the store 30 times a second on a new connection each time (a write and a read, on each primary).

| scenario | what happens | store away (s) | back after (s) | answers / later than 500 ms | p99.9 (ms) | slowest (ms) | sessions told / lost | signed out |
| --- | --- | --: | --: | --: | --: | --: | --: | --: |
${report.map((each) => row(each, whatOf(each.name))).join('\n')}

Store away, back after, p99.9: median of the runs, in brackets the worst. The store may be away more than once in a run; each time
counts. Answers: from the mishap to a second after the store's recovery.

## What each policy answered meanwhile

From the mishap until the store was back; all runs together. Sessions that a gateway keeps in memory are served as ever until it
notices, rightly: until then nobody can have been signed out elsewhere unheard for more than two seconds.

| scenario | \`fail-closed\`: as ever / 503 | \`fail-open\`: as ever / stale / 503 | \`anonymous\`: as ever / without a session | sign-in steps: as ever / 503 |
| --- | --: | --: | --: | --: |
${report.map(policyRow).join('\n')}

To repeat it: \`npm run failover -- --runs 10\`, or \`--only ${report[0]?.name ?? 'NAME'}\`; with \`--write\` it overwrites this page.
`;
}

function row({ name, runs }: ScenarioReport, scenario: Scenario | undefined): string {
  const sum = (of: (run: RunResult) => number): string =>
    runs.reduce((all, run) => all + of(run), 0).toLocaleString('en');
  const cells = [
    name,
    `${scenario?.topology}: ${scenario?.what}`,
    spread(
      runs.map(({ awayMs }) => awayMs / 1000),
      1,
    ),
    spread(
      runs.map(({ backMs }) => backMs / 1000),
      2,
    ),
    `${sum(({ answers }) => answers)} / ${sum(({ late }) => late)}`,
    spread(
      runs.map(({ p999Ms }) => p999Ms),
      0,
    ),
    Math.max(...runs.map(({ maxMs }) => maxMs)).toFixed(0),
    `${sum(({ acknowledged }) => acknowledged)} / ${sum(({ lost }) => lost)}`,
    sum(({ signedOut }) => signedOut),
  ];
  return `| ${cells.join(' | ')} |`;
}

function policyRow({ name, runs }: ScenarioReport): string {
  const counts = (kind: TrafficKind, ...outcomes: (keyof PolicyCounts)[]): string =>
    outcomes
      .map((outcome) => runs.reduce((all, run) => all + run.policies[kind][outcome], 0).toLocaleString('en'))
      .join(' / ');
  const cells = [
    name,
    counts('fail-closed', 'served', 'refused'),
    counts('fail-open', 'served', 'stale', 'refused'),
    counts('anonymous', 'served', 'anonymous'),
    counts('sign-in', 'served', 'refused'),
  ];
  return `| ${cells.join(' | ')} |`;
}

/** Median, and the worst in brackets. */
function spread(values: readonly number[], digits: number): string {
  const sorted = [...values].sort((one, other) => one - other);
  const median = sorted[Math.floor(sorted.length / 2)] ?? 0;
  return `${median.toFixed(digits)} (${(sorted.at(-1) ?? 0).toFixed(digits)})`;
}
