import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { exchangeBytes, type FakeUpstream, startFakeUpstream } from '../../test/fake-upstream.ts';
import { type ProxyFront, startProxyFront } from '../../test/proxy-front.ts';
import { requestHeaders, responseHeaders, rewriteLocation } from './forwarded-headers.ts';

const token = 'token-of-ada';
const ticket = '__Host-coatcheck=v1.secret-ticket';

let upstream: FakeUpstream;
let api: ProxyFront;
let app: ProxyFront;
beforeEach(async () => {
  upstream = await startFakeUpstream('/facade');
  api = await startProxyFront({
    url: upstream.url,
    headers: { client_id: 'gateway', client_secret: 'gateway-secret' },
    personal: () => ({ bearer: token }),
  });
  app = await startProxyFront({
    url: new URL(upstream.url).origin,
    kind: 'app',
    routePrefix: '',
    personal: (path) => ({ personal: path !== '/public', requestHeaders: { 'x-coatcheck-subject': 'ada' } }),
  });
});
afterEach(async () => {
  await Promise.all([api.close(), app.close()]);
  await upstream.close();
});

function ask(front: ProxyFront, target: string, headers: readonly string[] = []): Promise<string> {
  const head = [`GET ${target} HTTP/1.1`, 'Host: evil.example', ...headers];
  if (!headers.some((header) => /^connection:/i.test(header))) head.push('Connection: close');
  return exchangeBytes(front.port, Buffer.from(`${head.join('\r\n')}\r\n\r\n`, 'latin1'));
}

/** Headers by which a client might pass for somebody else, in every spelling. */
const trusted: readonly string[] = [
  'Authorization',
  'Forwarded',
  'X-Forwarded-For',
  'X-Forwarded-Host',
  'X-Forwarded-Proto',
  'X-Forwarded-Uri',
  'X-Forwarded-User',
  'X-Real-IP',
  'X-User-Id',
  'X-Auth-Request-User',
  'X-Authenticated-User',
  'X-Coatcheck-Subject',
  'X-Coatcheck-Claim-Email',
  'X-Original-URL',
  'X-Rewrite-URL',
  'X-Remote-User',
  'Remote-User',
  'X-HTTP-Method-Override',
  'Proxy-Authorization',
  'DPoP',
  'Client-Id',
  'Client-Secret',
  'Client-Cert',
  'X-Amzn-Oidc-Data',
];

