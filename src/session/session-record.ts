import { hash } from 'node:crypto';
import type { Keyring, Sealed, SealPlace } from './seal.ts';
import { type Session, type TokenSet, type User, usableUntilMs } from './session.ts';
import type { StoredRecord } from './store.ts';
import type { Ticket } from './ticket.ts';

/**
 * A session in two sealed parts: metadata (opens with the server's key, so operators can list sessions) and tokens (need the
 * ticket as well). The metadata is sealed beside the sealed tokens, so one look tells whether both are whole and belong
 * together: a record opens whole or not at all. Both are JSON arrays, without names: every session is kept many times.
 *
 * Body = key id length (1) ‖ key id ‖ metadata length (4, big endian) ‖ sealed metadata ‖ sealed tokens.
 */

/** Issuer and subject of the user, name and value of each claim, creation, time from then to the absolute deadline, token sets. */
type Metadata = readonly [
  issuer: string,
  subject: string,
  claims: readonly (readonly [string, string])[],
  createdAtMs: number,
  absoluteTimeoutMs: number,
  tokenSets: readonly TokenSetMetadata[],
];

/** A 0 where issuer or subject are the user's. What only some token sets have stands by its name at the end, or nothing does. */
type TokenSetMetadata = readonly [
  provider: string,
  issuer: string | 0,
  subject: string | 0,
  scope: string,
  expiresAfterMs: number,
  more?: Omit<TokenSet, TokenName | 'issuer' | 'subject' | 'scope' | 'accessTokenExpiresAtMs'>,
];

type TokenName = 'accessToken' | 'refreshToken' | 'idToken';

/** Of one token set; a 0 where there is none. They stand in the order of the metadata. */
type TokenTexts = readonly [accessToken: string, refreshToken: string | 0, idToken: string | 0];

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

/** A session, and in what form it was sealed; a copy of it no longer knows. */
class OpenedSession implements Session {
  readonly id: string;
  readonly user: User;
  readonly tokenSets: ReadonlyMap<string, TokenSet>;
  readonly createdAtMs: number;
  readonly absoluteDeadlineMs: number;
  readonly idleDeadlineMs: number;
  readonly generation: number;
  readonly #origin: string;

  constructor(session: Session, origin: string) {
    this.id = session.id;
    this.user = session.user;
    this.tokenSets = session.tokenSets;
    this.createdAtMs = session.createdAtMs;
    this.absoluteDeadlineMs = session.absoluteDeadlineMs;
    this.idleDeadlineMs = session.idleDeadlineMs;
    this.generation = session.generation;
    this.#origin = origin;
  }

  static isFrom(origin: string, session: Session): boolean {
    return #origin in session && session.#origin === origin;
  }
}

/** Seals a session for the store, under its ticket. */
export function sealRecord(
  content: SessionContent,
  ticket: Ticket,
  keyring: Keyring,
): Omit<StoredRecord, 'generation'> {
  const tokens = keyring.seal(json([...content.tokenSets.values()].map(textsOf)), tokensPlace(ticket));
  const metadata = keyring.seal(json(metadataOf(content)), metadataPlace(ticket, tokens.bytes));
  const usableUntil = usableUntilMs(content);
  return {
    idleDeadlineMs: Math.min(content.idleDeadlineMs, usableUntil),
    absoluteDeadlineMs: usableUntil,
    body: encodeBody(metadata, tokens),
  };
}

/**
 * Opens what the store gave back. The sealed deadlines bound the plain ones: somebody who can write to the store
 * cannot make a session live longer than it was sealed for.
 */
export function openRecord(record: StoredRecord, ticket: Ticket, keyring: Keyring): OpenResult {
  const parts = decodeBody(record.body);
  if (parts === undefined) return { kind: 'unreadable' };
  const plainMetadata = keyring.open(parts.metadata, metadataPlace(ticket, parts.tokens.bytes));
  const plainTokens = keyring.open(parts.tokens, tokensPlace(ticket));
  if (plainMetadata === undefined || plainTokens === undefined) return { kind: 'unreadable' };
  const metadata = JSON.parse(plainMetadata.toString()) as Metadata;
  const [issuer, subject, claims, createdAtMs, absoluteTimeoutMs] = metadata;
  const absoluteDeadlineMs = createdAtMs + absoluteTimeoutMs;
  const session: Session = {
    id: ticket.sessionId,
    user: { issuer, subject, claims: new Map(claims) },
    tokenSets: tokenSetsOf(metadata, JSON.parse(plainTokens.toString()) as readonly TokenTexts[]),
    createdAtMs,
    absoluteDeadlineMs,
    idleDeadlineMs: endOf(record, absoluteDeadlineMs),
    generation: record.generation,
  };
  return { kind: 'opened', session: new OpenedSession(session, originOf(record)) };
}

/**
 * The session as this record has it, if it is sealed as the one that `known` was opened from: what has not changed need not be
 * opened again, which is most of the cost of a load from the store. `undefined` where it must be opened.
 */
export function reopenRecord(record: StoredRecord, known: Session): Session | undefined {
  const origin = originOf(record);
  if (!OpenedSession.isFrom(origin, known)) return undefined;
  const { generation } = record;
  const idleDeadlineMs = endOf(record, known.absoluteDeadlineMs);
  return generation === known.generation && idleDeadlineMs === known.idleDeadlineMs
    ? known
    : new OpenedSession({ ...known, idleDeadlineMs, generation }, origin);
}

