import type { IncomingHttpHeaders } from 'node:http';
import { Agent, type Dispatcher, request as send } from 'undici';

/** What a person got back. */
export interface Answer {
  readonly url: string;
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
  /** The body as JSON; throws where it is none. */
  json<T = unknown>(): T;
}

/** Options of one request. */
export interface RequestOptions {
  /** Win over what the browser would send; `null` leaves a header out. Names in lower case. */
  readonly headers?: Readonly<Record<string, string | null>>;
  readonly body?: string | Buffer;
  /** What the request is made by: a script of the same origin, or the address bar. Default `fetch`. */
  readonly kind?: 'fetch' | 'navigation';
}

/** Options of a {@link Person}. */
export interface PersonOptions {
  /** Signs in at the simulators as this person. Default `ada`. */
  readonly username?: string;
  /** Connections to use. Default: one agent shared by all people. */
  readonly agent?: Dispatcher;
  /** Whether `Sec-Fetch-*` is sent, as all current browsers do. Default true. */
  readonly fetchMetadata?: boolean;
}

const redirectLimit = 20;
const redirectStatuses: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);
const sharedAgent = new Agent();

/** One person with one browser: cookies, redirects and fetch metadata like a browser's, but no page and no script. */
export class Person {
  readonly username: string;
  readonly #agent: Dispatcher;
  readonly #fetchMetadata: boolean;
  readonly #jar = new CookieJar();

  constructor(options: PersonOptions = {}) {
    this.username = options.username ?? 'ada';
    this.#agent = options.agent ?? sharedAgent;
    this.#fetchMetadata = options.fetchMetadata ?? true;
  }

  /** `GET`; redirects are not followed. */
  get(url: string, options: RequestOptions = {}): Promise<Answer> {
    return this.request('GET', url, options);
  }

  /** One request; redirects are not followed. */
  request(method: string, url: string, options: RequestOptions = {}): Promise<Answer> {
    const { headers = {}, body, kind = 'fetch' } = options;
    const target = new URL(url);
    const site = kind === 'navigation' ? 'none' : 'same-origin';
    const origin = site === 'none' || isSafe(method) ? {} : { origin: target.origin };
    return this.#send({ method, url: target, kind, site, headers: { ...origin, ...headers }, body });
  }

  /** Opens an address: follows up to 20 redirects across origins, and signs in where a simulator asks who it is. */
  async follow(url: string): Promise<Answer> {
    let next: Outgoing = { method: 'GET', url: new URL(url), kind: 'navigation', site: 'none', headers: {} };
    let initiator: URL | undefined;
    for (let count = 0; count <= redirectLimit; count += 1) {
      const answer = await this.#send(next);
      const { location } = answer.headers;
      if (redirectStatuses.has(answer.status) && location !== undefined) {
        next = redirected(next, { status: answer.status, location, initiator });
      } else if (isSignInPage(answer)) {
        initiator = next.url;
        next = submitted(next.url, `person=${encodeURIComponent(this.username)}`);
      } else {
        return answer;
      }
    }
    throw new Error(`more than ${redirectLimit} redirects`);
  }

  /** Signs in at a gateway and ends up at `returnTo`. */
  signIn(publicUrl: string, returnTo = '/'): Promise<Answer> {
    return this.follow(`${publicUrl}/auth/login?return_to=${encodeURIComponent(returnTo)}`);
  }

  /** Live cookies of a host (without port): name → value. */
  cookies(host: string): Map<string, string> {
    return this.#jar.of(host);
  }

  async #send(outgoing: Outgoing): Promise<Answer> {
    const { method, url, body } = outgoing;
    const headers: Record<string, string | null> = {
      accept: outgoing.kind === 'navigation' ? 'text/html,*/*;q=0.8' : '*/*',
      cookie: this.#jar.header(url) || null,
      ...(this.#fetchMetadata ? metadata(outgoing) : {}),
      ...outgoing.headers,
    };
    const answer = await send(url, {
      dispatcher: this.#agent,
      method: method as Dispatcher.HttpMethod,
      headers: Object.fromEntries(
        Object.entries(headers).flatMap(([name, value]) => (value === null ? [] : [[name, value]])),
      ),
      body: body ?? null,
    });
    const setCookies = answer.headers['set-cookie'] ?? [];
    for (const line of [setCookies].flat()) this.#jar.set(url, line);
    const text = await answer.body.text();
    return {
      url: url.href,
      status: answer.statusCode,
      headers: answer.headers,
      body: text,
      json: <T>() => JSON.parse(text) as T,
    };
  }
}

type Site = 'none' | 'same-origin' | 'same-site' | 'cross-site';

interface Outgoing {
  readonly method: string;
  readonly url: URL;
  readonly kind: 'fetch' | 'navigation';
  readonly site: Site;
  readonly headers: Readonly<Record<string, string | null>>;
  readonly body?: string | Buffer | undefined;
}

const isSafe = (method: string): boolean => method === 'GET' || method === 'HEAD';

function metadata({ kind, site }: Outgoing): Record<string, string> {
  return kind === 'navigation'
    ? {
        'sec-fetch-dest': 'document',
        'sec-fetch-mode': 'navigate',
        'sec-fetch-site': site,
        'sec-fetch-user': '?1',
      }
    : { 'sec-fetch-dest': 'empty', 'sec-fetch-mode': 'cors', 'sec-fetch-site': site };
}

interface Redirect {
  readonly status: number;
  readonly location: string;
  /** The page whose form began the chain; none when it was the address bar. */
  readonly initiator: URL | undefined;
}

