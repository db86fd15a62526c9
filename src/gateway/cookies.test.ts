import { describe, expect, test } from 'vitest';
import {
  cookieValue,
  expiredCookie,
  loginCookie,
  loginCookieName,
  readCookie,
  sessionCookie,
  sessionCookieName,
} from './cookies.ts';

describe('S-040 S-041 S-043 every cookie that is set', () => {
  const cookies = {
    session: sessionCookie('v1.ticket'),
    login: loginCookie('l1.a-secret_', 600_000),
    'session, removed': expiredCookie(sessionCookieName),
    'login, removed': expiredCookie(`${loginCookieName}-a-secret`),
  };

  test.each(Object.entries(cookies))(
    'S-041 %s: __Host-, Path=/, Secure, HttpOnly, SameSite=Lax, no Domain',
    (_name, line) => {
      const [pair = '', ...attributes] = line.split('; ');
      expect(pair).toMatch(/^__Host-coatcheck(-login-[\w-]{8})?=[\w.-]*$/);
      const fixed = attributes.filter((attribute) => !attribute.startsWith('Max-Age='));
      expect(fixed).toEqual(['Path=/', 'Secure', 'HttpOnly', 'SameSite=Lax']);
    },
  );

  test('lives as long as what it stands for', () => {
    expect(cookies.session).not.toMatch(/Max-Age|Expires/);
    expect(cookies.login).toMatch(/; Max-Age=600$/);
    expect(cookies['session, removed']).toMatch(/^__Host-coatcheck=; .*; Max-Age=0$/);
  });
});

describe('S-042 only the exact name is read', () => {
  const value = (header: string | undefined): string | undefined => cookieValue(header, sessionCookieName);

  test('among others, anywhere', () => {
    expect(value('a=b; __Host-coatcheck=v1.x; __Host-coatcheck-login=l1.y')).toBe('v1.x');
    expect(value('__Host-coatcheck=v1.x')).toBe('v1.x');
    expect(value('a=b;__Host-coatcheck=v1.x')).toBe('v1.x');
  });

  test.each([
    undefined,
    '',
    'coatcheck=v1.x',
    '__HOST-coatcheck=v1.x',
    '__host-coatcheck=v1.x',
    '__Host-Coatcheck=v1.x',
    '__Host-coatcheck-login=v1.x',
    '__Host-coatcheck =v1.x',
    '__Host-coatcheck',
    'a=__Host-coatcheck=v1.x',
    'a=b;  __Host-coatcheck=v1.x',
    'a=b;\t__Host-coatcheck=v1.x',
    'a=b, __Host-coatcheck=v1.x',
    '__Host-coatcheck%3Dv1.x',
    '=__Host-coatcheck=v1.x',
  ])('and not %j', (header) => {
    expect(value(header)).toBeUndefined();
  });

  test('S-042 two cookies of the same name are refused', () => {
    const twice = '__Host-coatcheck=v1.x; a=b; __Host-coatcheck=v1.y';
    expect(readCookie(twice, sessionCookieName)).toEqual({ kind: 'ambiguous' });
    expect(value(twice)).toBeUndefined();
    expect(value('__Host-coatcheck=v1.x; __Host-coatcheck=v1.x')).toBeUndefined();
    expect(value('__Host-coatcheck=; __Host-coatcheck=v1.x')).toBeUndefined();
  });
});
