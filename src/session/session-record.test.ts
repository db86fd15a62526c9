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

  test('S-066 shows no token, no person and no ticket', () => {
    const { body } = seal(ticket);
    for (const text of ['canary', 'Lovelace', 'example.com', ticket.value, ticket.secret, ticket.sessionId]) {
      expect(body.includes(text), String(text)).toBe(false);
    }
  });

  test('S-066 does not open under another ticket', () => {
    expect(openRecord(seal(ticket), issueTicket(), keyring)).toEqual({ kind: 'unreadable' });
  });

  test('S-066 does not open once a part of another session has taken the place of its own', () => {
    const mine = seal(ticket).body;
    const theirs = seal(issueTicket(), 'eve').body;
    const [ours, others] = [sectionsOf(mine), sectionsOf(theirs)];
    expect(ours).toHaveLength(3);
    for (const swapped of ours.keys()) {
      const body = Buffer.concat(ours.map((part, at) => (at === swapped ? (others[at] ?? part) : part)));
      expect(openRecord({ ...seal(ticket), body }, ticket, keyring)).toEqual({ kind: 'unreadable' });
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
    for (const more of [Buffer.from([0]), record.body, sectionsOf(record.body)[0] ?? record.body]) {
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

  test('what is known of a refresh comes back as it was sealed', () => {
    const known = {
      obtainedAtMs: 1,
      authorizedAtMs: 2,
      refreshTokenExpiresAtMs: 5_000_000,
      refreshFailures: 3,
    };
    const tokenSets = new Map([['identity', { ...tokens, ...known, refreshNotBeforeMs: 4 }]]);
    const sealed = { ...sealRecord({ ...content(), tokenSets }, ticket, keyring), generation: 1 };
    expect(sealed.absoluteDeadlineMs).toBe(5_000_000);
    // The absolute timeout is not lost by it: the next refresh may let the session live on.
    const session = { ...content(), tokenSets, id: ticket.sessionId, generation: 1 };
    expect(openRecord(sealed, ticket, keyring)).toEqual({ kind: 'opened', session });
    const late = { ...sealed, idleDeadlineMs: 6_000_000 };
    expect(openRecord(late, ticket, keyring)).toMatchObject({ session: { idleDeadlineMs: 5_000_000 } });
  });

  test('S-073 claims named like parts of every object are plain claims', () => {
    const opened = openRecord(seal(ticket), ticket, keyring);
    const claims = opened.kind === 'opened' ? opened.session.user.claims : new Map();
    expect(claims.get('__proto__')).toBe('canary-prototype');
    expect(({} as Record<string, unknown>)['canary-prototype']).toBeUndefined();
  });
});

/** Cuts a body into its sections, by the form that the source file describes. */
function sectionsOf(body: Buffer): Buffer[] {
  const sections: Buffer[] = [];
  for (let start = 0; start < body.length; ) {
    const keyAt = start + 1 + body.readUInt8(start);
    const lengthAt = keyAt + 1 + body.readUInt8(keyAt);
    const end = lengthAt + 4 + body.readUInt32BE(lengthAt);
    sections.push(body.subarray(start, end));
    start = end;
  }
  return sections;
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
