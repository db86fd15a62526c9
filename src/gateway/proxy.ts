import type { IncomingMessage } from 'node:http';
import type { Transform } from 'node:stream';
import { type Dispatcher, Pool } from 'undici';
import { CoatcheckError } from '../errors.ts';
import { type Placement, repeatedHeader, requestHeaders, type UpstreamKind } from './forwarded-headers.ts';
import { type AttemptOutcome, type Exchange, Forwarding, type ForwardingOutcome } from './forwarding.ts';
import { boundedBody } from './request-body.ts';
import { pathBelow, type RequestTarget } from './request-path.ts';

/** How one upstream is reached. */
export interface ProxyOptions {
  readonly kind: UpstreamKind;
  /** Where the upstream lives: http(s) origin and path; without user, query or fragment. */
  readonly url: string;
  /** Where the gateway shows it: `/api/eln`; empty for the app. No slash at the end. */
  readonly routePrefix: string;
  /** Origin of the gateway, from the configuration. */
  readonly publicUrl: string;
  /** Methods that pass; any other is `method_not_allowed`. */
  readonly methods: readonly string[];
  /** Sent on every request, e.g. a `client_id`. */
  readonly headers: Readonly<Record<string, string>>;
  /** Most connections to this upstream; further requests wait, within `headersTimeoutMs`. */
  readonly connections: number;
  /** Longest wait for the head of an answer: queue, connection and upstream together, from the last byte of the request. */
  readonly headersTimeoutMs: number;
  /** Longest standstill of an answer's body, whoever causes it: an upstream that is silent or a client that does not read. */
  readonly bodyTimeoutMs: number;
  readonly maxRequestBodyBytes: number;
}

/** A streaming reverse proxy to one upstream. */
export interface UpstreamProxy {
  /**
   * Forwards one exchange and resolves when it is over. Throws only while nothing of an answer has been sent, so that
   * the caller can still answer: `method_not_allowed` (`shown.allow` names the methods), `not_found`, `request_invalid`,
   * `request_too_large`, `request_timeout`, `upstream_timeout`, `upstream_unavailable`, `draining`.
   */
  forward(exchange: Exchange): Promise<ForwardingOutcome>;
  /** Takes nothing new, waits for what is in flight. */
  close(): Promise<void>;
  /** Cuts what is in flight. */
  destroy(): Promise<void>;
}

/** A proxy with its own pool of connections: what one upstream sends can never become another one's answer. */
export function createProxy(options: ProxyOptions): UpstreamProxy {
  const placement = placementOf(options);
  const inFlight = new Set<Promise<ForwardingOutcome>>();
  let closing = false;
  const pool = new Pool(placement.origin, {
    connections: options.connections,
    pipelining: 1,
    allowH2: false,
    connectTimeout: options.headersTimeoutMs,
    // Forwarding watches the time itself: exactly, and including the wait for a connection.
    headersTimeout: 0,
    bodyTimeout: 0,
  });

  return {
    async forward(exchange) {
      if (closing) throw new CoatcheckError('draining');
      const forwarding = start(exchange, { options, placement, pool });
      inFlight.add(forwarding);
      try {
        return await forwarding;
      } finally {
        inFlight.delete(forwarding);
      }
    },
    async close() {
      closing = true;
      await Promise.allSettled(inFlight);
      await pool.close();
    },
    async destroy() {
      closing = true;
      await pool.destroy();
    },
  };
}

interface Upstream {
  readonly options: ProxyOptions;
  readonly placement: Placement;
  readonly pool: Pool;
}

