import { describe, expect, test } from 'vitest';
import { CoatcheckError } from '../errors.ts';
import { returnTo } from './return-to.ts';

const origin = 'https://apps.example.com';

function outcome(value: string): string {
  try {
    return returnTo(value, origin);
  } catch (error) {
    return CoatcheckError.from(error).code;
  }
}

const leadsAway = [
  '//evil.example',
  '///evil.example',
  '/\\evil.example',
  '\\\\evil.example',
  '\\/evil.example',
  '/\t/evil.example',
  '/\n/evil.example',
  '\t//evil.example',
  ' //evil.example',
  '/ /evil.example',
  'https:evil.example',
  'https:/evil.example',
  'https://evil.example',
  'https://apps.example.com',
  'https://apps.example.com@evil.example',
  'http://app@evil.example',
  '//evil.example\0',
  '/\0/evil.example',
  '/..//evil.example',
  '/.//evil.example',
  '/a/..//evil.example',
  '/%2e%2e//evil.example',
  '/%2e//evil.example',
  '/a/%2E%2e//evil.example',
  '@evil.example',
  'evil.example',
  'app.evil.com',
  'javascript:alert(1)',
  'data:text/html,x',
  '/x\r\nset-cookie: a=b',
  '/x\nlocation: //evil.example',
  '／／evil.example',
  '/／evil.example',
  '/⧸evil.example',
  '/\u2028/evil.example',
  '/\u200b/evil.example',
  '\ufeff//evil.example',
  '?x',
  '#x',
  '.',
  `/${'a'.repeat(100_000)}`,
];

describe('S-090 return_to cannot leave the site', () => {
  test.each(leadsAway.map((value) => [JSON.stringify(value.slice(0, 40)), value]))(
    '%s is refused',
    (_shown, value) => {
      expect(outcome(value)).toBe('return_to_refused');
    },
  );

  test.each([
    ['/', '/'],
    ['/a/b?c=d&e=//f#g', '/a/b?c=d&e=//f#g'],
    ['/%5cevil.example', '/%5cevil.example'],
    ['/%09/evil.example', '/%09/evil.example'],
    ['/%2f/evil.example', '/%2f/evil.example'],
    ['/@evil.example', '/@evil.example'],
    ['/https://evil.example', '/https://evil.example'],
    ['/a/../b', '/b'],
    ['/caf%C3%A9', '/caf%C3%A9'],
    [`/${'a'.repeat(2047)}`, `/${'a'.repeat(2047)}`],
    ['', '/'],
  ])('%s stays here', (value, expected) => {
    const target = outcome(value);
    expect(target).toBe(expected);
    expect(new URL(target, origin).origin).toBe(origin);
  });

  test('whatever is let through resolves to this site, however slashes, dots and controls are put together', () => {
    const parts = ['/', '\\', '.', '..', '%2e', '%2f', '%5c', '\t', '@', ':', 'evil', '?', '#', ' '];
    let letThrough = 0;
    for (const a of parts)
      for (const b of parts)
        for (const c of parts)
          for (const d of parts) {
            const target = outcome(`/${a}${b}${c}${d}evil.example`);
            if (target === 'return_to_refused') continue;
            letThrough += 1;
            const there = new URL(target, origin);
            expect(there.origin, target).toBe(origin);
            // Nor where a proxy or an app decodes it once before it redirects on.
            expect(target).not.toMatch(/^\/[/\\]/);
          }
    expect(letThrough).toBeGreaterThan(1000);
  });
});

test('without return_to the way leads to the start page', () => {
  expect(returnTo(undefined, origin)).toBe('/');
});
