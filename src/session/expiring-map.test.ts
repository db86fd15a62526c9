import { expect, test } from 'vitest';
import { ExpiringMap } from './expiring-map.ts';

test('an entry lives until its end, and not at it', () => {
  let nowMs = 0;
  const map = new ExpiringMap<string>(() => nowMs);
  map.set('a', 'value', 10);
  nowMs = 9;
  expect(map.get('a')).toBe('value');
  nowMs = 10;
  expect(map.get('a')).toBeUndefined();
  expect(map.delete('a')).toBe(false);
});

test('what has ended goes as new entries come, so that the size stays bounded', () => {
  let nowMs = 0;
  const map = new ExpiringMap<number>(() => nowMs);
  for (let at = 0; at < 10_000; at++, nowMs++) {
    map.set(String(at), at, nowMs + 100);
    expect(map.size).toBeLessThan(130);
  }
});
