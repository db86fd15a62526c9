import { randomBytes } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { newSessionId } from '../../test/store-contract.ts';
import { decodeRecord, encodeRecord, headerBytes, oncePrefix, recordPrefix } from './record-header.ts';

const record = {
  generation: 2 ** 32 - 1,
  idleDeadlineMs: 1_764_000_000_123,
  absoluteDeadlineMs: 2 ** 48 - 1,
  body: randomBytes(100),
};

describe('a record header', () => {
  test('holds the largest values and gives them back', () => {
    const id = newSessionId();
    expect(decodeRecord(id, encodeRecord(id, record))).toEqual({ kind: 'found', record });
  });

  test('has the layout that the scripts read', () => {
    const id = Buffer.alloc(32, 7).toString('base64url');
    const small = {
      generation: 5,
      idleDeadlineMs: 0x0102_0304_0506,
      absoluteDeadlineMs: 1,
      body: Buffer.from('b'),
    };
    expect(encodeRecord(id, small).toString('hex')).toBe(
      `01${'07'.repeat(16)}00000005010203040506000000000001${Buffer.from('b').toString('hex')}`,
    );
    expect(headerBytes).toBe(33);
  });

  test('S-074 of another format version is unreadable', () => {
    const id = newSessionId();
    const stored = encodeRecord(id, record);
    for (const version of [0, 2, 255]) {
      stored[0] = version;
      expect(decodeRecord(id, stored)).toEqual({ kind: 'unreadable', why: 'format' });
    }
  });

  test('cut short at any byte is unreadable', () => {
    const id = newSessionId();
    const stored = encodeRecord(id, record);
    for (let length = 0; length < headerBytes; length++) {
      expect(decodeRecord(id, stored.subarray(0, length)).kind).toBe('unreadable');
    }
  });

  test('S-064 of another session is foreign', () => {
    expect(decodeRecord(newSessionId(), encodeRecord(newSessionId(), record))).toEqual({
      kind: 'unreadable',
      why: 'foreign',
    });
  });

  test('S-064 a one-time value, or anything else that is not a record of this session, is foreign', () => {
    const id = newSessionId();
    for (const other of [
      Buffer.concat([oncePrefix(id), randomBytes(5)]),
      Buffer.from('x'),
      Buffer.alloc(0),
    ]) {
      expect(decodeRecord(id, other)).toEqual({ kind: 'unreadable', why: 'foreign' });
    }
  });

  test.each([0, -1, 1.5, Number.NaN, 2 ** 48])('refuses the deadline %d', (idleDeadlineMs) => {
    expect(() => encodeRecord(newSessionId(), { ...record, idleDeadlineMs })).toThrow(
      expect.objectContaining({ code: 'internal' }),
    );
  });

  test.each(['', 'short', `${'a'.repeat(42)}}`, 'a'.repeat(44)])('refuses the session id %j', (id) => {
    expect(() => recordPrefix(id)).toThrow(expect.objectContaining({ code: 'internal' }));
  });
});
