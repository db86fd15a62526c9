import type { Coatcheck } from '../coatcheck.ts';
import { CoatcheckError } from '../errors.ts';
import { personHeaders, refuseUnlessOurs } from './auth-routes.ts';
import type { Exchange } from './forwarding.ts';
import type { UpstreamProxy } from './proxy.ts';
import { matchesPublicPath } from './request-path.ts';
import {
  accessSession,
  accessToken,
  renewAccessToken,
  requireSession,
  type SessionAccess,
  staleHeaders,
} from './session-access.ts';

/** What is behind the gateway. */
export interface Upstreams {
  /** By the name that stands in `/api/<name>/…`. */
  readonly apis: ReadonlyMap<string, UpstreamProxy>;
  readonly app: UpstreamProxy | undefined;
}

/** A request that is to be forwarded. */
export type ForwardedRequest = Pick<
  Exchange,
  'request' | 'response' | 'target' | 'requestHeaders' | 'responseHeaders'
>;

/** A route that leads out of the gateway. Faults before an answer has begun are thrown. */
export interface ForwardingRoute {
  readonly path: string;
  readonly forward: (context: ForwardingRouteContext) => Promise<void>;
}

/** What a forwarding route works with. */
export interface ForwardingRouteContext {
  readonly coatcheck: Coatcheck;
  readonly upstreams: Upstreams;
  readonly exchange: ForwardedRequest;
}

/** Every route that leads out; with `authRoutes` and `personRoutes`, the whole public surface. */
export const forwardingRoutes: readonly ForwardingRoute[] = [
  // Calls an upstream API on the person's behalf, with the token of that upstream's provider and no other.
  { path: '/api/:upstream', forward: callApi },
  { path: '/api/:upstream/*', forward: callApi },
  // Everything else belongs to the app behind the gateway, if there is one; never a token.
  { path: '/*', forward: visitApp },
];

async function callApi({ coatcheck, upstreams, exchange }: ForwardingRouteContext): Promise<void> {
  const { method = '', headers } = exchange.request;
  refuseUnlessOurs(coatcheck, method, headers);
  const access = await accessSession(coatcheck, headers, exchange.target.path);
  requireSession(access);
  const name = exchange.target.path.split('/')[2] ?? '';
  const upstream = upstreams.apis.get(name);
  const provider = coatcheck.config.upstreams[name]?.provider;
  if (upstream === undefined || provider === undefined) throw new CoatcheckError('not_found');
  const bearer = await accessToken(coatcheck, access, provider);
  await forwardTo(upstream, {
    coatcheck,
    name,
    exchange: {
      ...marked(exchange, access),
      bearer,
      ...(access.kind === 'session' && {
        renewBearer: (rejected) => renewAccessToken(coatcheck, access, { provider, rejected }),
      }),
    },
  });
}

async function visitApp({ coatcheck, upstreams, exchange }: ForwardingRouteContext): Promise<void> {
  const { app } = coatcheck.config;
  if (app === undefined || upstreams.app === undefined || isReserved(exchange.target.path)) {
    throw new CoatcheckError('not_found');
  }
  const { method = '', headers } = exchange.request;
  refuseUnlessOurs(coatcheck, method, headers);
  const isPublic = matchesPublicPath(exchange.target.path, app.public);
  // A public path neither needs nor sees a session, so that caches may keep what it answers.
  const access = isPublic ? undefined : await accessSession(coatcheck, headers, exchange.target.path);
  const visitor =
    access === undefined || access.kind === 'anonymous'
      ? {}
      : personHeaders(requireSession(access), app.claims);
  const visit = access === undefined ? exchange : marked(exchange, access);
  await forwardTo(upstreams.app, {
    coatcheck,
    name: 'app',
    exchange: { ...visit, requestHeaders: { ...visit.requestHeaders, ...visitor }, personal: !isPublic },
  });
}

/** Tells the client where the session could not be verified just now. */
function marked(exchange: ForwardedRequest, access: SessionAccess): ForwardedRequest {
  return { ...exchange, responseHeaders: { ...exchange.responseHeaders, ...staleHeaders(access) } };
}

/** Ours, whether or not there is an endpoint: an app must not be able to answer for us. */
function isReserved(path: string): boolean {
  return /^\/(?:auth|api)(?:\/|$)/.test(path);
}

interface Forward {
  readonly coatcheck: Coatcheck;
  readonly name: string;
  readonly exchange: Exchange;
}

async function forwardTo(upstream: UpstreamProxy, { coatcheck, name, exchange }: Forward): Promise<void> {
  const { telemetry } = coatcheck;
  const end = telemetry.metrics.upstreamSeconds.startTimer({ upstream: name });
  let outcome = 'fault';
  try {
    await telemetry.span('coatcheck.upstream', { 'coatcheck.upstream': name }, async () => {
      const result = await upstream.forward(exchange);
      outcome = result.kind;
      if (result.kind === 'cut') telemetry.log('upstream.cut', { upstream: name, error: result.fault });
    });
  } finally {
    end({ outcome });
  }
}