function placementOf({ kind, url, routePrefix, publicUrl }: ProxyOptions): Placement {
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  if (
    !parsed ||
    !/^https?:$/.test(parsed.protocol) ||
    parsed.username ||
    parsed.password ||
    /[?#]/.test(url)
  ) {
    throw new CoatcheckError('config_invalid', {
      detail: 'an upstream url must be http(s), without user, query or fragment',
    });
  }
  const basePath = parsed.pathname.replace(/\/$/, '');
  return { kind, origin: parsed.origin, basePath, routePrefix, publicOrigin: new URL(publicUrl).origin };
}

/** Everything that can be said without the upstream, then the dispatch; a second one with another token, if need be. */
async function start(exchange: Exchange, upstream: Upstream): Promise<ForwardingOutcome> {
  const { request, response } = exchange;
  const { options, placement } = upstream;
  const method = methodOf(request, options.methods);
  const path = upstreamPath(exchange.target, placement);
  const headers = headersOf(exchange, upstream);
  const repeated = repeatedHeader(request.rawHeaders);
  if (repeated)
    throw new CoatcheckError('request_invalid', { detail: `header ${repeated} came more than once` });
  if (response.destroyed || request.socket.destroyed) return { kind: 'client-gone' };
  const body = boundedBody(request, options.maxRequestBodyBytes);
  const { bearer, renewBearer } = exchange;
  const renew = (): Promise<string | undefined> | undefined =>
    bearer !== undefined && (body === undefined || body.copy() !== undefined)
      ? renewBearer?.(bearer)
      : undefined;
  const first = await attempt(exchange, upstream, { method, path, headers, body: body?.stream, renew });
  if (first.kind !== 'renewed') return first;
  const again = { ...exchange, bearer: first.bearer };
  const second = { method, path, headers: headersOf(again, upstream), body: body?.copy() };
  const outcome = await attempt(again, upstream, second);
  if (outcome.kind === 'renewed') throw new CoatcheckError('internal', { detail: 'a third attempt' });
  return outcome;
}

interface Attempt {
  readonly method: Dispatcher.HttpMethod;
  readonly path: string;
  readonly headers: string[];
  readonly body: Transform | Buffer | undefined;
  readonly renew?: () => Promise<string | undefined> | undefined;
}

function attempt(
  exchange: Exchange,
  { options, placement, pool }: Upstream,
  { renew, body, ...request }: Attempt,
): Promise<AttemptOutcome> {
  return new Promise((resolve, reject) => {
    const forwarding = new Forwarding({
      exchange,
      body: Buffer.isBuffer(body) ? undefined : body,
      path: request.path,
      placement,
      secrets: secretsOf(exchange, options),
      headersTimeoutMs: options.headersTimeoutMs,
      bodyTimeoutMs: options.bodyTimeoutMs,
      renewBearer: renew,
      resolve,
      reject,
    });
    pool.dispatch({ ...request, body: body ?? null }, forwarding);
  });
}

function headersOf(exchange: Exchange, { options, placement }: Upstream): string[] {
  return requestHeaders(exchange.request.rawHeaders, {
    kind: options.kind,
    staticHeaders: options.headers,
    ownHeaders: ownHeaders(exchange, options, placement),
  });
}

/** Shorter values of configured headers are names and the like, which answers may well contain. */
const shortestSecret = 16;

function secretsOf({ bearer }: Exchange, { headers }: ProxyOptions): string[] {
  const configured = Object.values(headers).filter((value) => value.length >= shortestSecret);
  return bearer === undefined ? configured : [bearer, ...configured];
}

function methodOf(request: IncomingMessage, methods: readonly string[]): Dispatcher.HttpMethod {
  const method = request.method ?? '';
  if (methods.includes(method)) return method;
  throw new CoatcheckError('method_not_allowed', { shown: { allow: methods.join(', ') } });
}

/** The path at the upstream. Nothing in a request can lead out of the configured one. */
function upstreamPath(target: RequestTarget, { basePath, routePrefix }: Placement): string {
  const below = pathBelow(target.path, routePrefix);
  if (below === undefined) throw new CoatcheckError('not_found');
  const path = basePath + below || '/';
  // Cannot happen as long as targets come from parseRequestTarget; the price of being wrong is a token at the wrong place.
  if (pathBelow(path, basePath) === undefined || /[^\x21-\x7e]/.test(path + target.query)) {
    throw new CoatcheckError('internal', { detail: 'a request was about to leave the path of its upstream' });
  }
  return path + target.query;
}

/**
 * The app is told whose site it is part of and who asks, to build links and logs. APIs are not: they are called by the
 * gateway, and the address of a person's desk is not theirs to know.
 */
function ownHeaders(exchange: Exchange, options: ProxyOptions, placement: Placement): Record<string, string> {
  const { bearer, request } = exchange;
  const headers: Record<string, string> = { ...exchange.requestHeaders };
  if (options.kind === 'app') {
    if (bearer !== undefined)
      throw new CoatcheckError('internal', { detail: 'a token was about to reach the app' });
    const publicUrl = new URL(placement.publicOrigin);
    headers['x-forwarded-proto'] = publicUrl.protocol.slice(0, -1);
    headers['x-forwarded-host'] = publicUrl.host;
    headers['x-forwarded-for'] = request.socket.remoteAddress ?? 'unknown';
  }
  if (bearer !== undefined) {
    if (!/^[\x21-\x7e]+$/.test(bearer)) {
      throw new CoatcheckError('internal', { detail: 'an access token does not fit into a header' });
    }
    headers.authorization = `Bearer ${bearer}`;
  }
  return headers;
}
