import { describe, expect, test } from 'vitest';
import { NearCache } from './near-cache.ts';
import type { Session } from './session.ts';

const session = (id: string): Session => ({
  id,
  user: { issuer: 'https://identity.example.com', subject: id, claims: new Map() },
  tokenSets: new Map(),
  createdAtMs: 0,
  absoluteDeadlineMs: 10_000_000,
  idleDeadlineMs: 1_000_000,
  generation: 1,
});

function keep(cache: NearCache, id: string, watched = true): void {
  cache.begin(id, watched).keep(session(id));
}

describe('what was read', () => {
  test('answers the next load until it is too old, to the millisecond', () => {
    let nowMs = 1000;
    const cache = new NearCache({ maximumAgeMs: 30_000, now: () => nowMs });
    keep(cache, 'a');
    nowMs += 29_999;
    expect(cache.get('a')?.id).toBe('a');
    nowMs += 1;
    expect(cache.get('a')).toBeUndefined();
  });

  test('answers nothing where changes are not told, but is remembered for an outage', () => {
    const cache = new NearCache({ now: () => 5 });
    keep(cache, 'a', false);
    expect(cache.get('a')).toBeUndefined();
    expect(cache.lastVerified('a')).toMatchObject({ session: { id: 'a' }, verifiedAtMs: 5 });
  });

  test('is forgotten when it changes, and everything when everything is removed', () => {
    const cache = new NearCache();
    for (const id of ['a', 'b', 'c']) keep(cache, id);
    cache.invalidate('a');
    expect([cache.get('a'), cache.lastVerified('a'), cache.get('b')?.id]).toEqual([
      undefined,
      undefined,
      'b',
    ]);
    cache.clear();
    expect([cache.lastVerified('b'), cache.size]).toEqual([undefined, 0]);
  });

  test('answers nothing once changes may have been missed, but is remembered for an outage', () => {
    const cache = new NearCache();
    keep(cache, 'a');
    cache.doubt();
    expect([cache.get('a'), cache.lastVerified('a')?.session.id]).toEqual([undefined, 'a']);
    keep(cache, 'a');
    expect(cache.get('a')?.id).toBe('a');
  });

  test('goes when there is no room, the least recently used first', () => {
    const cache = new NearCache({ maximumEntries: 2 });
    keep(cache, 'a');
    keep(cache, 'b');
    cache.get('a');
    keep(cache, 'c');
    expect([cache.get('a')?.id, cache.get('b'), cache.get('c')?.id]).toEqual(['a', undefined, 'c']);
  });
});

describe('a read that is under way', () => {
  test.each([
    ['the session changes', (cache: NearCache) => cache.invalidate('a')],
    ['everything is removed', (cache: NearCache) => cache.clear()],
    ['changes may be missed', (cache: NearCache) => cache.doubt()],
  ])('keeps nothing where meanwhile %s', (_, happen) => {
    const cache = new NearCache();
    const filling = cache.begin('a', true);
    happen(cache);
    filling.keep(session('a'));
    expect([cache.get('a'), cache.lastVerified('a')]).toEqual([undefined, undefined]);
  });

  test('keeps what it read where another session changes', () => {
    const cache = new NearCache();
    const filling = cache.begin('a', true);
    cache.invalidate('b');
    filling.keep(session('a'));
    expect(cache.get('a')?.id).toBe('a');
  });

  test('of several, those spoiled keep nothing and later ones do', () => {
    const cache = new NearCache();
    const before = cache.begin('a', true);
    cache.invalidate('a');
    const after = cache.begin('a', true);
    after.keep(session('a'));
    before.drop();
    expect(cache.get('a')?.id).toBe('a');
    before.keep({ ...session('a'), generation: 0 });
    expect(cache.get('a')?.generation).toBe(1);
  });

  test('leaves what was known as it is where it fails, and forgets it where the session is gone', () => {
    const cache = new NearCache();
    keep(cache, 'a');
    cache.begin('a', true).abandon();
    expect(cache.get('a')?.id).toBe('a');
    cache.begin('a', true).drop();
    expect(cache.lastVerified('a')).toBeUndefined();
  });
});
