import { Writable } from 'node:stream';
import { context, trace } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  SimpleSpanProcessor,
} from '@opentelemetry/sdk-trace-base';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { errorRegistry } from '../../src/errors.ts';
import { exchangeBytes, type FakeUpstream, startFakeUpstream } from '../fake-upstream.ts';
import { Person } from '../person.ts';
import { throughProvider } from '../provider-pages.ts';
import { gatherSecrets, type KnownSecrets } from './known-secrets.ts';
import { startSideGateway } from './side-gateway.ts';
import { startTappedWorld, type TappedWorld } from './wiretap.ts';

let world: TappedWorld;
let mirror: FakeUpstream;
let known: KnownSecrets;
const spans = new InMemorySpanExporter();

/** Stands in queries, headers, cookies and bodies of every request below that is not a proper one. */
const canary = 'canary-7f3a';

beforeAll(async () => {
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  trace.setGlobalTracerProvider(
    new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(spans)] }),
  );
  mirror = await startFakeUpstream();
  mirror.answer = (request, response) => {
    request.resume();
    // What careless upstreams do: send back in headers what they were sent.
    response.setHeader('x-authorization', request.headers.authorization ?? '');
    response.setHeader('x-echo', JSON.stringify(request.headers));
    response.setHeader('location', `${mirror.url}/next?token=${request.headers.authorization?.slice(7)}`);
    response.statusCode = 302;
    response.end('mirrored');
  };
  world = await startTappedWorld({
    config: (input) => ({
      ...input,
      app: { url: mirror.url, public: ['/'], claims: ['name'] },
      upstreams: { ...(input.upstreams as object), mirror: { url: mirror.url, provider: 'identity' } },
    }),
  });
  known = gatherSecrets(world);
  await everyFlow();
});
afterAll(async () => {
  known.stop();
  await world.close();
  await mirror.close();
  trace.disable();
  context.disable();
});

/** Every flow and every kind of fault that a browser can bring about. */
async function everyFlow(): Promise<void> {
  const { publicUrl } = world;
  const ada = await world.signIn('ada');
  await ada.signIn(publicUrl, `/auth/session?${canary}`);
  await properRequests(ada);
  await badCallbacks();
  await providerFaults();
  await upstreamFaults(ada);
  await garbage();
  await ada.request('POST', `${publicUrl}/auth/logout`);
  const lise = await world.signIn('lise');
  await world.redis.kill('SIGSTOP');
  for (const path of ['/auth/session', '/api/eln/echo', '/auth/login']) {
    await lise.get(`${publicUrl}${path}?code=${canary}`, { kind: 'navigation' });
    await lise.get(`${publicUrl}${path}?code=${canary}`);
  }
  await world.redis.kill('SIGCONT');
}

async function properRequests(person: Person): Promise<void> {
  const paths = ['/auth/session', '/auth/verify', '/api/eln/echo', '/api/eln/entities', '/api/systems/echo'];
  for (const path of [
    ...paths,
    '/api/systems/employees/me',
    '/api/mirror/x',
    '/page',
    '/',
    '/auth/nothing',
    '/api/none/x',
  ]) {
    const headers = { authorization: `Bearer ${canary}`, 'x-request-id': 'request-0001' };
    await person.get(`${world.publicUrl}${path}?access_token=${canary}&code=${canary}`, { headers });
    await person.request('POST', `${world.publicUrl}${path}`, { headers, body: canary });
    await person.request('POST', `${world.publicUrl}${path}`, {
      headers: { origin: `https://${canary}.example` },
    });
  }
}

