import type { ServerResponse } from 'node:http';

/** Whom a system behind the gateway saw: what the token it accepted says. */
export interface Seen {
  readonly subject: string;
  /** `null` where the token names none, as opaque tokens do. */
  readonly audience: string | null;
  /** The OAuth client that the token was issued to. */
  readonly clientId: string;
}

/** Sets the headers `x-seen-subject` and `x-seen-audience`. */
export function setSeenHeaders(response: ServerResponse, seen: Seen): void {
  response.setHeader('x-seen-subject', seen.subject);
  response.setHeader('x-seen-audience', seen.audience ?? '');
}
