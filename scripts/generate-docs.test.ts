import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { describeCommands } from '../src/cli.ts';
import { describeConfig } from '../src/config.ts';
import { errorRegistry } from '../src/errors.ts';

const root = fileURLToPath(new URL('..', import.meta.url));

describe('generated pages', () => {
  test('are what the code says', () => {
    const argv = ['--import', 'tsx', 'scripts/generate-docs.ts', '--check'];
    const { status, stdout, stderr } = spawnSync(process.execPath, argv, { cwd: root, encoding: 'utf8' });
    expect({ status, stdout, stderr }).toEqual({ status: 0, stdout: '', stderr: '' });
  });

  const firstCells = (page: string): string[] =>
    [...readFileSync(join(root, 'docs', page), 'utf8').matchAll(/^\| `([^`]+)` \|/gm)].flatMap(
      ([, cell]) => cell ?? [],
    );

  test('name every error code, and no other', () => {
    expect(firstCells('errors.md')).toEqual(Object.keys(errorRegistry));
  });

  test('name every configuration key, and no other', () => {
    const rows = describeConfig().map(({ key }) => key);
    const leaves = rows.filter(
      (key) => !rows.some((other) => other.startsWith(`${key}.`) || other.startsWith(`${key}[`)),
    );
    expect(firstCells('configuration.md')).toEqual(leaves);
  });

  test('name every command', () => {
    const page = readFileSync(join(root, 'docs/cli.md'), 'utf8');
    const commands = describeCommands().map(({ command }) => command);
    expect(commands).toContain('coatcheck keys generate');
    expect([...page.matchAll(/^## `(.+)`$/gm)].map(([, command]) => command)).toEqual(commands);
  });
});
