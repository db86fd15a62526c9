import type { IncomingHttpHeaders } from 'node:http';
import { describe, expect, test } from 'vitest';
import { isFromOurPages, isPageNavigation } from './origin-check.ts';

const publicUrl = 'https://apps.example.com';
const allows = (method: string, headers: IncomingHttpHeaders): boolean =>
  isFromOurPages({ method, headers, publicUrl });

const changing = ['POST', 'PUT', 'PATCH', 'DELETE', 'PROPFIND', 'post'];
const foreignOrigins = [
  'https://evil.example',
  'https://sibling.example.com',
  'http://apps.example.com',
  'https://apps.example.com:8443',
  'https://apps.example.com.evil.example',
  'https://APPS.example.com',
  'null',
  '',
];

describe('a request that changes something', () => {
  test.each(changing)('S-088 %s needs proof of where it comes from', (method) => {
    expect(allows(method, {})).toBe(false);
    expect(allows(method, { 'sec-fetch-site': 'same-origin' })).toBe(true);
    expect(allows(method, { 'sec-fetch-site': 'none' })).toBe(true);
    expect(allows(method, { origin: publicUrl })).toBe(true);
    expect(allows(method, { 'x-coatcheck-csrf': '1' })).toBe(true);
  });

  test.each(changing)(
    'S-088 %s of another site or a sibling is refused, whatever else it carries',
    (method) => {
      for (const site of ['cross-site', 'same-site', 'Same-Origin', '']) {
        const headers = { 'sec-fetch-site': site, origin: publicUrl, 'x-coatcheck-csrf': '1' };
        expect(allows(method, headers), site).toBe(false);
      }
      for (const origin of foreignOrigins) {
        for (const site of [undefined, 'none', 'cross-site', 'same-site']) {
          const headers = { origin, 'x-coatcheck-csrf': '1', ...(site && { 'sec-fetch-site': site }) };
          expect(allows(method, headers), `${origin} ${site}`).toBe(false);
        }
      }
    },
  );

  test('may hide its origin where the browser vouches for the site, as forms of a no-referrer page do', () => {
    expect(allows('POST', { origin: 'null', 'sec-fetch-site': 'same-origin' })).toBe(true);
    expect(allows('POST', { origin: 'https://evil.example', 'sec-fetch-site': 'same-origin' })).toBe(false);
  });

  test('S-088 is not let in by another value of the header than 1', () => {
    for (const value of ['0', '', 'true', '1, 1'])
      expect(allows('POST', { 'x-coatcheck-csrf': value })).toBe(false);
  });
});

describe('a request that changes nothing', () => {
  const opened = { 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document' };

  test.each(['GET', 'HEAD', 'OPTIONS'])('%s needs no proof', (method) => {
    expect(allows(method, {})).toBe(true);
    expect(allows(method, { 'sec-fetch-site': 'same-origin' })).toBe(true);
  });

  test.each(['cross-site', 'same-site'])(
    'S-088 may come by a link from a %s page, in a window of its own',
    (site) => {
      expect(allows('GET', { 'sec-fetch-site': site, ...opened })).toBe(true);
    },
  );

  test.each(['cross-site', 'same-site'])(
    'S-088 but not for a script, an element or a frame of a %s page',
    (site) => {
      const asked: [mode: string, destination: string][] = [
        ['cors', 'empty'],
        ['no-cors', 'image'],
        ['no-cors', 'script'],
        ['navigate', 'iframe'],
        ['navigate', 'object'],
        ['navigate', 'embed'],
      ];
      for (const [mode, destination] of asked) {
        const headers = { 'sec-fetch-site': site, 'sec-fetch-mode': mode, 'sec-fetch-dest': destination };
        expect(allows('GET', headers), `${mode} ${destination}`).toBe(false);
      }
      expect(allows('GET', { 'sec-fetch-site': site })).toBe(false);
    },
  );

  test('S-088 nor with the origin of another site', () => {
    for (const origin of foreignOrigins) expect(allows('GET', { origin }), origin).toBe(false);
  });
});

test('a person waits where the browser says so, or else where HTML is asked for', () => {
  expect(isPageNavigation('GET', { 'sec-fetch-mode': 'navigate' })).toBe(true);
  expect(isPageNavigation('GET', { accept: 'text/html,*/*' })).toBe(true);
  expect(isPageNavigation('GET', { 'sec-fetch-mode': 'cors', accept: 'text/html' })).toBe(false);
  expect(isPageNavigation('GET', { accept: 'text/html', 'x-requested-with': 'XMLHttpRequest' })).toBe(false);
  expect(isPageNavigation('GET', { accept: '*/*' })).toBe(false);
  expect(isPageNavigation('POST', { 'sec-fetch-mode': 'navigate' })).toBe(false);
});
