import { parseRequestTarget, pathBelow } from './request-path.ts';

/**
 * Headers are rebuilt on both ways: what only concerns one connection, what claims to come from the gateway and what
 * would speak for another origin is left out; the gateway's own come last, so nothing a peer sends can remove them.
 */

/** What stands behind a proxy: an API that gets a person's token, or the app that gets claims and never a token. */
export type UpstreamKind = 'api' | 'app';

/** What the gateway adds to one request. */
export interface RequestHeaderRules {
  readonly kind: UpstreamKind;
  /** Configured for this upstream, e.g. `client_id`. Sent on every request; a client's of the same name are dropped. */
  readonly staticHeaders: Readonly<Record<string, string>>;
  /** Added for this one request, e.g. `authorization`. */
  readonly ownHeaders: Readonly<Record<string, string>>;
}

/** Concern one connection only (RFC 9110 §7.6.1), beside whatever `Connection` lists. */
const hopByHop: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'http2-settings',
]);

/** Never taken from a client: the gateway or the HTTP library sets them, or they would widen what the route allows. */
const untrusted: ReadonlySet<string> = new Set([
  'host',
  'expect',
  'cookie',
  'cookie2',
  'authorization',
  'dpop',
  'client-id',
  'client-secret',
  'client-cert',
  'client-cert-chain',
  'client-ip',
  'true-client-ip',
  'forwarded',
  'from',
  'max-forwards',
  'via',
  'x-client-ip',
  'x-cluster-client-ip',
  'x-host',
  'x-http-method',
  'x-http-method-override',
  'x-method-override',
  'x-originating-ip',
]);

const untrustedPrefix =
  /^(?:(?:proxy|remote|ssl|cf)-|x-(?:forwarded|real-|user|auth|webauth|coatcheck|original|rewrite|remote|client-cert|ssl|amzn|envoy|goog-|ms-client))/;

/** About the browser and the page it shows: for the app, not for an API, which might take them for a foreign site's. */
const ofThePage = /^(?:origin|referer|upgrade-insecure-requests|baggage)$|^sec-/;

/** Headers with one meaning each; two of them are two meanings. */
const single: readonly string[] = ['host', 'content-type', 'content-length', 'origin'];

const wellFormed: ReadonlyMap<string, RegExp> = new Map([
  ['x-request-id', /^[A-Za-z0-9._-]{1,128}$/],
  ['traceparent', /^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/],
  ['tracestate', /^[\x20-\x7e]{1,512}$/],
]);

/**
 * Servers behind us map `-`, `_` and other characters onto each other (CGI), so names are compared in this form, and a
 * client's name in any other spelling than its plain one is not passed on at all.
 */
function plainName(name: string): string {
  return name.toLowerCase().replace(/[^a-z0-9]/g, '-');
}

/** The name of a header that a client sent twice although it may come once only; undefined if there is none. */
export function repeatedHeader(rawHeaders: readonly string[]): string | undefined {
  const seen = new Set<string>();
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index]?.toLowerCase() ?? '';
    if (!single.includes(name)) continue;
    if (seen.has(name)) return name;
    seen.add(name);
  }
  return undefined;
}

/**
 * The header list for an upstream, as alternating names and values, from a client's raw list (`IncomingMessage.rawHeaders`).
 * `Content-Length` passes as it is; the HTTP library holds the body to it.
 */
export function requestHeaders(rawHeaders: readonly string[], rules: RequestHeaderRules): string[] {
  const own = new Map<string, string>();
  for (const [name, value] of Object.entries(rules.staticHeaders)) own.set(name.toLowerCase(), value);
  for (const [name, value] of Object.entries(rules.ownHeaders)) own.set(name.toLowerCase(), value);
  const reserved = new Set([...own.keys()].map(plainName));
  const listed = connectionListed(valuesOf(rawHeaders, 'connection'));
  const headers: string[] = [];
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index]?.toLowerCase() ?? '';
    const value = rawHeaders[index + 1] ?? '';
    if (name === 'cookie' && rules.kind === 'app') {
      const cookies = foreignCookies(value);
      if (cookies !== '') headers.push(name, cookies);
    }
    if (name !== plainName(name) || reserved.has(name) || hopByHop.has(name) || listed.has(name)) continue;
    if (untrusted.has(name) || untrustedPrefix.test(name)) continue;
    if (rules.kind === 'api' && ofThePage.test(name)) continue;
    if (wellFormed.get(name)?.test(value) === false) continue;
    headers.push(name, value);
  }
  for (const [name, value] of own) headers.push(name, value);
  return headers;
}

/**
 * What `Connection` lists. `content-length` stays even so: without it a body would be framed in another way than it was
 * announced.
 */
function connectionListed(values: readonly string[]): ReadonlySet<string> {
  const names = values.flatMap((value) => value.split(',')).map((name) => name.trim().toLowerCase());
  return new Set(names.filter((name) => name !== 'content-length'));
}

function valuesOf(rawHeaders: readonly string[], wanted: string): string[] {
  return rawHeaders.filter((_, index) => index % 2 === 1 && rawHeaders[index - 1]?.toLowerCase() === wanted);
}

