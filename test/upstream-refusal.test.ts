import { randomBytes } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { buffer } from 'node:stream/consumers';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Gateway } from '../src/gateway/server.ts';
import { type FakeUpstream, startFakeUpstream } from './fake-upstream.ts';
import { type Answer, Person, type RequestOptions } from './person.ts';
import { startWorld, type World } from './world.ts';

const minute = 60_000;

let world: World;
let upstream: FakeUpstream;
let replica: Gateway;
let aheadMs = 0;
/** What the upstream got, and how it answers by the number of the request. */
let got: { readonly bearer: string; readonly body: Buffer }[];
let answer: (response: ServerResponse, attempt: number) => void;

beforeAll(async () => {
  upstream = await startFakeUpstream();
  world = await startWorld({
    config: (input) => ({
      ...input,
      upstreams: { api: { url: upstream.url, provider: 'notebook' } },
    }),
  });
  replica = await world.startReplica({ now: () => Date.now() + aheadMs });
});
afterAll(async () => {
  await world.close();
  await upstream.close();
});
beforeEach(() => {
  aheadMs = 0;
  got = [];
  answer = (response, attempt) =>
    attempt === 1 ? refuse(response) : response.end(`accepted at attempt ${attempt}`);
  upstream.answer = (request, response) => void take(request, response);
});

async function take(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const body = await buffer(request);
  got.push({ bearer: request.headers.authorization ?? '', body });
  answer(response, got.length);
}

function refuse(response: ServerResponse, challenge = 'Bearer error="invalid_token"'): void {
  response
    .writeHead(401, { 'www-authenticate': challenge, 'x-from': 'upstream' })
    .end('refused by the upstream');
}

/** Somebody who has signed in two minutes ago. */
async function signIn(): Promise<(method: string, options?: RequestOptions) => Promise<Answer>> {
  const person = await world.signIn('ada');
  const cookie = `__Host-coatcheck=${person.cookies('localhost').get('__Host-coatcheck')}`;
  aheadMs = 2 * minute;
  return (method, options = {}) =>
    new Person().request(method, `${replica.address}/api/api/things`, {
      ...options,
      headers: { cookie, origin: world.publicUrl, ...options.headers },
    });
}

const refreshes = (): number => world.simulators.faults.requests['notebook POST /token'] ?? 0;

describe('S-120 a 401 of an upstream', () => {
  test.each<[what: string, method: string, body: Buffer | undefined]>([
    ['a request without a body', 'GET', undefined],
    ['a request with a small body', 'POST', randomBytes(65_536)],
    ['a request that changes something and has no body', 'DELETE', undefined],
  ])('leads to one refresh, and %s is sent once more, with the new token', async (_, method, body) => {
    const send = await signIn();
    const before = refreshes();
    const seen = await send(method, body && { body });
    expect([seen.status, seen.body]).toEqual([200, 'accepted at attempt 2']);
    expect(refreshes() - before).toBe(1);
    expect(got.map((request) => request.body)).toEqual([body ?? Buffer.alloc(0), body ?? Buffer.alloc(0)]);
    expect(new Set(got.map(({ bearer }) => bearer)).size).toBe(2);
  });

  test('goes to the client as it is where the body is too large to be sent again', async () => {
    const send = await signIn();
    const before = refreshes();
    const seen = await send('POST', { body: randomBytes(65_537) });
    expect([seen.status, seen.body, seen.headers['x-from']]).toEqual([
      401,
      'refused by the upstream',
      'upstream',
    ]);
    expect([refreshes() - before, got.length]).toEqual([0, 1]);
  });

  test('goes to the client where the new token is refused too; a minute passes before the next try', async () => {
    const send = await signIn();
    answer = (response) => refuse(response, 'Basic realm="everything"');
    const before = refreshes();
    for (const attempts of [2, 3, 4]) {
      expect(await send('GET')).toMatchObject({ status: 401, body: 'refused by the upstream' });
      expect([refreshes() - before, got.length]).toEqual([1, attempts]);
    }
    aheadMs += minute;
    expect(await send('GET')).toMatchObject({ status: 401, body: 'refused by the upstream' });
    expect([refreshes() - before, got.length]).toEqual([2, 6]);
  });

  test('goes to the client where it names another reason than the token', async () => {
    const send = await signIn();
    const before = refreshes();
    answer = (response) => refuse(response, 'Bearer realm="x", error="insufficient_scope"');
    expect(await send('GET')).toMatchObject({ status: 401, body: 'refused by the upstream' });
    expect([refreshes() - before, got.length]).toEqual([0, 1]);
  });

  test('goes to the client where no other token is to be had now', async () => {
    const send = await signIn();
    world.simulators.faults.set('notebook', { kind: 'error', status: 503 });
    expect(await send('GET')).toMatchObject({ status: 401, body: 'refused by the upstream' });
    world.simulators.faults.clear();
    expect(got).toHaveLength(1);
  });

  test('of many requests at once leads to one refresh', async () => {
    const send = await signIn();
    const before = refreshes();
    let old: string | undefined;
    answer = (response) => {
      const bearer = got.at(-1)?.bearer;
      old ??= bearer;
      if (bearer === old) refuse(response);
      else response.end('accepted');
    };
    const answers = await Promise.all(Array.from({ length: 20 }, () => send('GET')));
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200]));
    expect(refreshes() - before).toBe(1);
  });
});

test('S-056 a token that upstream and provider refuse is given up: the person is asked to sign in there', async () => {
  const send = await signIn();
  world.simulators.revokeAll('notebook');
  answer = (response) => refuse(response);
  for (let time = 0; time < 2; time += 1) {
    const seen = await send('GET');
    expect(seen.status).toBe(401);
    expect(seen.json()).toMatchObject({ code: 'token_unavailable', provider: 'notebook' });
  }
  // The second time nobody else was asked: what is known to be dead is not tried.
  expect(got).toHaveLength(1);
});
