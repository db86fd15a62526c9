import { createHash } from 'node:crypto';
import { expect, test } from 'vitest';
import { CoatcheckError, type ErrorCode, errorRegistry } from '../errors.ts';
import { errorAnswer } from './error-response.ts';

const requestId = 'request-0001';
const codes = Object.keys(errorRegistry) as ErrorCode[];

/** An error with something to hide wherever something can be hidden. */
const loaded = (code: ErrorCode, shown: Record<string, string> = {}): CoatcheckError =>
  new CoatcheckError(code, {
    detail: 'canary-detail of canary-host.example.com',
    shown,
    cause: Object.assign(new Error('canary-cause'), { code: 'canary-code', address: '10.0.0.1' }),
  });

test.each(codes)(
  'S-137 %s as a problem document: title, status, code and request id, nothing else',
  (code) => {
    const { status, headers, body = '' } = errorAnswer({ error: loaded(code), requestId, asPage: false });
    const { title, status: expected } = errorRegistry[code];
    expect(status).toBe(expected);
    expect(JSON.parse(body)).toEqual({ type: 'about:blank', title, status, code, requestId });
    expect(headers['content-type']).toBe('application/problem+json');
  },
);

test.each(codes)('S-137 %s as a page: the same content, nothing else', (code) => {
  const { status, headers, body = '' } = errorAnswer({ error: loaded(code), requestId, asPage: true });
  expect(status).toBe(errorRegistry[code].status);
  expect(body).toContain(`<h1>${errorRegistry[code].title}</h1>`);
  expect(body).toContain(`${code} · request ${requestId}`);
  expect(body).not.toMatch(/canary|10\.0\.0\.1|\bat \/|node_modules|Error:/);
  expect(headers['content-type']).toBe('text/html; charset=utf-8');
});

test.each(codes)('S-095 S-040 %s is not cached, framed or sniffed, and touches no cookie', (code) => {
  for (const asPage of [false, true]) {
    const { status, headers } = errorAnswer({ error: loaded(code), requestId, asPage });
    expect(headers).toMatchObject({
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
      'referrer-policy': 'no-referrer',
      'cross-origin-resource-policy': 'same-origin',
    });
    const policy = headers['content-security-policy'];
    for (const part of ["default-src 'none'", "base-uri 'none'", "frame-ancestors 'none'"]) {
      expect(policy).toContain(part);
    }
    expect(headers).not.toHaveProperty('set-cookie');
    expect(headers['retry-after']).toBe(status === 503 ? '2' : undefined);
  }
});

test('what an error shows on purpose is a member of the problem document', () => {
  const error = loaded('method_not_allowed', { allow: 'GET, HEAD' });
  const { headers, body = '' } = errorAnswer({ error, requestId, asPage: false });
  expect(JSON.parse(body)).toMatchObject({ status: 405, allow: 'GET, HEAD' });
  expect(headers.allow).toBe('GET, HEAD');
});

test("the page's policy allows its own style and nothing else", () => {
  const { headers, body = '' } = errorAnswer({ error: loaded('not_found'), requestId, asPage: true });
  const style = /<style>(.*)<\/style>/s.exec(body)?.[1] ?? '';
  const hash = createHash('sha256').update(style).digest('base64');
  expect(headers['content-security-policy']).toContain(`style-src 'sha256-${hash}'`);
  expect(body).not.toMatch(/<script|<img|style="|javascript:/);
});
