import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';
import { request } from 'undici';
import { expect, test } from 'vitest';
import { startFakeUpstream } from '../fake-upstream.ts';
import { type Answer, Person } from '../person.ts';
import { startWorld } from '../world.ts';

test("S-093 a caching proxy in front never hands Alice's answer to Bob", async () => {
  const app = await startFakeUpstream();
  const world = await startWorld({
    config: (input) => ({
      ...input,
      app: { url: app.url, public: ['/assets/*'] },
      upstreams: { ...(input.upstreams as object), mirror: { url: app.url, provider: 'identity' } },
    }),
  });
  app.answer = (seen, response) => {
    seen.resume();
    response.setHeader('cache-control', 'public, max-age=600, s-maxage=600');
    response.setHeader('cdn-cache-control', 'max-age=600');
    response.setHeader('expires', new Date(Date.now() + 600_000).toUTCString());
    response.end(`for ${seen.headers['x-coatcheck-subject'] ?? 'anyone'}`);
  };
  const cache = await startCachingProxy(world.gateway.address);
  const ada = await world.signIn('ada');
  const bob = await world.signIn('lise');
  const through = (person: Person | undefined, path: string): Promise<Answer> => {
    const jar = person?.cookies('localhost').get('__Host-coatcheck');
    return new Person().get(cache.url + path, {
      headers: { cookie: jar ? `__Host-coatcheck=${jar}` : null },
    });
  };
  for (const path of [
    '/page',
    '/auth/session',
    '/auth/verify',
    '/api/mirror/me',
    '/api/systems/employees/me',
    '/nothing',
  ]) {
    const [alices, bobs, strangers] = [
      await through(ada, path),
      await through(bob, path),
      await through(undefined, path),
    ];
    expect([alices.headers['x-cache'], bobs.headers['x-cache']], path).toEqual(['miss', 'miss']);
    expect(strangers.status).toBe(401);
    for (const { headers } of [alices, bobs, strangers]) {
      expect(headers['cache-control']).toBe('no-store');
      expect(Object.keys(headers).filter((name) => /^(expires|.*cdn-cache-control)$/.test(name))).toEqual([]);
    }
  }
  // The proxy does cache: a public path of the app, which is the same for everybody.
  expect((await through(ada, '/assets/a.js')).headers['x-cache']).toBe('miss');
  const asset = await through(bob, '/assets/a.js');
  expect([asset.headers['x-cache'], asset.body]).toEqual(['hit', 'for anyone']);
  expect(asset.headers).not.toHaveProperty('set-cookie');
  await cache.close();
  await world.close();
  await app.close();
});

/** As a shared cache may (RFC 9111 §3): keeps an answer for its URL where `s-maxage` allows and nothing forbids it. */
async function startCachingProxy(origin: string): Promise<{ url: string; close(): Promise<void> }> {
  const kept = new Map<string, { headers: IncomingHttpHeaders; status: number; body: string }>();
  const server = createServer(async (incoming, response) => {
    const url = incoming.url ?? '/';
    const hit = kept.get(url);
    const { host: _host, connection: _connection, ...headers } = incoming.headers;
    const fetched = hit ? undefined : await request(origin + url, { headers });
    const found = hit ?? {
      status: fetched?.statusCode ?? 0,
      headers: fetched?.headers ?? {},
      body: (await fetched?.body.text()) ?? '',
    };
    const control = String(found.headers['cache-control'] ?? '');
    if (/s-maxage=[1-9]|max-age=[1-9]/.test(control) && !/no-store|private/.test(control))
      kept.set(url, found);
    const { 'transfer-encoding': _encoding, connection: _none, ...passed } = found.headers;
    response.writeHead(found.status, { ...passed, 'x-cache': hit ? 'hit' : 'miss' }).end(found.body);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
}
