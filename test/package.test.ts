import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { publint } from 'publint';
import { formatMessage } from 'publint/utils';
import { afterAll, beforeAll, expect, test } from 'vitest';

/** What is tested here is the packed tarball, as npm would install it; our dependencies stand beside it. */
let directory: string;
let installed: string;

const run = (command: string, ...words: string[]): string =>
  execFileSync(command, words, { cwd: directory, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'coatcheck-package-'));
  const modules = join(directory, 'node_modules');
  mkdirSync(modules);
  const [{ filename }] = JSON.parse(
    execFileSync('npm', ['pack', '--json', '--pack-destination', directory], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }),
  ) as [{ filename: string }];
  run('tar', 'xzf', filename, '-C', modules);
  installed = join(modules, 'coatcheck');
  run('mv', join(modules, 'package'), installed);
  symlinkSync(resolve('node_modules'), join(installed, 'node_modules'));
});

afterAll(() => rmSync(directory, { recursive: true }));

test('the packed package has no defect that publint knows', async () => {
  const { messages, pkg } = await publint({ pkgDir: installed, strict: true, pack: false });
  expect(messages.map((message) => formatMessage(message, pkg))).toEqual([]);
});

test('the packed package gives its public names and nothing else', () => {
  writeFileSync(
    join(directory, 'names.mjs'),
    "for (const name of ['coatcheck', 'coatcheck/fastify']) console.log(name, Object.keys(await import(name)).sort().join(' '));",
  );
  expect(run(process.execPath, 'names.mjs').trim().split('\n')).toEqual([
    'coatcheck CoatcheckError createCoatcheck errorRegistry parseConfig readConfig startGateway',
    'coatcheck/fastify fastifyCoatcheck',
  ]);
});

test('the packed command line runs', () => {
  expect(run(process.execPath, join(installed, 'dist/cli.js'), '--version').trim()).toMatch(
    /^\d+\.\d+\.\d+$/,
  );
});
