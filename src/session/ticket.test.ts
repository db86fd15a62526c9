import { createHash } from 'node:crypto';
import { expect, test } from 'vitest';
import { issueTicket, readTicket } from './ticket.ts';

test('S-039 100,000 tickets are unique, of one length, and their bytes evenly spread', () => {
  const count = 100_000;
  const values = new Set<string>();
  const sessionIds = new Set<string>();
  const lengths = new Set<number>();
  const frequency = new Uint32Array(256);
  for (let issued = 0; issued < count; issued += 1) {
    const { value, secret, sessionId } = issueTicket();
    values.add(value);
    sessionIds.add(sessionId);
    lengths.add(value.length);
    for (const byte of secret) frequency[byte] = (frequency[byte] ?? 0) + 1;
  }
  expect([values.size, sessionIds.size, [...lengths]]).toEqual([count, count, [46]]);
  const expected = (count * 32) / 256;
  const chiSquare = frequency.reduce((sum, seen) => sum + (seen - expected) ** 2 / expected, 0);
  // 255 degrees of freedom: mean 255, standard deviation 22.6. These bounds are more than six of them away.
  expect(chiSquare).toBeGreaterThan(115);
  expect(chiSquare).toBeLessThan(400);
});

test('S-039 a ticket carries 256 bits, and is no UUID', () => {
  const { value, secret } = issueTicket();
  expect(secret).toHaveLength(32);
  expect(value).toMatch(/^v1\.[\w-]{43}$/);
});

test('S-045 a ticket is opaque: no JWT, no JSON, nothing but random bytes', () => {
  const { value, secret } = issueTicket();
  expect(value.split('.')).toHaveLength(2);
  expect(Buffer.from(value.slice(3), 'base64url').equals(secret)).toBe(true);
  expect(() => JSON.parse(secret.toString())).toThrow();
});

test('S-068 the session id is a hash of the ticket, and no part of it', () => {
  const { value, secret, sessionId } = issueTicket();
  expect(sessionId).toMatch(/^[\w-]{43}$/);
  expect(value).not.toContain(sessionId);
  expect(Buffer.from(sessionId, 'base64url').equals(secret)).toBe(false);
  const hash = createHash('sha256').update('coatcheck/id/1').update(secret);
  expect(sessionId).toBe(hash.digest('base64url'));
});

test('a ticket that was issued is read back', () => {
  const ticket = issueTicket();
  expect(readTicket(ticket.value)).toEqual(ticket);
});

test('S-047 whatever cannot have been issued is no ticket', () => {
  const { value } = issueTicket();
  const bytes = value.slice(3);
  const garbage = [
    '',
    bytes,
    `V1.${bytes}`,
    `v2.${bytes}`,
    `l1.${bytes}`,
    ` ${value}`,
    `${value} `,
    `${value}\n`,
    `"${value}"`,
    `${value}=`,
    value.slice(0, -1),
    `${value}A`,
    `v1.${'+'.repeat(43)}`,
    `v1.${'*'.repeat(43)}`,
    `v1.${'é'.repeat(43)}`,
    'v1.__proto__',
    `v1.${'A'.repeat(1_000_000)}`,
  ];
  for (const text of garbage) expect(readTicket(text), JSON.stringify(text.slice(0, 60))).toBeUndefined();
});

test('S-047 of the four spellings of the same bytes only the one that we issue is a ticket', () => {
  const zero = `v1.${'A'.repeat(43)}`;
  expect(readTicket(zero)).toBeDefined();
  for (const last of 'BCD') expect(readTicket(`${zero.slice(0, -1)}${last}`)).toBeUndefined();
});