/** Logins whose callback is tampered with in every way. */
async function badCallbacks(): Promise<void> {
  const tamper: ((callback: URL) => void)[] = [
    ({ searchParams }) => searchParams.set('code', canary),
    ({ searchParams }) => searchParams.set('state', canary),
    ({ searchParams }) => searchParams.set('iss', `https://${canary}.example`),
    ({ searchParams }) => searchParams.append('code', canary),
    ({ searchParams }) => {
      searchParams.delete('code');
      searchParams.set('error', canary);
      searchParams.set('error_description', canary);
    },
    (callback) => {
      callback.pathname = `/auth/callback/${canary}`;
    },
    () => undefined,
  ];
  for (const change of tamper) {
    const person = new Person({ username: 'gregor' });
    const start = await person.get(`${world.publicUrl}/auth/login`, { kind: 'navigation' });
    const callback = await throughProvider(person, start.headers.location ?? '');
    change(callback);
    await person.get(callback.href, { kind: 'navigation' });
    // Once more: the code and the transaction are used up.
    await person.get(callback.href, { kind: 'navigation' });
    await new Person().get(callback.href, { kind: 'navigation' });
  }
}

async function providerFaults(): Promise<void> {
  const { faults } = world.simulators;
  for (const fault of [
    { kind: 'error', status: 500 },
    { kind: 'error', status: 400 },
    { kind: 'drop' },
  ] as const) {
    const person = new Person({ username: 'gregor' });
    const start = await person.get(`${world.publicUrl}/auth/login`, { kind: 'navigation' });
    const callback = await throughProvider(person, start.headers.location ?? '');
    faults.set('identity', fault);
    await person.get(callback.href, { kind: 'navigation' });
    faults.clear();
  }
}

async function upstreamFaults(person: Person): Promise<void> {
  const { faults } = world.simulators;
  for (const fault of [{ kind: 'error', status: 503 }, { kind: 'drop' }] as const) {
    faults.set('facade', fault);
    await person.get(`${world.publicUrl}/api/eln/echo?${canary}`);
    await person.request('POST', `${world.publicUrl}/api/eln/echo`, { body: canary });
    faults.clear();
  }
}

async function garbage(): Promise<void> {
  const cookies = [
    `__Host-coatcheck=${canary}`,
    `__Host-coatcheck=v1.${canary.padEnd(43, 'x')}`,
    `__Host-coatcheck-login=${canary}`,
  ];
  for (const cookie of cookies) {
    for (const path of [
      '/auth/session',
      '/api/eln/x',
      `/auth/callback/identity?code=${canary}&state=${canary}`,
    ]) {
      await new Person().get(world.publicUrl + path, { headers: { cookie } });
    }
  }
  const returns = [`//${canary}.example`, `https://user:${canary}@x.example/`, `/%0d%0a${canary}`];
  for (const value of returns) {
    await new Person().get(`${world.publicUrl}/auth/login?return_to=${encodeURIComponent(value)}`, {
      kind: 'navigation',
    });
  }
  for (const path of [`/%zz${canary}`, `/a//${canary}`, `/..%2f${canary}`, `/${canary}%0d%0aset-cookie:x`]) {
    await exchangeBytes(
      Number(new URL(world.publicUrl).port),
      `GET ${path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n`,
    );
  }
  await exchangeBytes(Number(new URL(world.publicUrl).port), `${canary} \u001b[31m\r\n\r\n`);
}

/** Which of the secrets stand in a text: a list, so that a failure names what leaked by its first letters only. */
const leaked = (text: string, secrets: readonly string[]): string[] =>
  secrets.filter((secret) => text.includes(secret)).map((secret) => `${secret.slice(0, 6)}…`);

test('the run was a full one: tokens of both providers, and every kind of secret', () => {
  // Six exchanged codes and more, each with a verifier; three tokens per provider; client secrets; a key.
  expect(known.fromProviders().length).toBeGreaterThan(25);
  expect(known.ofBrowsers().length).toBeGreaterThan(25);
  const statuses = new Set(
    Array.from(world.received().matchAll(/HTTP\/1\.1 (\d+) /g), ([, status]) => status),
  );
  for (const status of ['200', '204', '302', '303', '400', '401', '403', '404', '502', '503'])
    expect(statuses).toContain(status);
});

