import type { Conditions } from './conditions.ts';
import type { Hold, Take } from './operation.ts';

/** Locks that two owners held at once. */
export function judgeHolds(holds: readonly Hold[], conditions: Conditions): string[] {
  const sure = holds.filter((hold) => hold.endMs > hold.startMs && !conditions.mixed(hold));
  const inOrder = [...sure].sort((one, other) => one.startMs - other.startMs);
  const lies: string[] = [];
  const latest = new Map<string, Hold>();
  for (const hold of inOrder) {
    const before = latest.get(hold.name);
    if (before !== undefined && before.owner !== hold.owner && before.endMs > hold.startMs)
      lies.push(`two owners held ${hold.name} at once: ${JSON.stringify([before, hold])}`);
    if (before === undefined || before.endMs < hold.endMs) latest.set(hold.name, hold);
  }
  return lies;
}

/** Bytes that were stored before anybody asked, and that not exactly one of those who asked has got. */
export function judgeTakes(takes: readonly Take[], conditions: Conditions): string[] {
  const lies = takes
    .filter(({ answer }) => answer === 'wrong')
    .map((take) => `wrong: ${JSON.stringify(take)}`);
  const sure = takes.filter((take) => take.answer !== 'fault' && !conditions.mixed(take));
  const got = sure.filter(({ answer }) => answer === 'got');
  if (got.length > 1) lies.push(`got twice: ${JSON.stringify(got)}`);
  if (got.length === 0 && sure.length === takes.length && takes.length > 0)
    lies.push(`lost: ${JSON.stringify(takes)}`);
  return lies;
}
