import { randomBytes } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { createKeyring } from './seal.ts';
import type { TokenSet } from './session.ts';
import { openRecord, reopenRecord, type SessionContent, sealRecord } from './session-record.ts';
import type { StoredRecord } from './store.ts';
import { issueTicket, type Ticket } from './ticket.ts';

const keyring = createKeyring([{ id: 'k1', secret: randomBytes(32) }]);

const tokens: TokenSet = {
  issuer: 'https://identity.example.com',
  subject: 'ada',
  scope: 'openid email',
  accessTokenExpiresAtMs: 900_000,
  accessToken: 'canary-access-token',
  refreshToken: 'canary-refresh-token',
  idToken: 'canary-id-token',
};

const content = (subject = 'ada'): SessionContent => ({
  user: {
    issuer: 'https://identity.example.com',
    subject,
    claims: new Map([
      ['name', 'Ada Lovelace'],
      ['__proto__', 'canary-prototype'],
      ['constructor', 'x'],
    ]),
  },
  tokenSets: new Map([
    ['identity', tokens],
    ['notebook', { ...tokens, issuer: 'https://notebook.example.com', accessToken: 'canary-notebook' }],
  ]),
  createdAtMs: 1000,
  absoluteDeadlineMs: 43_201_000,
  idleDeadlineMs: 3_601_000,
});

const seal = (ticket: Ticket, subject?: string): StoredRecord => ({
  ...sealRecord(content(subject), ticket, keyring),
  generation: 1,
});

describe('a record', () => {
  const ticket = issueTicket();

  test('opens to the session that was sealed', () => {
    const opened = openRecord(seal(ticket), ticket, keyring);
    expect(opened).toEqual({
      kind: 'opened',
      session: { ...content(), id: ticket.sessionId, generation: 1 },
    });
  });

  test('opens to what few providers issue, or name', () => {
    const { refreshToken, idToken, ...plain } = tokens;
    const tokenSets = new Map([
      ['plain', { ...plain, subject: '' }],
      ['refreshed', { ...plain, refreshToken }],
      ['identified', { ...plain, idToken, issuer: 'https://other.example.com' }],
    ] as [string, TokenSet][]);
    const sparse: SessionContent = { ...content(), tokenSets };
    const record = { ...sealRecord(sparse, ticket, keyring), generation: 1 };
    const opened = openRecord(record, ticket, keyring);
    expect(opened.kind === 'opened' && opened.session.tokenSets).toStrictEqual(tokenSets);
  });

  test('shows the metadata to who has the server key but not the ticket', () => {
    const [before, tokenBytes] = partsOf(seal(ticket).body);
    const lengthAt = 1 + before.readUInt8(0);
    const place = { purpose: 'metadata', id: ticket.sessionId, slot: 'session', beside: tokenBytes } as const;
    const plain = keyring.open({ keyId: 'k1', bytes: before.subarray(lengthAt + 4) }, place);
    expect(plain?.toString()).toContain('Ada Lovelace');
    expect(plain?.toString()).not.toMatch(/canary-(access|refresh|id|notebook)/);
  });

  test('S-066 shows no token, no person and no ticket', () => {
    const { body } = seal(ticket);
    for (const text of ['canary', 'Lovelace', 'example.com', ticket.value, ticket.secret, ticket.sessionId]) {
      expect(body.includes(text), String(text)).toBe(false);
    }
  });

  test('S-066 does not open under another ticket', () => {
    expect(openRecord(seal(ticket), issueTicket(), keyring)).toEqual({ kind: 'unreadable' });
  });

  test('S-066 does not open once a part of another record has taken the place of its own', () => {
    const [metadata, tokens] = partsOf(seal(ticket).body);
    expect(openRecord({ ...seal(ticket), body: Buffer.concat([metadata, tokens]) }, ticket, keyring)).toEqual(
      openRecord(seal(ticket), ticket, keyring),
    );
    for (const other of [seal(issueTicket(), 'eve'), seal(ticket)]) {
      const [otherMetadata, otherTokens] = partsOf(other.body);
      for (const parts of [
        [otherMetadata, tokens],
        [metadata, otherTokens],
      ]) {
        const body = Buffer.concat(parts);
        expect(openRecord({ ...seal(ticket), body }, ticket, keyring)).toEqual({ kind: 'unreadable' });
      }
    }
  });

  test('S-066 does not open with any byte of its body changed, nor cut, doubled or longer', () => {
    const record = seal(ticket);
    for (let at = 0; at < record.body.length; at += 1) {
      const body = Buffer.from(record.body);
      body[at] = (body[at] ?? 0) ^ (1 << (at & 7));
      expect(openRecord({ ...record, body }, ticket, keyring), `byte ${at}`).toEqual({ kind: 'unreadable' });
      const cut = { ...record, body: record.body.subarray(0, at) };
      expect(openRecord(cut, ticket, keyring), `cut at ${at}`).toEqual({ kind: 'unreadable' });
    }
    for (const more of [Buffer.from([0]), record.body, partsOf(record.body)[1]]) {
      const body = Buffer.concat([record.body, more]);
      expect(openRecord({ ...record, body }, ticket, keyring)).toEqual({ kind: 'unreadable' });
    }
  });

  test('S-066 a plain deadline written later than the sealed one does not prolong the session', () => {
    const forged = { ...seal(ticket), idleDeadlineMs: 9e15, absoluteDeadlineMs: 9e15 };
    const opened = openRecord(forged, ticket, keyring);
    expect(opened).toMatchObject({
      kind: 'opened',
      session: { absoluteDeadlineMs: 43_201_000, idleDeadlineMs: 43_201_000 },
    });
  });

  test('S-073 claims named like parts of every object are plain claims', () => {
    const opened = openRecord(seal(ticket), ticket, keyring);
    const claims = opened.kind === 'opened' ? opened.session.user.claims : new Map();
    expect(claims.get('__proto__')).toBe('canary-prototype');
    expect(({} as Record<string, unknown>)['canary-prototype']).toBeUndefined();
  });
});

