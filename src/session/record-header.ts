/**
 * How a session looks in Redis: a fixed header, which the scripts read too, then the sealed body.
 *
 * The first 17 bytes mean the same in every format version: so a reply that belongs to another command is noticed.
 *
 * | bytes | what |
 * |---|---|
 * | 1 | format version |
 * | 16 | first half of the session id's bytes: whose record this is |
 * | 4 | generation, big-endian |
 * | 6 | idle deadline, Unix ms, big-endian |
 * | 6 | absolute deadline, Unix ms, big-endian |
 */
import { createHash } from 'node:crypto';
import { CoatcheckError } from '../errors.ts';
import type { ReadResult, StoredRecord } from './store.ts';

/** The format version that this release writes, and the only one that it reads. */
export const formatVersion: number = 1;

const markBytes = 16;
const generationOffset = 1 + markBytes;
const idleOffset = generationOffset + 4;
const absoluteOffset = idleOffset + 6;

/** Length of the header; the body begins here. */
export const headerBytes: number = absoluteOffset + 6;

/**
 * Version and owner, the 17 bytes that every record of this session begins with.
 * Throws `internal` unless the id is base64url of 32 bytes: anything else is a mistake of ours.
 */
export function recordPrefix(sessionId: string): Buffer {
  if (!/^[\w-]{43}$/.test(sessionId)) {
    throw new CoatcheckError('internal', { detail: 'a session id must be base64url of 32 bytes' });
  }
  const prefix = Buffer.allocUnsafe(generationOffset);
  prefix[0] = formatVersion;
  Buffer.from(sessionId, 'base64url').copy(prefix, 1, 0, markBytes);
  return prefix;
}

/** The bytes to store. Throws `internal` on a number that does not fit its field. */
export function encodeRecord(sessionId: string, record: StoredRecord): Buffer {
  const stored = Buffer.allocUnsafe(headerBytes + record.body.length);
  recordPrefix(sessionId).copy(stored);
  stored.writeUInt32BE(fitting(record.generation, 2 ** 32), generationOffset);
  stored.writeUIntBE(fitting(record.idleDeadlineMs, 2 ** 48), idleOffset, 6);
  stored.writeUIntBE(fitting(record.absoluteDeadlineMs, 2 ** 48), absoluteOffset, 6);
  record.body.copy(stored, headerBytes);
  return stored;
}

/** The record in the stored bytes; `foreign` if it is not this session's, `format` if this release cannot read it. */
export function decodeRecord(sessionId: string, stored: Buffer): Exclude<ReadResult, { kind: 'miss' }> {
  if (!recordPrefix(sessionId).subarray(1).equals(stored.subarray(1, generationOffset))) {
    return { kind: 'unreadable', why: 'foreign' };
  }
  if (stored[0] !== formatVersion || stored.length < headerBytes)
    return { kind: 'unreadable', why: 'format' };
  return {
    kind: 'found',
    record: {
      generation: stored.readUInt32BE(generationOffset),
      idleDeadlineMs: stored.readUIntBE(idleOffset, 6),
      absoluteDeadlineMs: stored.readUIntBE(absoluteOffset, 6),
      body: stored.subarray(headerBytes),
    },
  };
}

/** What a one-time value begins with, in the same places: format version, and whose it is (from SHA-256 of its id). */
export function oncePrefix(id: string): Buffer {
  const prefix = Buffer.allocUnsafe(generationOffset);
  prefix[0] = formatVersion;
  createHash('sha256').update(id).digest().copy(prefix, 1, 0, markBytes);
  return prefix;
}

function fitting(value: number, limit: number): number {
  if (Number.isInteger(value) && value > 0 && value < limit) return value;
  throw new CoatcheckError('internal', { detail: `a record header cannot hold the number ${value}` });
}
