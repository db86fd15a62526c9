import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { freePort } from '../../demo/free-ports.ts';
import { type Authority, createAuthority } from '../../test/certificates.ts';
import { diagnose, plainInput } from '../../test/findings.ts';

let authority: Authority;
beforeAll(() => {
  authority = createAuthority();
});
afterAll(() => authority.remove());

const servers: Server[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
    await once(server, 'close');
  }
});

const listen = async (server: Server): Promise<number> => {
  servers.push(server.listen(0, '127.0.0.1'));
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
};

const upstream = (url: string) => ({ upstreams: { eln: { url, provider: 'identity' } } });

test.each([200, 302, 401, 404, 500])('any answer counts, also %i', async (status) => {
  const port = await listen(createServer((_request, response) => response.writeHead(status).end()));
  const findings = await diagnose(plainInput(upstream(`http://127.0.0.1:${port}/x`)));
  expect(findings['upstreams.eln.reachable']).toMatchObject({
    level: 'fine',
    says: expect.stringContaining(String(status)),
  });
  expect(findings).not.toHaveProperty('upstreams.eln.certificate');
});

test('the fixed headers of an upstream, which are secrets, are not sent', async () => {
  const seen: unknown[] = [];
  const port = await listen(
    createServer((request, response) => {
      seen.push(request.rawHeaders);
      response.end();
    }),
  );
  const url = `http://127.0.0.1:${port}`;
  const headers = { 'x-api-key': 'canary-header' };
  const findings = await diagnose(plainInput({ upstreams: { eln: { url, provider: 'identity', headers } } }));
  expect(seen).toHaveLength(1);
  expect(JSON.stringify([seen, findings])).not.toContain('canary');
});

test('nobody listening is wrong, for the app as for an upstream', async () => {
  const url = `http://127.0.0.1:${await freePort()}`;
  const findings = await diagnose(plainInput({ ...upstream(url), app: { url } }));
  for (const check of ['upstreams.eln.reachable', 'app.reachable']) {
    expect(findings[check]).toMatchObject({
      level: 'wrong',
      says: expect.stringContaining('(ECONNREFUSED)'),
    });
  }
});

test('a certificate that nobody vouches for is wrong, and told apart from nobody listening', async () => {
  const { cert, key } = authority.issue('IP:127.0.0.1', 30);
  const port = await listen(createTlsServer({ cert, key }));
  const findings = await diagnose(plainInput(upstream(`https://127.0.0.1:${port}`)));
  expect(findings['upstreams.eln.certificate']).toMatchObject({
    level: 'wrong',
    says: 'the certificate of 127.0.0.1 is not accepted (UNABLE_TO_VERIFY_LEAF_SIGNATURE)',
  });
});
