import { expect, test } from 'vitest';
import type { Sabotage } from './sabotage.ts';
import { runTrial } from './trial.ts';

test('S-051 S-052 S-053 S-064 30,000 random operations of four replicas through a faulty network: not one lie', async () => {
  const { lies, operations, sessions, weather, misled, ...rest } = await runTrial({
    seed: 15,
    operations: 30_000,
  });
  console.log(JSON.stringify({ operations, sessions, weather, misled, ...rest }));
  expect(lies).toEqual([]);
  expect(operations).toBeGreaterThanOrEqual(30_000);
  expect(sessions).toBeGreaterThan(50);
  expect(misled.unnoticed).toBe(0);
});

test.each<[Sabotage, RegExp]>([
  ['deaf', /lived after its end|was of generation|lost an extension/],
  ['careless', /lost update/],
  ['reviving', /lived after its end/],
])('replicas that are %s are found out', async (sabotage, what) => {
  const { lies } = await runTrial({ seed: 16, operations: 30_000, sabotage, weather: false });
  expect(lies.join('\n')).toMatch(what);
});
