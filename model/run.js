// `npm run model`: lets spin go through every run of the protocol that a configuration allows, and prints what held.
// `-- --mutants`: plants one bug at a time and says which property catches it. `-- --quick`: the smallest configurations.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { configurations, mutants, properties } from './configurations.js';

const folder = new URL('./', import.meta.url).pathname;
const memoryMb = 4000;
const timeoutMs = 300_000;

/** Runs a program in a directory; a program that is missing ends everything, by name. */
const run = (program, args, cwd) => {
  const result = spawnSync(program, args, { cwd, encoding: 'utf8', timeout: timeoutMs, maxBuffer: 2 ** 28 });
  if (result.error?.code === 'ENOENT') {
    console.error(`${program} is missing. On Debian: apt-get install spin gcc libc6-dev`);
    process.exit(1);
  }
  return { status: result.status, text: `${result.stdout ?? ''}${result.stderr ?? ''}` };
};

/** The verifier: every reachable state (safety), or every fair infinite run against the formula of the model. */
const verify = ({ model, flags = '', liveness = false }) => {
  const cwd = mkdtempSync(join(tmpdir(), 'coatcheck-model-'));
  try {
    const defines = flags
      .split(' ')
      .filter(Boolean)
      .map((flag) => `-D${flag}`);
    const generated = run('spin', ['-a', ...defines, join(folder, `${model}.pml`)], cwd);
    const mode = liveness ? ['-DNFAIR=4'] : ['-DSAFETY', '-DNOCLAIM'];
    const options = ['-O2', '-w', `-DMEMLIM=${memoryMb}`, '-DCOLLAPSE', ...mode];
    const compiled = run('cc', [...options, '-o', 'pan', 'pan.c'], cwd);
    if (compiled.status !== 0) return { fault: `${generated.text}${compiled.text}` };
    const result = resultOf(run('./pan', ['-m1000000', ...(liveness ? ['-a', '-f'] : [])], cwd).text);
    if (process.argv.includes('--trail') && result.caught !== undefined)
      writeFileSync(
        `${model}.trail.txt`,
        run(
          'spin',
          ['-k', `${model}.pml.trail`, '-p', '-g', '-l', ...defines, join(folder, `${model}.pml`)],
          cwd,
        ).text,
      );
    return result;
  } finally {
    rmSync(cwd, { recursive: true, force: true });
  }
};

/** What pan says. A search that was cut short has shown nothing. */
const resultOf = (text) => {
  const states = Number(/(\d+) states, stored/.exec(text)?.[1]);
  const depth = Number(/depth reached (\d+)/.exec(text)?.[1]);
  // The first line that begins so is the error itself; the list of unreached code below names assertions too.
  const error = /^pan:\d+: (?:assertion violated|invalid end state|acceptance cycle).*/m.exec(text)?.[0];
  if (error !== undefined) return { caught: propertyOf(error), states, depth };
  const complete =
    /errors: 0/.test(text) && !/Search not completed|max search depth|out of memory/.test(text);
  return complete ? { states, depth } : { fault: text };
};

const propertyOf = (error) => {
  if (error.includes('acceptance cycle')) return 'answered';
  if (error.includes('invalid end state')) return 'no deadlock';
  return properties[/\|\|\((\d+)==0\)\)/.exec(error)?.[1]] ?? error;
};

const number = (value) => value.toLocaleString('en');
const row = (...cells) => console.log(`| ${cells.join(' | ')} |`);

const checkAll = (quick) => {
  row('model', 'faults and sizes', 'holds', 'states', 'depth', 'result');
  row('---', '---', '---', '--:', '--:', '---');
  let failed = 0;
  for (const configuration of configurations.filter((one) => !quick || one.quick)) {
    const { model, flags, liveness, holds } = configuration;
    const result = verify(configuration);
    const isFine = result.fault === undefined && result.caught === undefined;
    if (!isFine) failed += 1;
    const verdict = isFine ? 'ok' : `BROKEN: ${result.caught ?? result.fault}`;
    row(
      model,
      flags || 'none',
      liveness ? 'answered' : holds,
      number(result.states ?? 0),
      number(result.depth ?? 0),
      verdict,
    );
  }
  return failed;
};

const checkMutants = () => {
  row('model', 'planted bug', 'allowed faults', 'caught by');
  row('---', '---', '---', '---');
  let failed = 0;
  for (const mutant of mutants) {
    const result = verify({ ...mutant, flags: `${mutant.bug} ${mutant.flags}` });
    if (result.caught === undefined) failed += 1;
    row(
      mutant.model,
      `${mutant.text} (\`${mutant.bug}\`)`,
      mutant.flags || 'none',
      result.caught ?? `NOT CAUGHT ${result.fault ?? ''}`,
    );
  }
  return failed;
};

const failed = process.argv.includes('--mutants')
  ? checkMutants()
  : checkAll(process.argv.includes('--quick'));
process.exitCode = failed === 0 ? 0 : 1;
