import { expect, test } from 'vitest';
import { drill } from './drill.ts';
import { singleScenarios } from './single-plays.ts';

test.each(singleScenarios.filter(({ quick }) => quick))(
  'S-070 $name: nobody is signed out, no session is lost, each route goes by its policy, and the fleet recovers',
  async (scenario) => {
    const [result] = await drill(scenario, { runs: 1 });
    // How fast is for `npm run failover`, on a machine that does nothing else.
    expect(result).toMatchObject({ lost: 0, signedOut: 0 });
    expect(result?.broken.filter((line) => !/^(back after|the slowest took)/.test(line))).toEqual([]);
    const { 'fail-closed': closed, 'fail-open': open, anonymous } = result?.policies ?? {};
    expect([closed?.stale, closed?.anonymous, open?.anonymous, anonymous?.stale]).toEqual([0, 0, 0, 0]);
    expect(closed?.refused).toBeGreaterThan(0);
    expect(open?.stale).toBeGreaterThan(0);
    expect([anonymous?.refused, (anonymous?.anonymous ?? 0) > 0]).toEqual([0, true]);
  },
);