/** The header's own absolute deadline is the last use of any token: a refresh may move it, up to the sealed one. */
function endOf({ idleDeadlineMs, absoluteDeadlineMs }: StoredRecord, sealedDeadlineMs: number): number {
  return Math.min(idleDeadlineMs, absoluteDeadlineMs, sealedDeadlineMs);
}

/** All that an opened session depends on, but for what a header may change without being sealed anew. */
function originOf({ body, absoluteDeadlineMs }: StoredRecord): string {
  return `${absoluteDeadlineMs} ${hash('sha256', body, 'base64url')}`;
}

function metadataOf({ user, tokenSets, createdAtMs, absoluteDeadlineMs }: SessionContent): Metadata {
  const states = [...tokenSets].map(([provider, tokenSet]): TokenSetMetadata => {
    const { accessToken, refreshToken, idToken, ...state } = tokenSet;
    const { issuer, subject, scope, accessTokenExpiresAtMs, ...more } = state;
    const always = [
      provider,
      issuer === user.issuer ? 0 : issuer,
      subject === user.subject ? 0 : subject,
      scope,
      accessTokenExpiresAtMs - createdAtMs,
    ] as const;
    return Object.keys(more).length === 0 ? always : [...always, more];
  });
  return [user.issuer, user.subject, [...user.claims], createdAtMs, absoluteDeadlineMs - createdAtMs, states];
}

function textsOf({ accessToken, refreshToken, idToken }: TokenSet): TokenTexts {
  return [accessToken, refreshToken ?? 0, idToken ?? 0];
}

type TokenSetState = Omit<TokenSet, TokenName>;

function statesOf([userIssuer, userSubject, , createdAtMs, , states]: Metadata): [string, TokenSetState][] {
  return states.map(([provider, issuer, subject, scope, expiresAfterMs, more]) => {
    const state: TokenSetState = {
      issuer: issuer === 0 ? userIssuer : issuer,
      subject: subject === 0 ? userSubject : subject,
      scope,
      accessTokenExpiresAtMs: createdAtMs + expiresAfterMs,
      ...more,
    };
    return [provider, state];
  });
}

function tokenSetsOf(metadata: Metadata, texts: readonly TokenTexts[]): Map<string, TokenSet> {
  return new Map(
    statesOf(metadata).map(([provider, state], at) => {
      const [accessToken, refreshToken, idToken] = texts[at] ?? ['', 0, 0];
      const tokens = {
        accessToken,
        ...(refreshToken !== 0 && { refreshToken }),
        ...(idToken !== 0 && { idToken }),
      };
      return [provider, { ...state, ...tokens }];
    }),
  );
}

function json(value: Metadata | readonly TokenTexts[]): Buffer {
  return Buffer.from(JSON.stringify(value));
}

function metadataPlace({ sessionId }: Pick<Ticket, 'sessionId'>, beside: Buffer): SealPlace {
  return { purpose: 'metadata', id: sessionId, slot: 'session', beside };
}

function tokensPlace({ sessionId, secret }: Ticket): SealPlace {
  return { purpose: 'tokens', id: sessionId, slot: 'session', secret };
}

function encodeBody(metadata: Sealed, tokens: Sealed): Buffer {
  const keyId = Buffer.from(metadata.keyId);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(metadata.bytes.length);
  return Buffer.concat([Buffer.from([keyId.length]), keyId, length, metadata.bytes, tokens.bytes]);
}

/** `undefined` where the bytes are cut. */
function decodeBody(body: Buffer): { readonly metadata: Sealed; readonly tokens: Sealed } | undefined {
  const lengthAt = 1 + (body[0] ?? 0);
  const metadataAt = lengthAt + 4;
  if (metadataAt > body.length) return undefined;
  const tokensAt = metadataAt + body.readUInt32BE(lengthAt);
  const keyId = body.toString('latin1', 1, lengthAt);
  return {
    metadata: { keyId, bytes: body.subarray(metadataAt, tokensAt) },
    tokens: { keyId, bytes: body.subarray(tokensAt) },
  };
}

/** A session as far as the server's key alone opens it. */
export interface SessionMetadata extends Omit<Session, 'tokenSets' | 'generation'> {
  /** By provider name; without any token. */
  readonly providers: ReadonlyMap<string, TokenSetState>;
}

/** Opens the metadata alone, for those who hold no ticket; `undefined` where that cannot be. */
export function openMetadata(
  record: StoredRecord,
  sessionId: string,
  keyring: Keyring,
): SessionMetadata | undefined {
  const parts = decodeBody(record.body);
  const plain = parts && keyring.open(parts.metadata, metadataPlace({ sessionId }, parts.tokens.bytes));
  if (plain === undefined) return undefined;
  const metadata = JSON.parse(plain.toString()) as Metadata;
  const [issuer, subject, claims, createdAtMs, absoluteTimeoutMs] = metadata;
  const absoluteDeadlineMs = createdAtMs + absoluteTimeoutMs;
  return {
    id: sessionId,
    user: { issuer, subject, claims: new Map(claims) },
    createdAtMs,
    absoluteDeadlineMs,
    idleDeadlineMs: endOf(record, absoluteDeadlineMs),
    providers: new Map(statesOf(metadata)),
  };
}
