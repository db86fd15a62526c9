import type { IncomingHttpHeaders } from 'node:http';
import type { Coatcheck } from '../coatcheck.ts';
import { CoatcheckError } from '../errors.ts';
import type { LogoutStep } from '../oauth/logout.ts';
import {
  issueLoginSecret,
  type LoginSecret,
  readLoginSecret,
  transactionLifetimeMs,
} from '../oauth/transaction.ts';
import type { Session } from '../session/session.ts';
import { type Answer, json, redirect, securityHeaders } from './answer.ts';
import {
  cookieValue,
  expiredCookie,
  loginCookie,
  loginCookieNames,
  logoutCookie,
  logoutCookieName,
  sessionCookie,
  sessionCookieName,
} from './cookies.ts';
import { logoutPage } from './logout-page.ts';
import { isFromOurPages, isNavigation } from './origin-check.ts';
import { returnTo } from './return-to.ts';
import { accessSession, requireSession, staleHeaders } from './session-access.ts';

/** A request, as far as the endpoints under `/auth` look at it; any web framework can make one. */
export interface AuthRequest {
  readonly method: string;
  /** The raw query string, without `?`. */
  readonly query: string;
  readonly headers: IncomingHttpHeaders;
  /** The last path segment of a callback. */
  readonly provider?: string;
  /** The reference in an address that names a session. */
  readonly session?: string;
  /** A form, where the endpoint takes one. */
  readonly body?: string;
}

/** One endpoint. Faults are thrown as {@link CoatcheckError}. */
export interface AuthRoute {
  readonly method: 'GET' | 'POST';
  readonly path: string;
  readonly answer: (coatcheck: Coatcheck, request: AuthRequest) => Promise<Answer>;
}

/** The endpoints under `/auth` that are about one session; `personRoutes` and `backchannelRoute` are the others. */
export const authRoutes: readonly AuthRoute[] = [
  // Starts a login and sends the browser to the first provider; or, for a session that goes on, to the one that is named.
  { method: 'GET', path: '/auth/login', answer: startLogin },
  // Takes a provider's answer; sends the browser to the next provider, or signs in and sends it where it wanted to go.
  { method: 'GET', path: '/auth/callback/:provider', answer: takeCallback },
  // Ends the session, removes the cookies and what the browser has stored, and sends the browser to the start page.
  { method: 'POST', path: '/auth/logout', answer: logOut },
  // Where a provider sends the browser after it has ended its own session: to the next provider, or to the start page.
  { method: 'GET', path: '/auth/logged-out', answer: goOnLoggingOut },
  // Tells a page who is signed in and how its providers stand; never a token.
  { method: 'GET', path: '/auth/session', answer: showSession },
  // Answers a proxy's question whether a request is signed in: 204 with the person in headers, or 401.
  { method: 'GET', path: '/auth/verify', answer: verify },
];

async function startLogin(coatcheck: Coatcheck, { headers, query }: AuthRequest): Promise<Answer> {
  refuseUnlessPage(headers);
  const parameters = new URLSearchParams(query);
  const target = returnTo(parameters.get('return_to') ?? undefined, coatcheck.config.publicUrl);
  const secret = loginSecretsOf(headers)[0] ?? issueLoginSecret();
  const provider = parameters.get('provider') ?? undefined;
  const access = provider === undefined ? undefined : await accessSession(coatcheck, headers, '/auth/login');
  // Who has no session has nothing to go on with: then all are asked.
  const again =
    provider !== undefined && access?.kind === 'session'
      ? { provider, sessionId: access.session.id }
      : undefined;
  const step = await coatcheck.login.begin(target, secret, again);
  if (step.kind !== 'redirect')
    throw new CoatcheckError('internal', { detail: 'a login was complete before it began' });
  return redirect(step.location.href, [loginCookie(secret.value, transactionLifetimeMs)]);
}

async function takeCallback(coatcheck: Coatcheck, request: AuthRequest): Promise<Answer> {
  const { headers, query, provider = '' } = request;
  refuseUnlessPage(headers);
  const loginSecrets = loginSecretsOf(headers);
  // Without the cookie this browser cannot have begun a login, so the store is not asked.
  if (loginSecrets.length === 0)
    throw new CoatcheckError('login_expired', { detail: 'a callback came without a login cookie' });
  const step = await coatcheck.login.resume({ provider, query, loginSecrets });
  if (step.kind === 'redirect')
    return redirect(step.location.href, [loginCookie(step.loginSecret.value, transactionLifetimeMs)]);
  const previousTicket = cookieValue(headers.cookie, sessionCookieName);
  const { ticket } =
    step.kind === 'reauthorized'
      ? await coatcheck.sessions.reauthorize({ ...step, previousTicket })
      : await coatcheck.sessions.create({ ...step, previousTicket });
  return redirect(step.returnTo, [sessionCookie(ticket.value)]);
}

/** Ends the session of the request. */
export async function logOut(coatcheck: Coatcheck, { method, headers }: AuthRequest): Promise<Answer> {
  refuseUnlessOurs(coatcheck, method, headers);
  const value = cookieValue(headers.cookie, sessionCookieName);
  // If the store is away this throws: a logout that did not happen must not look like one.
  const { session } = value === undefined ? {} : await coatcheck.sessions.signOut(value);
  // A script cannot be carried anywhere.
  const canTravel = session !== undefined && isNavigation(headers);
  const step: LogoutStep = canTravel ? await coatcheck.logout.begin(session.tokenSets) : { kind: 'done' };
  const gone = logoutAnswer(step, headers, [sessionCookieName, ...loginCookieNames(headers.cookie)]);
  return { ...gone, headers: { ...gone.headers, 'clear-site-data': '"cache", "storage"' } };
}

