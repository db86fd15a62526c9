/**
 * The cookies of the gateway, read and written in one place. All are `__Host-` cookies (RFC 6265bis §4.1.3.2): Secure,
 * HttpOnly, Path=/, no Domain, so no other host, sibling or script can plant or read them. SameSite=Lax: the way back from a
 * provider is a cross-site navigation, which a Strict cookie would miss.
 */

/** Carries the ticket. A session cookie without Max-Age: its life is decided in the store. */
export const sessionCookieName = '__Host-coatcheck';

/**
 * Carries the secret of the logins that this browser has under way; the name goes on with `-` and a part of the secret. A
 * browser has one, but for tabs that begin at the same moment, none of which knows of the others' cookie yet: under one
 * name the last would overwrite the rest, and only its login could be finished.
 */
export const loginCookieName = '__Host-coatcheck-login';

/** Carries the secret of a logout that is on its way past the providers. */
export const logoutCookieName = '__Host-coatcheck-logout';

/** More login cookies than this are not looked at. */
const loginCookieLimit = 16;

const attributes = 'Path=/; Secure; HttpOnly; SameSite=Lax';

/** What a Cookie header says of one name. Two cookies of one name are a sign of an attack; neither counts. */
export type CookieReading =
  | { readonly kind: 'absent' }
  | { readonly kind: 'value'; readonly value: string }
  | { readonly kind: 'ambiguous' };

/** Reads one cookie by its exact name from a Cookie header (RFC 6265bis §4.2.1). */
export function readCookie(header: string | undefined, name: string): CookieReading {
  if (header === undefined) return { kind: 'absent' };
  const prefix = `${name}=`;
  let value: string | undefined;
  for (let start = 0; start <= header.length; ) {
    const semicolon = header.indexOf(';', start);
    const end = semicolon < 0 ? header.length : semicolon;
    const nameAt = header[start] === ' ' ? start + 1 : start;
    if (header.startsWith(prefix, nameAt)) {
      if (value !== undefined) return { kind: 'ambiguous' };
      value = header.slice(nameAt + prefix.length, end);
    }
    start = end + 1;
  }
  return value === undefined ? { kind: 'absent' } : { kind: 'value', value };
}

/** The value where there is exactly one, else nothing. */
export function cookieValue(header: string | undefined, name: string): string | undefined {
  const reading = readCookie(header, name);
  return reading.kind === 'value' ? reading.value : undefined;
}

/** Set-Cookie for a new ticket. */
export function sessionCookie(ticket: string): string {
  return `${sessionCookieName}=${ticket}; ${attributes}`;
}

/** Names of the login cookies in a Cookie header. */
export function loginCookieNames(header: string | undefined): string[] {
  const names = (header ?? '').matchAll(/(?:^|; ?)(__Host-coatcheck-login-[\w-]{8})=/g);
  return [...new Set([...names].map(([, name = '']) => name))].slice(0, loginCookieLimit);
}

/** Set-Cookie for the login secret, which lives as long as a transaction. */
export function loginCookie(value: string, lifetimeMs: number): string {
  const name = `${loginCookieName}-${value.slice(-8)}`;
  return `${name}=${value}; ${attributes}; Max-Age=${Math.floor(lifetimeMs / 1000)}`;
}

/** Set-Cookie for the logout secret, which lives as long as a transaction. */
export function logoutCookie(value: string, lifetimeMs: number): string {
  return `${logoutCookieName}=${value}; ${attributes}; Max-Age=${Math.floor(lifetimeMs / 1000)}`;
}

/** Set-Cookie that removes a cookie; the attributes are those that it was set with, or browsers would keep it. */
export function expiredCookie(name: string): string {
  return `${name}=; ${attributes}; Max-Age=0`;
}
