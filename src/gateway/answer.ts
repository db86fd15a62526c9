/** An answer that the gateway makes itself, before any web framework sees it. */
export interface Answer {
  readonly status: number;
  /** Lower-case names. A list gives one header line per value (only `set-cookie` has several). */
  readonly headers: Readonly<Record<string, string | readonly string[]>>;
  readonly body?: string;
}

/** On every answer of ours: nothing is cached, framed, sniffed, embedded or told to the next site. */
export const securityHeaders: Readonly<Record<string, string>> = {
  'cache-control': 'no-store',
  'content-security-policy':
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'cross-origin-resource-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
};

/** See Other (RFC 9110 §15.4.4): whatever the method was, the browser goes there with GET. */
export function redirect(location: string, cookies: readonly string[] = []): Answer {
  return {
    status: 303,
    headers: { ...securityHeaders, location, ...(cookies.length === 0 ? {} : { 'set-cookie': cookies }) },
  };
}

/** A JSON answer. */
export function json(status: number, value: unknown): Answer {
  return {
    status,
    headers: { ...securityHeaders, 'content-type': 'application/json' },
    body: JSON.stringify(value),
  };
}