/** The cookies that are not the gateway's. What is not plainly `name=value` (RFC 6265 §4.2.1) is left out. */
function foreignCookies(header: string): string {
  return header
    .split(';')
    .map((pair) => pair.trim())
    .filter((pair) => /^[!#$%&'*+.^_`|~0-9A-Za-z-]+=/.test(pair) && !/^__host-coatcheck/i.test(pair))
    .join('; ');
}

/** How an answer is turned into ours. */
export interface ResponseHeaderRules {
  readonly kind: UpstreamKind;
  /** Whether the answer is for this person alone; then no cache keeps it. */
  readonly personal: boolean;
  /** What the request carried of secrets: a header that repeats one is dropped. */
  readonly secrets: readonly string[];
  /** The value of `Location`, or undefined if it must not pass; see {@link rewriteLocation}. */
  readonly location: (value: string) => string | undefined;
  /** Added last; replace what the upstream sent. */
  readonly ownHeaders: Readonly<Record<string, string>>;
}

/** Speak for the whole origin, for a front proxy or for the gateway, so an upstream has no say in them. */
const neverAnswered =
  /^(?:set-cookie2?|server|via|x-powered-by|x-aspnet.*|clear-site-data|strict-transport-security|public-key-pins.*|access-control-.*|timing-allow-origin|alt-svc|alt-used|nel|report-to|www-authenticate|authentication-info|proxy-.*|x-accel-.*|x-sendfile|x-lighttpd-send-file|x-reproxy-url|service-worker-allowed|(?:x-)?coatcheck.*)$/;

/** Tell caches to keep what is for one person. */
const cacheDirectives = /^(?:cache-control|expires|pragma|age|surrogate-control|(?:.*-)?cdn-cache-control)$/;

/** Make a browser act on what an API answers as if it were one of our pages. */
const pageDirectives = /^(?:refresh|link|content-location|reporting-endpoints|sourcemap|x-sourcemap)$/;

/** Whatever an API answers, it is never a page of ours (RFC 9110 §15, Fetch: nosniff, CORP; CSP 3). */
const apiAnswer: Readonly<Record<string, string>> = {
  'x-content-type-options': 'nosniff',
  'cross-origin-resource-policy': 'same-origin',
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'; sandbox",
  'referrer-policy': 'no-referrer',
};

/** The header list for the client, from an upstream's answer (lower-case names, as the HTTP library gives them). */
export function responseHeaders(
  answer: Readonly<Record<string, string | string[] | undefined>>,
  rules: ResponseHeaderRules,
): string[] {
  const own: Record<string, string> = {
    ...(rules.personal ? { 'cache-control': 'no-store' } : {}),
    ...(rules.kind === 'api' ? apiAnswer : {}),
  };
  for (const [name, value] of Object.entries(rules.ownHeaders)) own[name.toLowerCase()] = value;
  const listed = connectionListed([answer.connection ?? []].flat());
  const headers: string[] = [];
  for (const [name, values] of Object.entries(answer)) {
    if (values === undefined || Object.hasOwn(own, name) || hopByHop.has(name) || listed.has(name)) continue;
    if (neverAnswered.test(name) || (rules.personal && cacheDirectives.test(name))) continue;
    if (rules.kind === 'api' && pageDirectives.test(name)) continue;
    for (const value of [values].flat()) {
      const passed = name === 'location' ? rules.location(value) : value;
      if (passed === undefined || !sendable(name, passed)) continue;
      if (!rules.secrets.some((secret) => passed.includes(secret))) headers.push(name, passed);
    }
  }
  for (const [name, value] of Object.entries(own)) headers.push(name, value);
  return headers;
}

/** An upstream's header that Node would refuse to send must not become a fault of ours. */
function sendable(name: string, value: string): boolean {
  return /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(name) && /^[\t\x20-\x7e\x80-\xff]*$/.test(value);
}

/** Where an upstream lives and where the gateway shows it. */
export interface Placement {
  readonly kind: UpstreamKind;
  /** Configured origin of the upstream. */
  readonly origin: string;
  /** Configured path of the upstream, without a slash at its end; may be empty. */
  readonly basePath: string;
  /** Where the gateway shows it: `/api/eln`, or empty for the app. */
  readonly routePrefix: string;
  /** Origin of the gateway. */
  readonly publicOrigin: string;
}

/**
 * The `Location` of an answer as the browser must see it. Inside the upstream's origin and path it becomes a path of
 * the gateway; an API's may not lead anywhere else. The app is a site of its own, so it may also send people
 * elsewhere (the notebook, for example), by an absolute http(s) URL.
 *
 * @param requested the path at the upstream that was asked for, against which a relative value is resolved
 */
export function rewriteLocation(value: string, requested: string, placement: Placement): string | undefined {
  const base = placement.origin + requested;
  if (!URL.canParse(value, base)) return undefined;
  const url = new URL(value, base);
  const isApp = placement.kind === 'app';
  const isOurs = isApp && url.origin === placement.publicOrigin;
  if (!isOurs && url.origin !== placement.origin) {
    return isApp && /^https?:$/.test(url.protocol) ? url.href : undefined;
  }
  const below = isOurs ? url.pathname : pathBelow(url.pathname, placement.basePath);
  if (below === undefined) return undefined;
  const path = (isOurs ? '' : placement.routePrefix) + below || '/';
  return parseRequestTarget(path + url.search).kind === 'ok' ? path + url.search + url.hash : undefined;
}
