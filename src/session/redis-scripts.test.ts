import { readdirSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { redisScripts } from './redis-scripts.ts';

const scripts = Object.values(redisScripts);

test('every file of lua/ is a script that is used', () => {
  const files = readdirSync(new URL('./lua/', import.meta.url));
  expect(files.sort()).toEqual(scripts.map(({ name }) => `${name}.lua`).sort());
});

describe.each(scripts)('the header of the script $name', ({ source, parameters, results }) => {
  const lines = source.split('\n');
  const header = lines.filter((line) => line.startsWith('-- '));
  const body = lines.filter((line) => !line.trimStart().startsWith('--')).join('\n');

  test('names every ARGV of the body and of the wrapper, in order', () => {
    const named = header.flatMap((line) => /^-- ARGV\[(\d+)\] (\w+)/.exec(line)?.slice(1, 3).join(' ') ?? []);
    expect(named).toEqual(parameters.map((parameter, at) => `${at + 1} ${parameter}`));
    expect(used(body, /ARGV\[(\d+)\]/g)).toEqual(parameters.map((_, at) => String(at + 1)));
    expect(body.replace(/ARGV\[\d+\]/g, '')).not.toContain('ARGV');
  });

  test('names the one key, and the body touches no other', () => {
    expect(header.filter((line) => line.startsWith('-- KEYS'))).toEqual([
      expect.stringMatching(/^-- KEYS\[1\] \w+/),
    ]);
    const calls = Array.from(body.matchAll(/redis\.call\('\w+', ([^,)]+)/g), (match) => match[1]);
    expect(new Set(calls)).toEqual(new Set(['KEYS[1]']));
    expect(calls).toHaveLength(body.split('redis.').length - 1);
  });

  test('names every result of the body and of the wrapper', () => {
    const named = header.flatMap((line) => /^-- RESULT '(\w+)'/.exec(line)?.[1] ?? []);
    expect(named).toEqual(results);
    expect(used(body, /return \{ KEYS\[1\], '(\w+)'/g)).toEqual([...results].sort());
    expect(body.match(/\breturn\b/g)).toHaveLength(body.match(/return \{ KEYS\[1\], '/g)?.length ?? 0);
  });
});

/** The distinct first groups of all matches, sorted. */
function used(body: string, pattern: RegExp): string[] {
  return [...new Set(Array.from(body.matchAll(pattern), (match) => match[1] ?? ''))].sort();
}
