import { describe, expect, test } from 'vitest';
import { seededRandom } from '../../test/random.ts';
import {
  extensionIntervalMs,
  isDueForRefresh,
  isLive,
  type Session,
  type TokenSet,
  type TokenState,
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

const ended = { accessTokenExpiresAtMs: 999 } as const;

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

  test.each<[state: TokenState, what: string, tokens: Partial<TokenSet>]>([
    ['ok', 'usable', {}],
    ['ok', 'usable, and its refresh token has ended', { refreshToken: 'r', refreshTokenExpiresAtMs: 500 }],
    ['stale-until', 'usable, and refreshing fails', { refreshToken: 'r', refreshFailures: 1 }],
    ['ok', 'ended and refreshable', { ...ended, refreshToken: 'r', refreshTokenExpiresAtMs: 1000 }],
    ['unavailable', 'ended, and refreshing fails', { ...ended, refreshToken: 'r', refreshFailures: 2 }],
    ['needs-login', 'ended without refresh token', ended],
    [
      'needs-login',
      'ended like its refresh token',
      { ...ended, refreshToken: 'r', refreshTokenExpiresAtMs: 999 },
    ],
  ])('is %s at a provider whose token is %s', (state, _, rest) => {
    const tokenSets = new Map([['identity', tokens(rest)]]);
    expect(tokenState(session({ tokenSets }), 'identity', 999)).toBe(state);
  });

  test('needs a login at a provider that issued nothing for it', () => {
    for (const name of ['notebook', '__proto__', 'constructor']) {
      expect(tokenState(session(), name, 0)).toBe('needs-login');
    }
  });

  test('S-056 is of use no longer than its refresh token, or its access token where that lasts longer', () => {
    const usableUntil = (rest: Partial<TokenSet>): number =>
      usableUntilMs({
        tokenSets: new Map([['identity', tokens({ refreshToken: 'r', ...rest })]]),
        absoluteDeadlineMs: 2000,
      });
    expect(usableUntil({ refreshTokenExpiresAtMs: 1500 })).toBe(1500);
    expect(usableUntil({ refreshTokenExpiresAtMs: 500 })).toBe(1000);
    expect(usableUntil({ refreshTokenExpiresAtMs: 9000 })).toBe(2000);
  });
});

describe('an access token is due for refresh', () => {
  const minute = 60_000;
  const absoluteDeadlineMs = 720 * minute;
  /** How long before its end a token of this life is first due, found by asking. */
  const leadMs = (lifetimeMs: number, obtainedAtMs: number): number => {
    const endsAtMs = obtainedAtMs + lifetimeMs;
    const issued = tokens({ obtainedAtMs, accessTokenExpiresAtMs: endsAtMs });
    let lead = 0;
    while (lead < lifetimeMs && isDueForRefresh(issued, { absoluteDeadlineMs }, endsAtMs - lead - 100))
      lead += 100;
    return lead;
  };

  test('in the last tenth of its life or the last 30 s, a fifth more or less, but not in its first half', () => {
    expect([0, 500, 999].map((ms) => leadMs(60 * minute, ms) / 1000)).toEqual([288, 360, 431.8]);
    expect([0, 500, 999].map((ms) => leadMs(2 * minute, ms) / 1000)).toEqual([24, 30, 35.9]);
    expect([0, 500, 999].map((ms) => leadMs(20_000, ms) / 1000)).toEqual([10, 10, 10]);
  });

  test('never where the session ends about then anyway', () => {
    const issued = tokens({ obtainedAtMs: 0, accessTokenExpiresAtMs: absoluteDeadlineMs - minute });
    expect(isDueForRefresh(issued, { absoluteDeadlineMs }, absoluteDeadlineMs - minute)).toBe(false);
  });

  test('in its last half minute where it is not known when it was issued', () => {
    const issued = tokens({ accessTokenExpiresAtMs: 600_000 });
    const due = [570_000 - 7000, 576_001].map((nowMs) =>
      isDueForRefresh(issued, { absoluteDeadlineMs }, nowMs),
    );
    expect(due).toEqual([false, true]);
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
