/**
 * The closed set of faults. A code names what went wrong; the registry says what it means, which HTTP status
 * it becomes and whether trying again can help. `docs/errors.md` is generated from it.
 *
 * Expected outcomes (no session, a provider that needs a new authorization) are discriminated unions, not errors.
 */

/** What the registry knows about one code. */
export interface ErrorMeaning {
  /** HTTP status of the answer (RFC 9110 §15). */
  readonly status: number;
  /** Whether the same request may succeed later, unchanged. */
  readonly retryable: boolean;
  /** Short, fixed, safe to show anyone: becomes `title` of the problem document (RFC 9457 §3.1.3). */
  readonly title: string;
  /** For the operator: what it means and what to do. */
  readonly meaning: string;
}

/** The closed set of codes. */
export type ErrorCode =
  | 'admin_refused'
  | 'config_invalid'
  | 'draining'
  | 'internal'
  | 'login_callback_invalid'
  | 'login_expired'
  | 'login_person_mismatch'
  | 'login_refused'
  | 'logout_token_invalid'
  | 'method_not_allowed'
  | 'no_session'
  | 'not_found'
  | 'origin_refused'
  | 'path_refused'
  | 'provider_answer_invalid'
  | 'provider_unavailable'
  | 'request_invalid'
  | 'request_timeout'
  | 'request_too_large'
  | 'return_to_refused'
  | 'store_unavailable'
  | 'token_unavailable'
  | 'upstream_timeout'
  | 'upstream_unavailable';

const lasting = (status: number, title: string, meaning: string): ErrorMeaning => ({
  status,
  retryable: false,
  title,
  meaning,
});

const passing = (status: number, title: string, meaning: string): ErrorMeaning => ({
  ...lasting(status, title, meaning),
  retryable: true,
});

/** Every code, with its meaning. */
export const errorRegistry: Readonly<Record<ErrorCode, ErrorMeaning>> = {
  admin_refused: lasting(
    401,
    'The admin token is missing or wrong',
    'A call of /admin/… on the second listener did not carry `listen.adminToken` as its bearer token.',
  ),
  config_invalid: lasting(
    500,
    'Configuration is invalid',
    'A configuration value is missing, unknown or wrong. The message names the key, the value seen and what was expected. The process does not start.',
  ),
  draining: passing(
    503,
    'This replica is shutting down',
    'The replica got SIGTERM and takes no new requests. Send the request to another replica.',
  ),
  internal: lasting(
    500,
    'Something went wrong on our side',
    'A fault that no rule foresaw. The log line with the same request id has the details. Please report it.',
  ),
  login_callback_invalid: lasting(
    400,
    'This sign-in answer was not accepted',
    'A callback lacked a parameter, repeated one, or did not fit the sign-in that this browser started (state, issuer, provider). Start the sign-in again.',
  ),
  login_expired: lasting(
    400,
    'This sign-in has expired or was already used',
    'The transaction behind a callback is gone: older than ten minutes, or used before. Start the sign-in again.',
  ),
  login_person_mismatch: lasting(
    403,
    'The providers do not agree on who you are',
    'The `sameUser` rule failed: a later provider answered for another person than the first. Sign in as the same person everywhere.',
  ),
  login_refused: lasting(
    403,
    'The provider refused the sign-in',
    'The provider answered with an OAuth error (RFC 6749 §4.1.2.1), for example because the person cancelled.',
  ),
  logout_token_invalid: lasting(
    400,
    'This logout token was not accepted',
    'A provider sent a logout token that failed a check (OpenID Connect Back-Channel Logout §2.6) or was used before. The log line names the check. No session has ended.',
  ),
  method_not_allowed: lasting(
    405,
    'This method is not allowed here',
    'The route or upstream does not allow the HTTP method. The Allow header lists those that it does.',
  ),
  no_session: lasting(
    401,
    'You are not signed in',
    'No cookie, or one that no live session belongs to. A page navigation is sent to sign in instead.',
  ),
  not_found: lasting(
    404,
    'There is nothing here',
    'No route, upstream or provider of that name is configured.',
  ),
  origin_refused: lasting(
    403,
    'This request came from another site',
    'A state-changing request carried no proof that it came from our own pages (Sec-Fetch-Site, Origin or the x-coatcheck-csrf header).',
  ),
  path_refused: lasting(
    400,
    'This path is not accepted',
    'The request path contained dot segments, encoded separators, backslashes, empty segments or control characters, which different servers read differently.',
  ),
  provider_answer_invalid: lasting(
    502,
    'The provider gave an answer that cannot be trusted',
    'A token, ID token, key set or userinfo answer failed a check. The log line names the check. Nothing of it was kept.',
  ),
  provider_unavailable: passing(
    503,
    'The provider cannot be reached',
    'The provider did not answer in time, or answered with a server error.',
  ),
  request_invalid: lasting(
    400,
    'The request is malformed',
    'A parameter, header or cookie was malformed. The detail names it.',
  ),
  request_timeout: passing(
    408,
    'The request did not arrive in time',
    'The client sent no more of its request for the whole time limit.',
  ),
  request_too_large: lasting(
    413,
    'The request is too large',
    'The request body exceeded the configured limit.',
  ),
  return_to_refused: lasting(
    400,
    'return_to must be a path of this site',
    'The `return_to` parameter named another origin or was malformed. It must be a path that begins with a single slash.',
  ),
  store_unavailable: passing(
    503,
    'Sessions are unavailable for a moment',
    'The session store did not answer within its deadline, or answered with a fault. Nobody is signed out; cookies are untouched.',
  ),
  token_unavailable: lasting(
    401,
    'One provider needs you to sign in again',
    'The session lives, but the token of the provider that this upstream needs is gone or expired. The answer names the provider and where to go.',
  ),
  upstream_timeout: passing(
    504,
    'The system behind this address took too long',
    'The upstream did not answer within its time limit.',
  ),
  upstream_unavailable: passing(
    502,
    'The system behind this address cannot be reached',
    'The connection to the upstream failed or broke before an answer began.',
  ),
};