describe('requests', () => {
  test('S-105 identity and trust headers of a client never reach an upstream, in any case or spelling', async () => {
    const spellings = trusted.flatMap((name) => [
      name,
      name.toLowerCase(),
      name.toUpperCase(),
      name.replaceAll('-', '_'),
      name.replace('-', '_'),
      name.replaceAll('-', '.'),
    ]);
    const headers = spellings.map((name) => `${name}: forged`);
    await ask(api, '/api/eln/x', headers);
    await ask(app, '/x', headers);
    await ask(app, '/public', headers);
    expect(upstream.seen).toHaveLength(3);
    for (const { rawHeaders } of upstream.seen) expect(rawHeaders).not.toContain('forged');
    expect(upstream.seen[0]?.headers.authorization).toBe(`Bearer ${token}`);
    expect(upstream.seen[0]?.headers.client_id).toBe('gateway');
    expect(upstream.seen[1]?.headers['x-coatcheck-subject']).toBe('ada');
  });

  test('S-106 a client cannot strip what the gateway adds by listing it in Connection', async () => {
    const connection =
      'Connection: close, authorization, client_id, x-coatcheck-subject, x-forwarded-host, x-mine';
    await ask(api, '/api/eln/x', [connection, 'X-Mine: 1', 'Accept: text/plain']);
    await ask(app, '/x', [connection]);
    const [toApi, toApp] = upstream.seen;
    expect(toApi?.headers).toMatchObject({
      authorization: `Bearer ${token}`,
      client_id: 'gateway',
      accept: 'text/plain',
    });
    expect(toApi?.headers['x-mine']).toBeUndefined();
    expect(toApp?.headers).toMatchObject({
      'x-coatcheck-subject': 'ada',
      'x-forwarded-host': 'apps.example.com',
    });
  });

  test('S-107 hop-by-hop headers end at the gateway', async () => {
    const hops = [
      'TE: trailers',
      'Trailer: x',
      'Upgrade: h2c',
      'HTTP2-Settings: AAA',
      'Keep-Alive: timeout=9',
      'Proxy-Connection: x',
    ];
    await ask(api, '/api/eln/x', [...hops, 'Connection: close, X-Hop', 'X-Hop: 1']);
    const names = upstream.seen[0]?.rawHeaders
      .filter((_, index) => index % 2 === 0)
      .map((name) => name.toLowerCase());
    expect(names?.sort()).toEqual(['authorization', 'client_id', 'client_secret', 'connection', 'host']);
    expect(upstream.seen[0]?.headers.connection).toBe('keep-alive');
  });

  test('S-108 an API gets no cookie, the app none of the gateway', async () => {
    const cookies = [
      `Cookie: theme=dark; ${ticket}; a=b`,
      'Cookie: __host-COATCHECK-login=x;__Host-coatcheck2=y ; =__Host-coatcheck=z; bare; lang=en',
    ];
    await ask(api, '/api/eln/x', cookies);
    await ask(app, '/x', cookies);
    expect(upstream.seen[0]?.headers.cookie).toBeUndefined();
    expect(upstream.seen[1]?.headers.cookie).toBe('theme=dark; a=b; lang=en');
    expect(JSON.stringify(upstream.seen)).not.toMatch(/coatcheck=|secret-ticket/i);
  });

  test('S-115 the public URL of the configuration tells the app its host and scheme, not the client', async () => {
    await ask(app, '/x', [
      'X-Forwarded-Host: evil.example',
      'X-Forwarded-Proto: http',
      'X-Forwarded-For: 1.2.3.4',
    ]);
    expect(upstream.seen[0]?.headers).toMatchObject({
      'x-forwarded-host': 'apps.example.com',
      'x-forwarded-proto': 'https',
      'x-forwarded-for': '127.0.0.1',
    });
  });

  test('an API is not told about the page or the person’s address', async () => {
    await ask(api, '/api/eln/x', [
      'Origin: https://apps.example.com',
      'Referer: https://x/',
      'Sec-Fetch-Site: same-origin',
    ]);
    expect(JSON.stringify(upstream.seen[0]?.rawHeaders)).not.toMatch(/origin|referer|sec-|forwarded/i);
  });

  test('S-112 headers with one meaning may come once', async () => {
    const answer = await ask(api, '/api/eln/x', ['Content-Type: text/plain', 'Content-Type: text/html']);
    expect(answer).toMatch(/^HTTP\/1\.1 400 .*request_invalid/s);
    expect(await ask(api, '/api/eln/x', ['Host: other.example'])).toMatch(/^HTTP\/1\.1 400 /);
    expect(upstream.seen).toEqual([]);
  });

  test('S-112 request id and trace context pass only in their own form', () => {
    const rules = { kind: 'api', staticHeaders: {}, ownHeaders: {} } as const;
    const good = ['x-request-id', 'r-1', 'traceparent', `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`];
    expect(requestHeaders(good, rules)).toEqual(good);
    expect(requestHeaders(['x-request-id', 'a b', 'traceparent', 'x'], rules)).toEqual([]);
  });

  test('S-112 a value that does not fit into a header is a fault, not a header', async () => {
    const front = await startProxyFront({
      url: upstream.url,
      personal: () => ({ bearer: 'a\r\nx-evil: 1' }),
    });
    expect(await ask(front, '/api/eln/x')).toMatch(/^HTTP\/1\.1 500 .*internal/s);
    await front.close();
    expect(upstream.seen).toEqual([]);
  });

  test('S-059 the app never gets a token, even by mistake', async () => {
    const front = await startProxyFront({
      url: upstream.url,
      kind: 'app',
      routePrefix: '',
      personal: () => ({ bearer: token }),
    });
    expect(await ask(front, '/x')).toMatch(/^HTTP\/1\.1 500 /);
    await front.close();
    expect(upstream.seen).toEqual([]);
  });
});

