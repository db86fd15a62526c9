import { describe, expect, test } from 'vitest';
import { seededRandom } from '../../test/random.ts';
import {
  extensionIntervalMs,
  isLive,
  type Session,
  type TokenSet,
  tokenState,
  usableUntilMs,
  userIndex,
} from './session.ts';

const tokens = (rest: Partial<TokenSet> = {}): TokenSet => ({
  issuer: 'https://identity.example.com',
  subject: 'ada',
  scope: 'openid',
  accessToken: 'access',
  accessTokenExpiresAtMs: 1000,
  ...rest,
});

const session = (rest: Partial<Session> = {}): Session => ({
  id: 'id',
  user: { issuer: 'https://identity.example.com', subject: 'ada', claims: new Map() },
  tokenSets: new Map([['identity', tokens()]]),
  createdAtMs: 0,
  idleDeadlineMs: 500,
  absoluteDeadlineMs: 2000,
  generation: 1,
  ...rest,
});

describe('a session', () => {
  test('S-049 lives until its idle deadline, and not in that very moment', () => {
    expect([isLive(session(), 499), isLive(session(), 500)]).toEqual([true, false]);
  });

  test('S-050 lives until its absolute deadline, whatever its idle deadline says', () => {
    const busy = session({ idleDeadlineMs: 9000 });
    expect([isLive(busy, 1999), isLive(busy, 2000)]).toEqual([true, false]);
  });

  test('is of use until the last access token ends, where none can be refreshed', () => {
    const tokenSets = new Map([
      ['identity', tokens({ accessTokenExpiresAtMs: 700 })],
      ['notebook', tokens({ accessTokenExpiresAtMs: 900 })],
    ]);
    expect(usableUntilMs({ tokenSets, absoluteDeadlineMs: 2000 })).toBe(900);
  });

  test('S-050 is of use until its absolute deadline at most, with refresh tokens and endless access tokens', () => {
    for (const one of [tokens({ refreshToken: 'r' }), tokens({ accessTokenExpiresAtMs: 9e15 })]) {
      expect(usableUntilMs({ tokenSets: new Map([['identity', one]]), absoluteDeadlineMs: 2000 })).toBe(2000);
    }
  });

  test('knows of each provider whether its token is usable', () => {
    const states = [999, 1000].map((nowMs) => tokenState(session(), 'identity', nowMs));
    expect(states).toEqual(['ok', 'expired']);
    for (const name of ['notebook', '__proto__', 'constructor']) {
      expect(tokenState(session(), name, 0)).toBe('absent');
    }
  });
});

test('an extension is worth a write from 30 s, or a twentieth of a long idle timeout', () => {
  expect([60_000, 600_000, 3_600_000].map(extensionIntervalMs)).toEqual([30_000, 30_000, 180_000]);
});

test('S-065 distinct people never share an index, however issuer and subject are cut', () => {
  const random = seededRandom(65);
  const alphabet = [...'ab:/,"\\[]\0\u2028é'];
  const text = (): string =>
    Array.from(
      { length: Math.floor(random() * 4) },
      () => alphabet[Math.floor(random() * alphabet.length)],
    ).join('');
  const people = new Map<string, string>();
  for (let round = 0; round < 20_000; round += 1) {
    const joined = text() + text();
    const cut = Math.floor(random() * (joined.length + 1));
    const user = { issuer: joined.slice(0, cut), subject: joined.slice(cut) };
    const index = userIndex(user);
    const person = `${user.issuer.length}:${user.issuer}${user.subject}`;
    expect(people.get(index) ?? person).toBe(person);
    people.set(index, person);
  }
  expect(people.size).toBeGreaterThan(5000);
  expect(new Set(people.values()).size).toBe(people.size);
});

test('S-068 the name of an index names nobody', () => {
  expect(userIndex({ issuer: 'https://identity.example.com', subject: 'ada' })).toMatch(/^[\w-]{43}$/);
});