describe('S-059 of all the bytes that browsers have got from the gateway', () => {
  test('S-059 none belong to a token, a code, a verifier or a client secret', () => {
    // The canary was sent as a code too; upstreams may well repeat a query that browsers made up.
    const secrets = known.fromProviders().filter((secret) => secret !== canary);
    expect(leaked(world.received(), secrets)).toEqual([]);
    expect(world.received()).toContain('mirrored');
  });

  test('S-137 none tell of a stack, a file, or a host behind the gateway', () => {
    const { facade, systems } = world.simulators;
    const hosts = [mirror.url, facade.url, systems.url, world.redis.url].map((url) => new URL(url).host);
    const ours = world
      .received()
      .split('HTTP/1.1 ')
      .filter((answer) => /problem\+json|<!doctype/.test(answer));
    expect(ours.length).toBeGreaterThan(40);
    expect(leaked(ours.join(''), hosts)).toEqual([]);
    expect(ours.join('')).not.toMatch(/\n\s+at |node_modules|\.ts:|Error:|ECONN|UND_ERR|redis/i);
    expect(leaked(ours.join(''), [canary, 'Lovelace'])).toEqual([]);
  });
});

describe('S-133 nothing that is written down holds a secret', () => {
  const unwelcome = (): string[] => [
    ...known.fromProviders(),
    ...known.ofBrowsers(),
    canary,
    'Lovelace',
    'ada@example.com',
  ];

  test('S-133 S-134 no log line, at debug', () => {
    expect(world.logLines.length).toBeGreaterThan(100);
    expect(leaked(world.logLines.join(''), unwelcome())).toEqual([]);
    // The last filter found nothing to do: what is chosen is clean before it.
    expect(world.logLines.join('')).not.toContain('[redacted]');
  });

  test('S-134 S-133 no span', () => {
    const finished = spans.getFinishedSpans();
    expect(new Set(finished.map(({ name }) => name)).size).toBe(5);
    // A fault is told by its code alone.
    const faults = finished.flatMap(({ status }) => status.message ?? []);
    expect(faults).toContain('store_unavailable');
    expect(faults.filter((code) => !(code in errorRegistry))).toEqual([]);
    const text = JSON.stringify(
      finished.map(({ name, attributes, events, status, links, resource }) => [
        name,
        attributes,
        events,
        status,
        links,
        resource.attributes,
      ]),
    );
    expect(
      leaked(
        text,
        unwelcome().filter((secret) => secret !== canary),
      ),
    ).toEqual([]);
    expect(text).not.toMatch(/\?code|state=|https?:\/\//);
  });

  test('S-133 no metric', async () => {
    const metrics = (await new Person().get(`${world.adminUrl}/metrics`)).body;
    expect(metrics).toContain('coatcheck_logins_total');
    expect(leaked(metrics, unwelcome())).toEqual([]);
  });

  test.each(['debug', 'info', 'warn', 'error'])(
    'S-133 no line at level %s, with a wrong password in the address of the store',
    async (level) => {
      const lines: string[] = [];
      const logDestination = new Writable({
        write: (chunk, _encoding, done) => done(void lines.push(String(chunk))),
      });
      const url = world.redis.url.replace('//', `//someone:${canary}@`);
      const gateway = await startSideGateway(world, { store: { url }, log: { level } }, { logDestination });
      const cookie = `__Host-coatcheck=v1.${'A'.repeat(43)}`;
      const answer = await new Person().get(`${gateway.address}/auth/session?code=${canary}`, {
        headers: { cookie },
      });
      expect(answer.status).toBe(503);
      await gateway.close();
      expect(lines.length).toBeGreaterThan(level === 'error' ? -1 : 0);
      expect(leaked(lines.join('') + answer.body, [canary, 'A'.repeat(43)])).toEqual([]);
    },
  );
});

test('S-135 every line is one JSON object on one line, whatever was sent', () => {
  for (const line of world.logLines.join('').trimEnd().split('\n')) {
    // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not be there
    expect(line).not.toMatch(/[\x00-\x1f\x7f-\x9f]/);
    expect(JSON.parse(line)).toMatchObject({ level: expect.any(String), event: expect.any(String) });
  }
});