function redirected(from: Outgoing, { status, location, initiator }: Redirect): Outgoing {
  const url = new URL(location, from.url);
  const site = initiator ? fartherSite(from.site, siteOf(initiator, url)) : 'none';
  const keepsMethod = status === 307 || status === 308 || isSafe(from.method);
  if (keepsMethod) return { ...from, url, site };
  return { method: 'GET', url, kind: from.kind, site, headers: {} };
}

function submitted(page: URL, body: string): Outgoing {
  const headers = { 'content-type': 'application/x-www-form-urlencoded', origin: page.origin };
  return { method: 'POST', url: page, kind: 'navigation', site: 'same-origin', headers, body };
}

const siteOrder: readonly Site[] = ['none', 'same-origin', 'same-site', 'cross-site'];

/** Fetch metadata remember the farthest of a redirect chain. */
const fartherSite = (a: Site, b: Site): Site => (siteOrder.indexOf(a) > siteOrder.indexOf(b) ? a : b);

/** A site is scheme and host here: public suffixes play no part on loopback. */
function siteOf(initiator: URL, url: URL): Site {
  if (initiator.origin === url.origin) return 'same-origin';
  return initiator.protocol === url.protocol && initiator.hostname === url.hostname
    ? 'same-site'
    : 'cross-site';
}

const isSignInPage = (answer: Answer): boolean =>
  answer.status === 200 &&
  answer.body.includes('<form method="post">') &&
  answer.body.includes('name="person"');

interface Cookie {
  readonly name: string;
  readonly value: string;
  readonly path: string;
  readonly secure: boolean;
  readonly expiresAtMs: number;
}

const cookieBytesLimit = 4096;
const loopback = /^(127\.\d+\.\d+\.\d+|\[::1\]|localhost|.+\.localhost)$/;

/** Cookies by host, without port (RFC 6265bis §5). SameSite plays no part; cookies for a parent domain are refused. */
class CookieJar {
  readonly #hosts = new Map<string, Map<string, Cookie>>();

  set(url: URL, line: string): void {
    const cookie = parseCookie(url, line);
    if (!cookie) return;
    const cookies = this.#hosts.get(url.hostname) ?? new Map<string, Cookie>();
    this.#hosts.set(url.hostname, cookies);
    const key = `${cookie.path};${cookie.name}`;
    if (cookie.expiresAtMs <= Date.now()) cookies.delete(key);
    else cookies.set(key, cookie);
  }

  /** Value of the `Cookie` header: the longest path first, then the oldest. Empty where there is no cookie. */
  header(url: URL): string {
    return this.#live(url.hostname)
      .filter((cookie) => pathMatches(url.pathname, cookie.path) && (!cookie.secure || isTrustworthy(url)))
      .sort((a, b) => b.path.length - a.path.length)
      .map((cookie) => `${cookie.name}=${cookie.value}`)
      .join('; ');
  }

  of(host: string): Map<string, string> {
    return new Map(this.#live(host).map((cookie) => [cookie.name, cookie.value]));
  }

  #live(host: string): Cookie[] {
    const now = Date.now();
    return [...(this.#hosts.get(host)?.values() ?? [])].filter((cookie) => cookie.expiresAtMs > now);
  }
}

/** The cookie of a `Set-Cookie` line, or nothing where a browser would refuse it. */
function parseCookie(url: URL, line: string): Cookie | undefined {
  const [pair = '', ...rest] = line.split(';').map((part) => part.trim());
  const separator = pair.indexOf('=');
  const name = pair.slice(0, Math.max(separator, 0)).trim();
  const value = pair.slice(separator + 1).trim();
  const attributes = new Map(
    rest.map((part) => {
      const at = part.indexOf('=');
      return at < 0
        ? [part.toLowerCase(), '']
        : [part.slice(0, at).toLowerCase().trim(), part.slice(at + 1).trim()];
    }),
  );
  const secure = attributes.has('secure');
  const domain = attributes.get('domain')?.toLowerCase().replace(/^\./, '') ?? '';
  const givenPath = attributes.get('path') ?? '';
  if (name === '' || Buffer.byteLength(name + value) > cookieBytesLimit) return undefined;
  if (secure && !isTrustworthy(url)) return undefined;
  if (domain !== '' && domain !== url.hostname) return undefined;
  if (/^__(secure|host)-/i.test(name) && !secure) return undefined;
  if (/^__host-/i.test(name) && (domain !== '' || givenPath !== '/')) return undefined;
  const path = givenPath.startsWith('/') ? givenPath : defaultPath(url.pathname);
  return { name, value, path, secure, expiresAtMs: expiry(attributes) };
}

function expiry(attributes: ReadonlyMap<string, string>): number {
  const maxAge = attributes.get('max-age');
  if (maxAge !== undefined && /^-?\d+$/.test(maxAge)) return Date.now() + Number(maxAge) * 1000;
  const expiresAtMs = Date.parse(attributes.get('expires') ?? '');
  return Number.isNaN(expiresAtMs) ? Number.POSITIVE_INFINITY : expiresAtMs;
}

const defaultPath = (pathname: string): string => pathname.slice(0, Math.max(pathname.lastIndexOf('/'), 1));

const pathMatches = (pathname: string, path: string): boolean =>
  pathname === path || (pathname.startsWith(path) && (path.endsWith('/') || pathname[path.length] === '/'));

const isTrustworthy = (url: URL): boolean => url.protocol === 'https:' || loopback.test(url.hostname);
