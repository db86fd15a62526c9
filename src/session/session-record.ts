import { hash } from 'node:crypto';
import type { Keyring, Sealed } from './seal.ts';
import { type Session, type TokenSet, type User, usableUntilMs } from './session.ts';
import type { StoredRecord } from './store.ts';
import type { Ticket } from './ticket.ts';

/**
 * A session as sealed sections: one of metadata (opens with the server's key, so operators can list sessions) and one of
 * tokens per provider (needs the ticket as well). A record opens whole or not at all.
 *
 * Section = name length (1) ‖ name ‖ key id length (1) ‖ key id ‖ sealed length (4, big endian) ‖ sealed.
 */

interface Metadata {
  readonly user: {
    readonly issuer: string;
    readonly subject: string;
    readonly claims: readonly [string, string][];
  };
  readonly createdAtMs: number;
  readonly absoluteDeadlineMs: number;
  readonly providers: readonly (readonly [
    string,
    Omit<TokenSet, 'accessToken' | 'refreshToken' | 'idToken'>,
  ])[];
}

type Tokens = Pick<TokenSet, 'accessToken' | 'refreshToken' | 'idToken'>;

/** What a new record needs to be told; the rest follows. */
export type SessionContent = Pick<
  Session,
  'user' | 'tokenSets' | 'createdAtMs' | 'absoluteDeadlineMs' | 'idleDeadlineMs'
>;

/** The answer to {@link openRecord}. */
export type OpenResult =
  | { readonly kind: 'opened'; readonly session: Session }
  /** Sealed by a key that we no longer have, cut, or moved here from another session. */
  | { readonly kind: 'unreadable' };

const metadataSlot = 'metadata';

/** What each opened session was sealed as; forgotten with the session. */
const origins = new WeakMap<Session, string>();

/** Seals a session for the store, under its ticket. */
export function sealRecord(
  content: SessionContent,
  ticket: Ticket,
  keyring: Keyring,
): Omit<StoredRecord, 'generation'> {
  const { user, tokenSets, createdAtMs, absoluteDeadlineMs, idleDeadlineMs } = content;
  const metadata: Metadata = {
    user: { issuer: user.issuer, subject: user.subject, claims: [...user.claims] },
    createdAtMs,
    absoluteDeadlineMs,
    providers: [...tokenSets].map(([name, { accessToken, refreshToken, idToken, ...state }]) => [
      name,
      state,
    ]),
  };
  const sections = [
    encodeSection(
      metadataSlot,
      keyring.seal(json(metadata), { purpose: 'metadata', id: ticket.sessionId, slot: metadataSlot }),
    ),
  ];
  for (const [name, { accessToken, refreshToken, idToken }] of tokenSets) {
    const place = { purpose: 'tokens', id: ticket.sessionId, slot: name, secret: ticket.secret } as const;
    sections.push(encodeSection(name, keyring.seal(json({ accessToken, refreshToken, idToken }), place)));
  }
  const usableUntil = usableUntilMs(content);
  return {
    idleDeadlineMs: Math.min(idleDeadlineMs, usableUntil),
    absoluteDeadlineMs: usableUntil,
    body: Buffer.concat(sections),
  };
}

/**
 * Opens what the store gave back. The sealed deadlines bound the plain ones: somebody who can write to the store
 * cannot make a session live longer than it was sealed for.
 */
export function openRecord(record: StoredRecord, ticket: Ticket, keyring: Keyring): OpenResult {
  const sections = decodeSections(record.body);
  const sealedMetadata = sections?.get(metadataSlot);
  if (sections === undefined || sealedMetadata === undefined) return { kind: 'unreadable' };
  const plain = keyring.open(sealedMetadata, {
    purpose: 'metadata',
    id: ticket.sessionId,
    slot: metadataSlot,
  });
  if (plain === undefined) return { kind: 'unreadable' };
  const metadata = JSON.parse(plain.toString()) as Metadata;

  const tokenSets = new Map<string, TokenSet>();
  for (const [name, state] of metadata.providers) {
    const sealed = sections.get(name);
    const place = { purpose: 'tokens', id: ticket.sessionId, slot: name, secret: ticket.secret } as const;
    const tokens = sealed === undefined ? undefined : keyring.open(sealed, place);
    if (tokens === undefined) return { kind: 'unreadable' };
    tokenSets.set(name, { ...state, ...(JSON.parse(tokens.toString()) as Tokens) });
  }
  const absoluteDeadlineMs = Math.min(record.absoluteDeadlineMs, metadata.absoluteDeadlineMs);
  const session: Session = {
    id: ticket.sessionId,
    user: userOf(metadata),
    tokenSets,
    createdAtMs: metadata.createdAtMs,
    absoluteDeadlineMs,
    idleDeadlineMs: Math.min(record.idleDeadlineMs, absoluteDeadlineMs),
    generation: record.generation,
  };
  origins.set(session, originOf(record));
  return { kind: 'opened', session };
}