/** A state that is missing or not of this browser is no fault: there is nothing to be done for it. */
async function goOnLoggingOut(coatcheck: Coatcheck, { headers, query }: AuthRequest): Promise<Answer> {
  refuseUnlessPage(headers);
  const secret = readLoginSecret(cookieValue(headers.cookie, logoutCookieName) ?? '');
  const state = new URLSearchParams(query).get('state') ?? '';
  return logoutAnswer(await coatcheck.logout.resume(state, secret === undefined ? [] : [secret]), headers);
}

function logoutAnswer(
  step: LogoutStep,
  { cookie }: IncomingHttpHeaders,
  cookieNames: readonly string[] = [],
): Answer {
  const secret = step.kind === 'visit' ? step.logoutSecret : undefined;
  const isOver = secret === undefined && cookieValue(cookie, logoutCookieName) !== undefined;
  const cookies = [
    ...cookieNames.map(expiredCookie),
    ...(isOver ? [expiredCookie(logoutCookieName)] : []),
    ...(secret === undefined ? [] : [logoutCookie(secret.value, transactionLifetimeMs)]),
  ];
  if (step.kind === 'done') return redirect('/', cookies);
  if (step.request.kind === 'redirect') return redirect(step.request.location, cookies);
  const page = logoutPage(step.request);
  return { ...page, headers: { ...page.headers, 'set-cookie': cookies } };
}

async function showSession(coatcheck: Coatcheck, { headers }: AuthRequest): Promise<Answer> {
  const access = await accessSession(coatcheck, headers, '/auth/session');
  const answer = json(200, describeSession(coatcheck, requireSession(access)));
  return { ...answer, headers: { ...answer.headers, ...staleHeaders(access) } };
}

async function verify(coatcheck: Coatcheck, { headers }: AuthRequest): Promise<Answer> {
  const access = await accessSession(coatcheck, headers, '/auth/verify');
  const person = personHeaders(requireSession(access), coatcheck.config.session.claims);
  return { status: 204, headers: { ...securityHeaders, ...person, ...staleHeaders(access) } };
}

/** Refuses what another site's page sent. */
export function refuseUnlessOurs(coatcheck: Coatcheck, method: string, headers: IncomingHttpHeaders): void {
  const { publicUrl } = coatcheck.config;
  if (isFromOurPages({ method, headers, publicUrl })) return;
  coatcheck.telemetry.log('origin.refused', { method });
  throw new CoatcheckError('origin_refused');
}

/**
 * The person in headers, for an app that trusts us: values are UTF-8, percent-encoded where they are not plain ASCII, so that
 * `decodeURIComponent` gives them back.
 */
export function personHeaders(session: Session, claims: readonly string[]): Record<string, string> {
  const headers: Record<string, string> = {
    'x-coatcheck-issuer': headerValue(session.user.issuer),
    'x-coatcheck-subject': headerValue(session.user.subject),
  };
  for (const name of claims) {
    const value = session.user.claims.get(name);
    if (value !== undefined) headers[`x-coatcheck-claim-${name.replaceAll('_', '-')}`] = headerValue(value);
  }
  return headers;
}

function headerValue(value: string): string {
  return value.replaceAll(/[^\x20-\x24\x26-\x7e]+/gu, (part) =>
    encodeURIComponent(Buffer.from(part).toString()),
  );
}

/** A login begins and ends in a window of its own; an image or a frame of another site must not start one unseen. */
function refuseUnlessPage(headers: IncomingHttpHeaders): void {
  const destination = headers['sec-fetch-dest'];
  if (destination !== undefined && destination !== 'document') throw new CoatcheckError('origin_refused');
}

function loginSecretsOf({ cookie }: IncomingHttpHeaders): LoginSecret[] {
  return loginCookieNames(cookie).flatMap((name) => readLoginSecret(cookieValue(cookie, name) ?? '') ?? []);
}

/** What a page may know. An allow-list: whatever is not named here stays inside. */
function describeSession({ sessions }: Coatcheck, session: Session): Record<string, unknown> {
  const at = (timeMs: number): string => new Date(timeMs).toISOString();
  const providers = [...session.tokenSets].map(([name, tokens]) => [
    name,
    {
      state: sessions.providerState(session, name),
      accessTokenExpiresAt: at(tokens.accessTokenExpiresAtMs),
      ...(tokens.refreshNotBeforeMs !== undefined && { refreshNotBefore: at(tokens.refreshNotBeforeMs) }),
      refreshable: tokens.refreshToken !== undefined,
      scope: tokens.scope,
    },
  ]);
  const { issuer, subject, claims } = session.user;
  return {
    user: { issuer, subject, claims: Object.fromEntries(claims) },
    createdAt: at(session.createdAtMs),
    idleExpiresAt: at(session.idleDeadlineMs),
    absoluteExpiresAt: at(session.absoluteDeadlineMs),
    providers: Object.fromEntries(providers),
  };
}
