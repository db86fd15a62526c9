import { hash, randomBytes } from 'node:crypto';

/**
 * The ticket is what the cookie carries: `v1.` and 32 random bytes in base64url (46 characters, always). It holds nothing
 * else. The store knows only a hash of it, and tokens are sealed under it, so neither a dump of the store nor the
 * server's keys alone give a usable session.
 */
export interface Ticket {
  /** The cookie's value. A secret. */
  readonly value: string;
  /** The 32 random bytes; key material for sealing. A secret. */
  readonly secret: Buffer;
  /** base64url(SHA-256("coatcheck/id/1" ‖ secret)): where the store keeps the session. 43 characters. */
  readonly sessionId: string;
}

const secretBytes = 32;
/** The last character carries two spare bits: only the spelling that we issue counts, with both of them 0. */
const pattern = /^v1\.([A-Za-z0-9_-]{42}[AEIMQUYcgkosw048])$/;
const idPrefix = Buffer.from('coatcheck/id/1');

/** A new ticket from the system's random source (256 bits). */
export function issueTicket(): Ticket {
  const secret = randomBytes(secretBytes);
  return ticketOf(`v1.${secret.toString('base64url')}`, secret);
}

/** Tickets read lately, the oldest first. Reading one takes longer than all else that a cached session needs. */
const recent = new Map<string, Ticket>();
const recentLimit = 10_000;

/**
 * Reads a cookie value. `undefined` for anything that we cannot have issued: it is untrusted input and must not
 * become a store key, nor cost a store command.
 */
export function readTicket(value: string): Ticket | undefined {
  const known = recent.get(value);
  if (known !== undefined) return known;
  const encoded = pattern.exec(value)?.[1];
  if (encoded === undefined) return undefined;
  // Both on their own: the value may be a part of a long Cookie header, and `Buffer.from` takes a part of a shared block.
  const secret = Buffer.alloc(secretBytes);
  secret.write(encoded, 'base64url');
  const ticket = ticketOf(`v1.${secret.toString('base64url')}`, secret);
  recent.set(ticket.value, ticket);
  if (recent.size > recentLimit) recent.delete(recent.keys().next().value ?? '');
  return ticket;
}

function ticketOf(value: string, secret: Buffer): Ticket {
  return { value, secret, sessionId: hash('sha256', Buffer.concat([idPrefix, secret]), 'base64url') };
}
