import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { CoatcheckError } from '../errors.ts';
import { createTelemetry } from '../telemetry.ts';
import { createProviderFetch, isSecureOrLoopback } from './provider-fetch.ts';

const telemetry = createTelemetry({ level: 'silent' });
let close: (() => void) | undefined;
afterEach(() => close?.());

/** Asks a server that answers like this; the answer's status and body size, or the fault's code. */
async function ask(listener: RequestListener, timeoutMs = 5000): Promise<string> {
  const server = createServer(listener).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  close = () => {
    server.closeAllConnections();
    server.close();
  };
  const exchange = createProviderFetch({ provider: 'first', timeoutMs, telemetry });
  const address = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  try {
    const response = await exchange(address, {
      method: 'GET',
      headers: {},
      body: undefined,
      redirect: 'manual',
    });
    return `${response.status} ${(await response.text()).length}`;
  } catch (error) {
    return CoatcheckError.from(error).code;
  }
}

test('an answer of exactly 1 MiB is read, one byte more is not', async () => {
  expect(await ask((_request, response) => response.end(Buffer.alloc(2 ** 20)))).toBe('200 1048576');
  expect(await ask((_request, response) => response.end(Buffer.alloc(2 ** 20 + 1)))).toBe(
    'provider_answer_invalid',
  );
});

test('reading stops at the limit: a server that never ends is let go', async () => {
  let sent = 0;
  const ended = new Promise<void>((resolve) => {
    void ask((_request, response) => {
      const chunk = Buffer.alloc(65_536);
      const more = (): void => {
        while (!response.destroyed && response.write(chunk)) sent += chunk.length;
      };
      response.on('drain', more).on('close', resolve);
      more();
    });
  });
  await ended;
  expect(sent).toBeLessThan(32 * 2 ** 20);
});

test.each([
  [204, '204 0'],
  [304, '304 0'],
  [302, '302 0'],
  [400, '400 0'],
  [408, '408 0'],
  [429, 'provider_unavailable'],
  [500, 'provider_unavailable'],
  [503, 'provider_unavailable'],
])('status %i gives %s', async (status, expected) => {
  const listener: RequestListener = (_request, response) =>
    response.writeHead(status, { location: '/again' }).end();
  expect(await ask(listener)).toBe(expected);
});

test('the deadline spans headers and body', async () => {
  const startMs = performance.now();
  expect(await ask(() => undefined, 100)).toBe('provider_unavailable');
  expect(await ask((_request, response) => response.write('{'), 100)).toBe('provider_unavailable');
  expect(performance.now() - startMs).toBeLessThan(4000);
});

test('nobody listening is unavailable', async () => {
  const exchange = createProviderFetch({ provider: 'first', timeoutMs: 1000, telemetry });
  const asked = exchange('http://127.0.0.1:1/', {
    method: 'GET',
    headers: {},
    body: undefined,
    redirect: 'manual',
  });
  await expect(asked).rejects.toMatchObject({ code: 'provider_unavailable', shown: { provider: 'first' } });
});

test('plain http is for loopback alone', () => {
  const secure = ['https://provider.example', 'http://127.0.0.1:1/x', 'http://[::1]/', 'http://localhost/'];
  expect(secure.filter((url) => !isSecureOrLoopback(url))).toEqual([]);
  const insecure = [
    'http://provider.example',
    'http://localhost.evil.example',
    'http://127.0.0.1.evil.example',
    'ftp://localhost',
    'javascript:x',
  ];
  expect(insecure.filter(isSecureOrLoopback)).toEqual([]);
});