/**
 * The session as this record has it, if it is sealed as the one that `known` was opened from: what has not changed need not be
 * opened again, which is most of the cost of a load from the store. `undefined` where it must be opened.
 */
export function reopenRecord(record: StoredRecord, known: Session): Session | undefined {
  const origin = originOf(record);
  if (origins.get(known) !== origin) return undefined;
  const idleDeadlineMs = Math.min(record.idleDeadlineMs, known.absoluteDeadlineMs);
  const session: Session = { ...known, idleDeadlineMs, generation: record.generation };
  origins.set(session, origin);
  return session;
}

/** All that an opened session depends on, but for what a header may change without being sealed anew. */
function originOf({ body, absoluteDeadlineMs }: StoredRecord): string {
  return `${absoluteDeadlineMs} ${hash('sha256', body, 'base64url')}`;
}

function userOf({ user }: Metadata): User {
  return { issuer: user.issuer, subject: user.subject, claims: new Map(user.claims) };
}

function json(value: Metadata | { [Key in keyof Tokens]: Tokens[Key] | undefined }): Buffer {
  return Buffer.from(JSON.stringify(value));
}

function encodeSection(slot: string, { keyId, bytes }: Sealed): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  const names = [slot, keyId]
    .map((name) => Buffer.from(name))
    .flatMap((name) => [Buffer.from([name.length]), name]);
  return Buffer.concat([...names, length, bytes]);
}

/** `undefined` where the bytes are cut, overlong or name a section twice. */
function decodeSections(body: Buffer): Map<string, Sealed> | undefined {
  const sections = new Map<string, Sealed>();
  let offset = 0;
  const take = (length: number): Buffer | undefined => {
    const end = offset + length;
    if (end > body.length) return undefined;
    const part = body.subarray(offset, end);
    offset = end;
    return part;
  };
  const takeName = (): string | undefined => take(take(1)?.[0] ?? body.length + 1)?.toString();
  while (offset < body.length) {
    const slot = takeName();
    const keyId = takeName();
    const length = take(4)?.readUInt32BE();
    const bytes = length === undefined ? undefined : take(length);
    if (slot === undefined || keyId === undefined || bytes === undefined || sections.has(slot))
      return undefined;
    sections.set(slot, { keyId, bytes });
  }
  return sections;
}

/** A session as far as the server's key alone opens it. */
export interface SessionMetadata extends Omit<Session, 'tokenSets' | 'generation'> {
  /** By provider name; without any token. */
  readonly providers: ReadonlyMap<string, Omit<TokenSet, 'accessToken' | 'refreshToken' | 'idToken'>>;
}

/** Opens the metadata alone, for those who hold no ticket; `undefined` where that cannot be. */
export function openMetadata(
  record: StoredRecord,
  sessionId: string,
  keyring: Keyring,
): SessionMetadata | undefined {
  const sealed = decodeSections(record.body)?.get(metadataSlot);
  const place = { purpose: 'metadata', id: sessionId, slot: metadataSlot } as const;
  const plain = sealed === undefined ? undefined : keyring.open(sealed, place);
  if (plain === undefined) return undefined;
  const metadata = JSON.parse(plain.toString()) as Metadata;
  const absoluteDeadlineMs = Math.min(record.absoluteDeadlineMs, metadata.absoluteDeadlineMs);
  return {
    id: sessionId,
    user: userOf(metadata),
    createdAtMs: metadata.createdAtMs,
    absoluteDeadlineMs,
    idleDeadlineMs: Math.min(record.idleDeadlineMs, absoluteDeadlineMs),
    providers: new Map(metadata.providers),
  };
}