const brand: symbol = Symbol.for('coatcheck.error');

/** Options of a {@link CoatcheckError}. */
export interface CoatcheckErrorOptions {
  /** For the operator, into the log. May name hosts and checks; must never carry a secret. Default: the code's title. */
  readonly detail?: string;
  /** Safe extension members of the problem document, shown to the caller. */
  readonly shown?: Readonly<Record<string, string>>;
  /** How long to wait before trying again, ms: the least that `Retry-After` says. Default: a short while. */
  readonly retryAfterMs?: number | undefined;
  /** Whether whoever was asked has not acted on it: nothing has reached them, or they say so. Default: false. */
  readonly isUnprocessed?: boolean;
  /** The fault beneath. Never shown; only its `name` and `code` are logged. */
  readonly cause?: unknown;
}

/** The one error class. Recognise it with {@link CoatcheckError.is}: `instanceof` fails across duplicate installs. */
export class CoatcheckError extends Error {
  readonly code: ErrorCode;
  readonly shown: Readonly<Record<string, string>>;
  readonly retryAfterMs: number | undefined;
  readonly isUnprocessed: boolean;

  constructor(code: ErrorCode, options: CoatcheckErrorOptions = {}) {
    super(options.detail ?? errorRegistry[code].title, { cause: options.cause });
    this.name = 'CoatcheckError';
    this.code = code;
    this.shown = options.shown ?? {};
    this.retryAfterMs = options.retryAfterMs;
    this.isUnprocessed = options.isUnprocessed ?? false;
    Object.defineProperty(this, brand, { value: true });
  }

  /** HTTP status of this fault, under the name by which web frameworks look for it. */
  get statusCode(): number {
    return errorRegistry[this.code].status;
  }

  get status(): number {
    return this.statusCode;
  }

  /** Whether the same request may succeed later. */
  get retryable(): boolean {
    return errorRegistry[this.code].retryable;
  }

  /** True for any `CoatcheckError`, also from another copy of this package. */
  static is(value: unknown): value is CoatcheckError {
    return typeof value === 'object' && value !== null && brand in value;
  }

  /** Any thrown value as a `CoatcheckError`; what we do not know is `internal`, with the value as its cause. */
  static from(value: unknown): CoatcheckError {
    return CoatcheckError.is(value) ? value : new CoatcheckError('internal', { cause: value });
  }
}