/** Cuts a body into what is before the sealed tokens, and those, by the form that the source file describes. */
function partsOf(body: Buffer): [Buffer, Buffer] {
  const lengthAt = 1 + body.readUInt8(0);
  const tokensAt = lengthAt + 4 + body.readUInt32BE(lengthAt);
  return [body.subarray(0, tokensAt), body.subarray(tokensAt)];
}

describe('a record that is read again', () => {
  const ticket = issueTicket();
  const record = seal(ticket);
  const opened = openRecord(record, ticket, keyring);
  if (opened.kind !== 'opened') throw new Error('the record did not open');
  const known = opened.session;

  test('gives what opening it gives, with the header that it has now', () => {
    const later = { ...record, idleDeadlineMs: record.idleDeadlineMs + 60_000, generation: 3 };
    const again = reopenRecord(later, known);
    expect({ kind: 'opened', session: again }).toEqual(openRecord(later, ticket, keyring));
    expect(again && reopenRecord(record, again)).toEqual(known);
  });

  test('S-066 must be opened where any byte, the absolute deadline or the session is another', () => {
    for (let at = 0; at < record.body.length; at += 1) {
      const body = Buffer.from(record.body);
      body[at] = (body[at] ?? 0) ^ 1;
      expect(reopenRecord({ ...record, body }, known), `byte ${at}`).toBeUndefined();
    }
    expect(reopenRecord({ ...record, absoluteDeadlineMs: 50_000_000 }, known)).toBeUndefined();
    expect(reopenRecord(seal(ticket), known)).toBeUndefined();
    expect(reopenRecord(record, { ...known })).toBeUndefined();
  });

  test('never lives past what was sealed, however late its header says', () => {
    const late = { ...record, idleDeadlineMs: record.absoluteDeadlineMs + 1 };
    expect(reopenRecord(late, known)?.idleDeadlineMs).toBe(known.absoluteDeadlineMs);
  });
});
