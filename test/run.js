// `npm test`: everything that is checked, from a fresh clone. What is missing on the machine is installed where that is
// possible and is a failure where it is not; nothing is skipped. The last line is `N passed, N failed`.
import { spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { install, requireNode, root } from '../demo/prepare.js';

/** Programs that no npm package brings: any one of the names, and the Debian package. */
const programs = [
  { names: ['redis-server'], package: 'redis-server' },
  { names: ['openssl'], package: 'openssl' },
  { names: ['spin'], package: 'spin' },
  { names: ['cc', 'gcc'], package: 'gcc' },
  { names: ['chromium', 'chromium-browser', 'google-chrome'], variable: 'CHROMIUM', package: 'chromium' },
];

let passed = 0;
let failed = 0;

const count = (what, fine) => {
  if (fine) passed += 1;
  else failed += 1;
  console.log(`${fine ? '✓' : '✗'} ${what}`);
};

const run = (program, args, options = {}) => {
  const result = spawnSync(program, args, {
    cwd: root,
    stdio: 'inherit',
    shell: process.platform === 'win32',
    ...options,
  });
  return result.status === 0;
};

const executable = (path) => {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    // Not there, or not for us: the same here.
    return false;
  }
};

const onPath = (name) =>
  process.env.PATH.split(delimiter).some((directory) => executable(join(directory, name)));

const isThere = ({ names, variable }) =>
  names.some(onPath) || (variable in process.env && executable(process.env[variable]));

/** Installs Debian packages as root or by sudo without password. The service of a server package is not started. */
const aptInstall = (packages) => {
  const prefix = process.getuid?.() === 0 ? [] : ['sudo', '-n'];
  if (!onPath('apt-get') || (prefix.length > 0 && !run('sudo', ['-n', 'true'], { stdio: 'ignore' }))) return;
  const apt = (...args) => {
    const [program, ...rest] = [
      ...prefix,
      'env',
      'DEBIAN_FRONTEND=noninteractive',
      'RUNLEVEL=1',
      'apt-get',
      '-qq',
      ...args,
    ];
    return run(program, rest);
  };
  console.log(`Installing ${packages.join(', ')} …`);
  if (apt('update')) apt('install', '-y', '--no-install-recommends', ...packages);
};

const installPrograms = () => {
  const missing = programs.filter((program) => !isThere(program));
  if (missing.length > 0) aptInstall(missing.map((program) => program.package));
  for (const program of programs) {
    const hint = isThere(program)
      ? ''
      : `: install the package ${program.package}, so that one of these is on PATH`;
    count(`machine: ${program.names.join(' or ')}${hint}`, hint === '');
  }
};

/** The parts of `npm run check`, each by its name. Its vitest part is what we run anyhow. */
const check = () => {
  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const parts = [...(scripts.check ?? '').matchAll(/npm run ([\w:-]+)/g)].map(([, name]) => name);
  // Built first: other checks and the tests look at the result.
  for (const name of new Set(['build', ...parts])) {
    console.log(`\n── ${name}`);
    count(`check: ${name}`, run('npm', ['run', '--silent', name]));
  }
};

/** Adds what vitest has counted. A test that did not run, for whatever reason, is one that failed. */
const addResults = (file, fine) => {
  const before = failed;
  const results = existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : { testResults: [] };
  for (const suite of results.testResults) {
    for (const test of suite.assertionResults) {
      if (test.status === 'passed') passed += 1;
      else count(`${test.status}: ${test.fullName}`, false);
    }
    if (suite.status === 'failed' && suite.assertionResults.length === 0)
      count(`cannot run: ${suite.name}`, false);
  }
  if (results.testResults.length === 0) count('vitest ran no test', false);
  // For example a fault that nobody caught, outside of every test.
  else if (!fine && failed === before) count('vitest ended with a fault', false);
};

const testProject = (project, directory) => {
  console.log(`\n── ${project} tests`);
  const file = join(directory, `${project}.json`);
  const vitest = join(root, 'node_modules', 'vitest', 'vitest.mjs');
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${file}`];
  addResults(file, run(process.execPath, [vitest, 'run', '--project', project, ...reporters]));
};

requireNode();
install();
installPrograms();
check();
count('model of the protocol', run('npm', ['run', '--silent', 'model', '--', '--quick']));
const directory = mkdtempSync(join(tmpdir(), 'coatcheck-test-'));
for (const project of ['quick', 'long']) testProject(project, directory);
rmSync(directory, { recursive: true, force: true });
process.exitCode = failed === 0 ? 0 : 1;
console.log(`\n${passed} passed, ${failed} failed`);
