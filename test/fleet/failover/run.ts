/**
 * `npm run failover -- --runs 10 --only NAME[,NAME]`: real stores, broken in every way we promise to live through, beside a fleet at
 * work. Results go to docs/failover.json by scenario, and the whole of it to docs/failover.md. Exit code 1 if a promise is broken.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { clusterScenarios } from './cluster-plays.ts';
import { drill } from './drill.ts';
import type { Scenario } from './play.ts';
import { environment, type Report, reportText, type ScenarioReport } from './report.ts';
import { judgeAll, type RunResult } from './run-result.ts';
import { sentinelScenarios } from './sentinel-plays.ts';
import { singleScenarios } from './single-plays.ts';

const { values: flags } = parseArgs({
  options: {
    runs: { type: 'string', default: '10' },
    only: { type: 'string' },
    write: { type: 'boolean', default: false },
  },
});

const scenarios: readonly Scenario[] = [...sentinelScenarios, ...clusterScenarios, ...singleScenarios];
const resultsFile = 'docs/failover.json';
const pageFile = 'docs/failover.md';
const wanted = flags.only?.split(',') ?? scenarios.map(({ name }) => name);
const unknown = wanted.filter((name) => !scenarios.some((scenario) => scenario.name === name));
if (unknown.length > 0)
  throw new Error(`no such scenario: ${unknown}; there are ${scenarios.map(({ name }) => name)}`);

let broken = 0;
for (const scenario of scenarios.filter(({ name }) => wanted.includes(name))) {
  console.log(`${scenario.name} (${scenario.topology}): ${scenario.what}`);
  const runs = await drill(scenario, {
    runs: Number(flags.runs),
    onRun(result, number) {
      broken += result.broken.length;
      console.log(`  ${number}: ${describeRun(result)}`);
      for (const line of result.broken) console.log(`     BROKEN ${line}`);
    },
  });
  for (const line of judgeAll(runs)) {
    broken += 1;
    console.log(`  BROKEN ${line}`);
  }
  if (flags.write) keep({ name: scenario.name, ...environment(), runs });
}
process.exitCode = broken === 0 ? 0 : 1;

function describeRun({
  late,
  awayMs,
  answers,
  p999Ms,
  maxMs,
  backMs,
  policies,
  acknowledged,
  lost,
}: RunResult): string {
  const seconds = (ms: number): string => `${(ms / 1000).toFixed(2)} s`;
  return [
    `away ${seconds(awayMs)}, back after ${seconds(backMs)}`,
    `${answers} answers, p99.9 ${Math.round(p999Ms)} ms, max ${Math.round(maxMs)} ms, ${late} late`,
    `${lost} of ${acknowledged} sessions lost`,
    JSON.stringify(policies).replaceAll('"', ''),
  ].join('; ');
}

/** Beside what is known of other scenarios already. */
function keep(report: ScenarioReport): void {
  const known = existsSync(resultsFile) ? (JSON.parse(readFileSync(resultsFile, 'utf8')) as Report) : [];
  const all = scenarios.flatMap(({ name }) =>
    name === report.name ? [report] : known.filter((each) => each.name === name),
  );
  writeFileSync(resultsFile, `${JSON.stringify(all, null, 2)}\n`);
  writeFileSync(pageFile, reportText(all, scenarios));
}
