import { expect, test } from 'vitest';
import { decideOutage, type OutagePolicy } from './policy.ts';

const closed: OutagePolicy = { policy: 'fail-closed' };
const open: OutagePolicy = { policy: 'fail-open', staleForMs: 60_000 };
const anonymous: OutagePolicy = { policy: 'anonymous' };

test.each([
  [closed, undefined, 'refuse'],
  [closed, 0, 'refuse'],
  [open, undefined, 'refuse'],
  [open, 0, 'serve-stale'],
  [open, 60_000, 'serve-stale'],
  [open, 60_001, 'refuse'],
  [anonymous, undefined, 'go-on-anonymous'],
  [anonymous, 0, 'go-on-anonymous'],
] as const)('%j, verified for %s ms: %s', (policy, verifiedForMs, decision) => {
  expect(decideOutage(policy, verifiedForMs)).toBe(decision);
});
