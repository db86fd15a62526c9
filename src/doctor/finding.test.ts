import { expect, test } from 'vitest';
import { examine, findingsOf, fine, quote, risky, wrong } from './finding.ts';
import { exitCodeOf, findingLine, summaryLine } from './report.ts';

test('a check that crashes is a finding, says nothing of the message, and the rest goes on', async () => {
  const checks = {
    first: () => {
      throw new TypeError('canary');
    },
    second: () => Promise.reject(Object.assign(new Error('canary'), { code: 'EPIPE' })),
    third: () => fine('well'),
    fourth: () => undefined,
  };
  expect(await examine({ name: 'x', subject: undefined, checks })).toEqual([
    { check: 'x.first', level: 'wrong', says: 'the check itself failed (TypeError)', do: 'please report it' },
    { check: 'x.second', level: 'wrong', says: 'the check itself failed (EPIPE)', do: 'please report it' },
    { check: 'x.third', level: 'fine', says: 'well' },
  ]);
  expect(await findingsOf('y', () => Promise.reject(new RangeError('canary')))).toEqual([
    { check: 'y', level: 'wrong', says: 'the check itself failed (RangeError)', do: 'please report it' },
  ]);
});

test('a check that hangs is a finding after its time limit', async () => {
  const checks = { hangs: () => new Promise<never>(() => undefined), next: () => fine('well') };
  const findings = await examine({ name: 'x', subject: undefined, checks, limitMs: 20 });
  expect(findings.map(({ level }) => level)).toEqual(['wrong', 'fine']);
  expect(findings[0]?.says).toBe('nothing came of it within 20 ms');
});

test('what others wrote cannot steer a terminal', () => {
  expect(quote('a\u001b[2Jb\nc\u009bd\u202ee')).toBe('"a?[2Jb?c?d?e"');
  expect(quote('x'.repeat(500)).length).toBeLessThan(125);
});

test('the worst finding decides the exit code', () => {
  const named = { check: 'x.y' };
  const [good, doubtful, bad] = [fine('a'), risky('b', 'c'), wrong('d', 'e')].map((it) => ({
    ...named,
    ...it,
  }));
  if (!good || !doubtful || !bad) throw new Error('three findings');
  expect([[], [good], [good, doubtful], [doubtful, bad, good]].map(exitCodeOf)).toEqual([0, 0, 3, 1]);
  expect([good, doubtful, bad].map(findingLine)).toEqual(['✓ x.y: a\n', '! x.y: b → c\n', '✗ x.y: d → e\n']);
  expect(summaryLine([doubtful, bad, good, good])).toBe('4 checks: 1 wrong, 1 risky, 2 fine\n');
});