describe('answers', () => {
  const headOf = (answer: string): string => answer.slice(0, answer.indexOf('\r\n\r\n')).toLowerCase();

  test('S-107 S-108 what is for one connection or the whole origin does not pass', async () => {
    upstream.answer = (_request, response) => {
      response.writeHead(200, [
        ...['Connection', 'keep-alive, X-Internal', 'X-Internal', 'secret', 'Keep-Alive', 'timeout=1'],
        ...['Set-Cookie', '__Host-coatcheck=evil', 'Set-Cookie', 'a=b', 'Server', 'x/1', 'X-Powered-By', 'y'],
        ...[
          'Clear-Site-Data',
          '"*"',
          'Access-Control-Allow-Origin',
          '*',
          'Alt-Svc',
          'h3=":443"',
          'Trailer',
          'x',
        ],
        ...['Strict-Transport-Security', 'max-age=0', 'X-Accel-Redirect', '/etc', 'Coatcheck-Replica', 'x'],
        ...[
          'WWW-Authenticate',
          'Basic',
          'Proxy-Authenticate',
          'Basic',
          'ETag',
          '"1"',
          'Content-Type',
          'text/html',
        ],
      ]);
      response.end('ok');
    };
    for (const answer of [await ask(api, '/api/eln/x'), await ask(app, '/x')]) {
      expect(headOf(answer)).toContain('etag: "1"');
      expect(headOf(answer)).not.toMatch(
        /x-internal|set-cookie|server:|powered|clear-site|access-control|alt-svc|trailer|strict-|accel|replica|authenticate/,
      );
    }
  });

  test('S-093 no cache keeps what is for one person, whatever the upstream says', async () => {
    upstream.answer = (_request, response) => {
      response.setHeader('Cache-Control', 'public, s-maxage=900');
      response.setHeader('Expires', 'Thu, 01 Jan 2099 00:00:00 GMT');
      response.setHeader('Pragma', 'cache');
      response.setHeader('Surrogate-Control', 'max-age=900');
      response.setHeader('CDN-Cache-Control', 'max-age=900');
      response.end('ok');
    };
    for (const answer of [await ask(api, '/api/eln/x'), await ask(app, '/x')]) {
      expect(
        headOf(answer).match(/^[a-z-]*(?:cache-control|expires|pragma|surrogate-control):.*$/gm),
      ).toEqual(['cache-control: no-store']);
    }
    expect(headOf(await ask(app, '/public'))).toContain('cache-control: public, s-maxage=900');
  });

  test('what an API answers is never a page of ours', async () => {
    upstream.answer = (_request, response) => {
      response.setHeader('Content-Security-Policy', 'default-src *');
      response.setHeader('Refresh', '0;url=https://evil.example');
      response.end('<script>');
    };
    const head = headOf(await ask(api, '/api/eln/x'));
    expect(head).toContain("content-security-policy: default-src 'none'; frame-ancestors 'none'; sandbox");
    expect(head).toContain('x-content-type-options: nosniff');
    expect(head).toContain('cross-origin-resource-policy: same-origin');
    expect(head).toContain('referrer-policy: no-referrer');
    expect(head).not.toMatch(/refresh|default-src \*/);
  });

  test('S-059 a header that repeats the token is dropped', async () => {
    upstream.answer = (request, response) => {
      response.setHeader('X-Echo', request.headers.authorization ?? '');
      response.setHeader('X-Kept', 'yes');
      response.end();
    };
    const head = headOf(await ask(api, '/api/eln/x'));
    expect(head).toContain('x-kept: yes');
    expect(head).not.toContain(token);
  });

  test('S-110 a redirect is not followed, and an API’s leads nowhere else', async () => {
    const evil = await startFakeUpstream();
    for (const [location, seen] of [
      [`${evil.url}/x`, undefined],
      ['//evil.example/x', undefined],
      ['/elsewhere', undefined],
      ['/facade/../x', undefined],
      ['javascript:alert(1)', undefined],
      ['/facade//evil.example', undefined],
      ['/facade/y?z=1', '/api/eln/y?z=1'],
      ['y', '/api/eln/y'],
      [`${upstream.url}/y`, '/api/eln/y'],
    ] as const) {
      upstream.answer = (_request, response) => response.writeHead(307, { location }).end();
      const answer = headOf(await ask(api, '/api/eln/x'));
      expect(answer).toMatch(/^http\/1\.1 307 /);
      expect(answer.match(/^location: (.*)$/m)?.[1], location).toBe(seen);
    }
    expect(evil.seen).toEqual([]);
    await evil.close();
  });

  test('S-110 the app may redirect within the public site and elsewhere, but not by tricks', () => {
    const placement = {
      kind: 'app',
      origin: 'http://127.0.0.1:3000',
      basePath: '',
      routePrefix: '',
      publicOrigin: 'https://apps.example.com',
    } as const;
    const rewrite = (value: string): string | undefined => rewriteLocation(value, '/a/b?c', placement);
    expect(rewrite('d?e#f')).toBe('/a/d?e#f');
    expect(rewrite('https://apps.example.com/x')).toBe('/x');
    expect(rewrite('http://127.0.0.1:3000')).toBe('/');
    expect(rewrite('https://notebook.example/x')).toBe('https://notebook.example/x');
    expect(rewrite('http://127.0.0.1:3000//evil.example')).toBeUndefined();
    expect(rewrite('javascript:alert(1)')).toBeUndefined();
    expect(rewrite('data:text/html,x')).toBeUndefined();
  });

  test('S-118 a header that cannot be sent is left out', () => {
    const rules = {
      kind: 'app',
      personal: false,
      secrets: [],
      location: () => undefined,
      ownHeaders: {},
    } as const;
    const answer = JSON.parse('{"__proto__":"x","a":"b\\u0001c","d":"\\u20ac","e f":"g","ok":["1","2"]}');
    expect(responseHeaders(answer, rules)).toEqual(['__proto__', 'x', 'ok', '1', 'ok', '2']);
  });
});
