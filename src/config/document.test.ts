// biome-ignore-all lint/suspicious/noTemplateCurlyInString: such references are what is tested
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { env } from '../../test/config-input.ts';
import { checkConfigFile, problemLine, readConfig } from '../config.ts';

const directory = mkdtempSync(join(tmpdir(), 'coatcheck-document-'));
afterAll(() => rmSync(directory, { recursive: true }));

describe('a file', () => {
  const inFile = (yaml: string): string[] => {
    const file = join(directory, 'coatcheck.yaml');
    writeFileSync(file, yaml);
    const result = checkConfigFile(file, env);
    return result.kind === 'valid' ? [] : result.problems.map(problemLine);
  };

  test('with a key given twice is refused, naming path and line', () => {
    expect(
      inFile('login: [a]\nproviders:\n  a: { clientSecret: canary-1 }\n  a: { clientSecret: canary-2 }\n'),
    ).toEqual(['providers.a: given again in line 4; expected each key only once']);
  });

  test.each([
    ['an unquoted reference', 'keys: [{ id: k1, secret: ${CLIENT_SECRET} }]', 'line 1: not valid YAML'],
    ['a broken text', 'publicUrl: x\nstore: "canary-\\q"\n', 'line 2: not valid YAML (bad dq escape)'],
    ['an unknown tag', 'publicUrl: !canary-tag x', 'line 1: not valid YAML (tag resolve failed)'],
    ['two documents', 'a: canary-1\n---\nb: canary-2\n', 'line 2: not valid YAML (multiple docs)'],
    [
      'an alias bomb',
      `a: &a [1,1]\n${'bcdefghij'
        .split('')
        .map((name, i) => `${name}: &${name} [${`*${'abcdefghij'[i]},`.repeat(9)}]`)
        .join('\n')}`,
      'too many aliases',
    ],
  ])('with %s is refused without quoting it', (_, yaml, expected) => {
    const lines = inFile(yaml);
    expect(lines[0]).toContain(expected);
    expect(lines.join()).not.toContain('canary');
  });

  test('that cannot be read is named', () => {
    expect(() => readConfig(join(directory, 'absent.yaml'), env)).toThrow(
      /absent\.yaml: cannot be read \(ENOENT\)/,
    );
  });
});
