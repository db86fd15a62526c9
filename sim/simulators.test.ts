import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { decodeJwt } from 'jose';
import * as openid from 'openid-client';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { Person } from '../test/person.ts';
import { answerJson, type HttpServer, startHttpServer } from './http-server.ts';
import { startInternalSystem } from './internal-system.ts';
import { type ProviderFacts, type SimulatorFacts, type Simulators, startSimulators } from './simulators.ts';

/** Stands where the gateway would be: the browser ends up here with the code in its address. */
let landing: HttpServer;
let simulators: Simulators;

beforeAll(async () => {
  landing = await startHttpServer();
  landing.serve((_request, response) => answerJson(response, 200, {}));
  simulators = await startSimulators({ publicUrls: [landing.url], extraPeople: 100 });
});
afterEach(() => simulators.faults.clear());
afterAll(async () => {
  await simulators.close();
  await landing.close();
});

const discover = (facts: ProviderFacts): Promise<openid.Configuration> =>
  openid.discovery(new URL(facts.issuer), facts.clientId, {}, openid.ClientSecretBasic(facts.clientSecret), {
    execute: [openid.allowInsecureRequests, openid.enableNonRepudiationChecks],
  });

interface Flow {
  readonly from?: Simulators;
  readonly parameters?: Record<string, string>;
}

/** The whole code flow with a client of its own. */
async function signIn(
  person: Person,
  name: 'identity' | 'notebook',
  { from = simulators, parameters = {} }: Flow = {},
) {
  const client = await discover(from[name]);
  const verifier = openid.randomPKCECodeVerifier();
  const state = openid.randomState();
  const nonce = openid.randomNonce();
  const url = openid.buildAuthorizationUrl(client, {
    redirect_uri: `${landing.url}/auth/callback/${name}`,
    scope: 'openid profile email',
    code_challenge: await openid.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
    state,
    nonce,
    ...parameters,
  });
  const callback = new URL((await person.follow(url.href)).url);
  const tokens = await openid.authorizationCodeGrant(client, callback, {
    pkceCodeVerifier: verifier,
    expectedState: state,
    expectedNonce: nonce,
    idTokenExpected: true,
  });
  return { client, callback, tokens, claims: tokens.claims() };
}

const bearer = (token: string): Record<string, string> => ({ authorization: `Bearer ${token}` });

const atFacade = (token?: string): Record<string, string> => ({
  client_id: simulators.facade.clientId,
  client_secret: simulators.facade.clientSecret,
  ...(token === undefined ? {} : bearer(token)),
});

const subjectOf = (username: string, name: 'identity' | 'notebook'): string | undefined =>
  simulators.people.find((person) => person.username === username)?.subjects[name];

describe('the providers', () => {
  test.each(['identity', 'notebook'] as const)('%s signs a person in and says who it is', async (name) => {
    const { callback, tokens, claims } = await signIn(new Person({ username: 'rosalind' }), name);
    expect(callback.searchParams.get('iss')).toBe(simulators[name].issuer);
    expect(claims).toMatchObject({
      sub: subjectOf('rosalind', name),
      name: 'Rosalind Franklin',
      email: 'rosalind@example.com',
    });
    expect(tokens.refresh_token).toBeTypeOf('string');
    expect(tokens.expires_in).toBe(name === 'identity' ? 900 : 3600);
  });

  test('both providers know a person by the same e-mail and different subjects', () => {
    expect(simulators.people).toHaveLength(104);
    for (const { subjects } of simulators.people) expect(subjects.identity).not.toBe(subjects.notebook);
  });

  test('the identity access token is a JWT for the internal systems, the notebook one is opaque', async () => {
    const person = new Person();
    const identity = await signIn(person, 'identity');
    const notebook = await signIn(person, 'notebook');
    expect(decodeJwt(identity.tokens.access_token)).toMatchObject({
      iss: simulators.identity.issuer,
      aud: simulators.systems.audience,
      sub: subjectOf('ada', 'identity'),
    });
    expect(notebook.tokens.access_token).not.toContain('.');
  });

  test('the notebook answers userinfo; identity has no userinfo endpoint', async () => {
    const { client, tokens, claims } = await signIn(new Person(), 'notebook');
    const userinfo = await openid.fetchUserInfo(client, tokens.access_token, claims?.sub ?? '');
    expect(userinfo).toMatchObject({ name: 'Ada Lovelace', email: 'ada@example.com' });
    expect((await discover(simulators.identity)).serverMetadata().userinfo_endpoint).toBeUndefined();
  });

  test('a second sign-in shows no page, and prompt=login lets another person take over', async () => {
    const person = new Person({ username: 'lise' });
    await signIn(person, 'notebook');
    simulators.faults.clearRequests();
    expect((await signIn(person, 'notebook')).claims?.sub).toBe(subjectOf('lise', 'notebook'));
    expect(simulators.faults.requests['notebook POST /interaction']).toBeUndefined();

    Object.assign(person, { username: 'gregor' });
    expect((await signIn(person, 'notebook')).claims?.sub).toBe(subjectOf('lise', 'notebook'));
    const other = await signIn(person, 'notebook', { parameters: { prompt: 'login' } });
    expect(other.claims?.sub).toBe(subjectOf('gregor', 'notebook'));
  });

  test('cookies of the two providers do not overwrite each other', async () => {
    const person = new Person();
    await signIn(person, 'identity');
    await signIn(person, 'notebook');
    const names = [...person.cookies('127.0.0.1').keys()];
    expect(names).toContain('identity_session');
    expect(names).toContain('notebook_session');
  });

  test.each(['identity', 'notebook'] as const)(
    '%s rotates refresh tokens, and a replay revokes the grant',
    async (name) => {
      const { client, tokens } = await signIn(new Person(), name);
      const first = tokens.refresh_token ?? '';
      const refreshed = await openid.refreshTokenGrant(client, first);
      expect(refreshed.refresh_token).not.toBe(first);
      expect(refreshed.claims()?.sub).toBe(subjectOf('ada', name));
      await expect(openid.refreshTokenGrant(client, first)).rejects.toMatchObject({ error: 'invalid_grant' });
      await expect(openid.refreshTokenGrant(client, refreshed.refresh_token ?? '')).rejects.toMatchObject({
        error: 'invalid_grant',
      });
    },
  );

  test('revoking one sign-in leaves another of the same browser alone', async () => {
    const person = new Person();
    const first = await signIn(person, 'notebook');
    const second = await signIn(person, 'notebook');
    await openid.tokenRevocation(first.client, first.tokens.refresh_token ?? '');
    const [gone, kept] = await Promise.all(
      [first, second].map(({ tokens }) =>
        person.get(`${simulators.facade.url}/entities`, { headers: atFacade(tokens.access_token) }),
      ),
    );
    expect([gone?.status, kept?.status]).toEqual([401, 200]);
  });

  test('an authorization without PKCE is refused', async () => {
    const { issuer, clientId } = simulators.identity;
    const redirectUri = encodeURIComponent(`${landing.url}/auth/callback/identity`);
    const answer = await new Person().follow(
      `${issuer}/auth?client_id=${clientId}&response_type=code&scope=openid&redirect_uri=${redirectUri}`,
    );
    expect(new URL(answer.url).searchParams.get('error')).toBe('invalid_request');
  });

  test('rules: no refresh token, no iss in the answer, another algorithm', async () => {
    const other = await startSimulators({
      publicUrls: [landing.url],
      notebook: { refreshTokens: false, issuerInResponses: false, signingAlgorithm: 'ES256' },
    });
    try {
      const client = await discover(other.notebook);
      expect(client.serverMetadata().authorization_response_iss_parameter_supported).toBe(false);
      const person = new Person();
      const url = openid.buildAuthorizationUrl(client, {
        redirect_uri: `${landing.url}/auth/callback/notebook`,
        scope: 'openid',
        code_challenge: await openid.calculatePKCECodeChallenge('v'.repeat(43)),
        code_challenge_method: 'S256',
      });
      const callback = new URL((await person.follow(url.href)).url);
      expect(callback.searchParams.has('code')).toBe(true);
      expect(callback.searchParams.has('iss')).toBe(false);
      const answer = await person.request('POST', other.notebook.tokenEndpoint, {
        headers: {
          'content-type': 'application/x-www-form-urlencoded',
          authorization: `Basic ${Buffer.from(`${other.notebook.clientId}:${other.notebook.clientSecret}`).toString('base64')}`,
          origin: null,
        },
        body: new URLSearchParams({
          grant_type: 'authorization_code',
          code: callback.searchParams.get('code') ?? '',
          redirect_uri: `${landing.url}/auth/callback/notebook`,
          code_verifier: 'v'.repeat(43),
        }).toString(),
      });
      expect(answer.status).toBe(200);
      expect(answer.json()).not.toHaveProperty('refresh_token');
      const [header = ''] = answer.json<{ id_token: string }>().id_token.split('.');
      expect(JSON.parse(Buffer.from(header, 'base64url').toString())).toMatchObject({ alg: 'ES256' });
    } finally {
      await other.close();
    }
  });
});

describe('the facade and the internal system', () => {
  test('the facade takes client and notebook token, and the notebook writes back', async () => {
    const person = new Person();
    const headers = {
      ...atFacade((await signIn(person, 'notebook')).tokens.access_token),
      'x-correlation-id': 'abc',
    };
    const list = await person.get(`${simulators.facade.url}/entities`, { headers });
    expect(list.headers).toMatchObject({
      'x-seen-subject': subjectOf('ada', 'notebook'),
      'x-correlation-id': 'abc',
    });
    const { entities, seen } = list.json<{ entities: { id: string; digest: string }[]; seen: object }>();
    expect(seen).toEqual({ subject: subjectOf('ada', 'notebook'), audience: null, clientId: 'apps' });
    expect(entities).toHaveLength(3);

    const [{ id, digest } = { id: '', digest: '' }] = entities;
    const write = (basedOn: string) =>
      person.request('PATCH', `${simulators.facade.url}/entities/${id}/properties?digest=${basedOn}`, {
        headers: { ...headers, 'content-type': 'application/json' },
        body: '{"amount":"200 ml"}',
      });
    const written = await write(digest);
    expect(written.status).toBe(200);
    expect(written.json()).toMatchObject({
      entity: {
        id,
        properties: { amount: '200 ml', status: 'available' },
        editedBy: subjectOf('ada', 'notebook'),
      },
    });
    expect((await write(digest)).status).toBe(428);
    expect((await person.get(`${simulators.facade.url}/entities/none`, { headers })).status).toBe(404);
  });

  test('the facade refuses a missing client, a missing token and the identity token', async () => {
    const person = new Person();
    const { access_token: right } = (await signIn(person, 'notebook')).tokens;
    const { access_token: wrong, id_token: alsoWrong } = (await signIn(person, 'identity')).tokens;
    const statusWith = async (headers: Record<string, string>): Promise<number> =>
      (await person.get(`${simulators.facade.url}/entities`, { headers })).status;
    expect(await statusWith(atFacade(right))).toBe(200);
    expect(await statusWith(bearer(right))).toBe(401);
    expect(await statusWith({ ...atFacade(right), client_secret: 'wrong' })).toBe(401);
    expect(await statusWith({ ...atFacade(right), client_id: 'wrong' })).toBe(401);
    expect(await statusWith(atFacade())).toBe(400);
    expect(await statusWith(atFacade(wrong))).toBe(401);
    expect(await statusWith(atFacade(alsoWrong))).toBe(401);
  });

  test('the internal system takes the identity token and knows the person', async () => {
    const person = new Person({ username: 'person-0042' });
    const headers = bearer((await signIn(person, 'identity')).tokens.access_token);
    const me = await person.get(`${simulators.systems.url}/employees/me`, { headers });
    expect(me.json()).toMatchObject({
      employee: { email: 'person-0042@example.com' },
      seen: {
        subject: subjectOf('person-0042', 'identity'),
        audience: simulators.systems.audience,
        clientId: 'apps',
      },
    });
    const post = await person.request('POST', `${simulators.systems.url}/registrations`, {
      headers,
      body: '{"a":1}',
    });
    expect([post.status, post.headers['x-seen-audience']]).toEqual([201, simulators.systems.audience]);
  });

  test('the internal system refuses the notebook token, the ID token and no token', async () => {
    const person = new Person();
    const notebook = await signIn(person, 'notebook');
    const identity = await signIn(person, 'identity');
    const statusWith = async (headers: Record<string, string>): Promise<number> =>
      (await person.get(`${simulators.systems.url}/employees/me`, { headers })).status;
    expect(await statusWith(bearer(notebook.tokens.access_token))).toBe(401);
    expect(await statusWith(bearer(identity.tokens.id_token ?? ''))).toBe(401);
    expect(await statusWith({})).toBe(401);
    expect(await statusWith(bearer(identity.tokens.access_token))).toBe(200);
  });

  test('the internal system refuses a token for another audience or of another issuer', async () => {
    const person = new Person();
    const { access_token: token } = (await signIn(person, 'identity')).tokens;
    const statusAt = async (trusted: { issuer: string; audience: string }): Promise<number> => {
      const { jwksUri } = simulators.identity;
      const system = await startInternalSystem({ ...trusted, jwksUri, employees: new Map() });
      try {
        return (await person.get(`${system.url}/echo`, { headers: bearer(token) })).status;
      } finally {
        await system.close();
      }
    };
    const { issuer, audience } = simulators.identity;
    expect(await statusAt({ issuer, audience })).toBe(200);
    expect(await statusAt({ issuer, audience: 'https://other.example.com' })).toBe(401);
    expect(await statusAt({ issuer: simulators.notebook.issuer, audience })).toBe(401);
  });

  test('expired tokens are refused, and a refresh helps', async () => {
    const brief = { accessTokenTtlSeconds: 1 };
    const other = await startSimulators({ publicUrls: [landing.url], identity: brief, notebook: brief });
    try {
      const person = new Person();
      const identity = await signIn(person, 'identity', { from: other });
      const notebook = await signIn(person, 'notebook', { from: other });
      const facade = { client_id: other.facade.clientId, client_secret: other.facade.clientSecret };
      const statuses = async (identityToken: string, notebookToken: string): Promise<number[]> => {
        const answers = await Promise.all([
          person.get(`${other.systems.url}/employees/me`, { headers: bearer(identityToken) }),
          person.get(`${other.facade.url}/entities`, { headers: { ...facade, ...bearer(notebookToken) } }),
        ]);
        return answers.map((answer) => answer.status);
      };
      await vi.waitFor(
        async () =>
          expect(await statuses(identity.tokens.access_token, notebook.tokens.access_token)).toEqual([
            401, 401,
          ]),
        { timeout: 5000, interval: 100 },
      );
      const fresh = await openid.refreshTokenGrant(identity.client, identity.tokens.refresh_token ?? '');
      const freshNotebook = await openid.refreshTokenGrant(
        notebook.client,
        notebook.tokens.refresh_token ?? '',
      );
      expect(await statuses(fresh.access_token, freshNotebook.access_token)).toEqual([200, 200]);
    } finally {
      await other.close();
    }
  });

  test('both echo what they received, and no secret', async () => {
    const person = new Person();
    const notebook = await signIn(person, 'notebook');
    const identity = await signIn(person, 'identity');
    const echoes = await Promise.all([
      person.request('PUT', `${simulators.facade.url}/echo?a=1`, {
        headers: { ...atFacade(notebook.tokens.access_token), 'x-own': 'yes' },
        body: 'hello',
      }),
      person.request('PUT', `${simulators.systems.url}/echo?a=1`, {
        headers: { ...bearer(identity.tokens.access_token), 'x-own': 'yes' },
        body: 'hello',
      }),
    ]);
    for (const echo of echoes) {
      expect(echo.json()).toMatchObject({
        method: 'PUT',
        path: '/echo?a=1',
        headers: { 'x-own': 'yes', authorization: { present: true } },
        body: { bytes: 5 },
      });
      expect(echo.body).not.toContain(simulators.facade.clientSecret);
      expect(echo.body).not.toContain(notebook.tokens.access_token);
    }
  });
});

describe('the fault switches', () => {
  const put = (target: string, fault: object) =>
    new Person().request('PUT', `${simulators.adminUrl}/faults/${target}`, { body: JSON.stringify(fault) });

  test('a target answers with a status, drops the socket, is slow, and works again', async () => {
    const person = new Person();
    const ask = () => person.get(simulators.identity.jwksUri);
    await put('identity', { kind: 'error', status: 503 });
    expect((await ask()).status).toBe(503);
    await put('identity', { kind: 'drop' });
    await expect(ask()).rejects.toThrow();
    await put('identity', { kind: 'slow', delayMs: 300 });
    const startedAtMs = performance.now();
    expect((await ask()).status).toBe(200);
    expect(performance.now() - startedAtMs).toBeGreaterThan(290);
    await person.request('DELETE', `${simulators.adminUrl}/faults`);
    expect((await ask()).status).toBe(200);
  });

  test.each(['identity', 'notebook', 'facade', 'systems'] as const)('%s fails alone', async (target) => {
    expect((await put(target, { kind: 'error', status: 500 })).status).toBe(200);
    const person = new Person();
    const statuses = {
      identity: (await person.get(simulators.identity.jwksUri)).status,
      notebook: (await person.get(simulators.notebook.jwksUri)).status,
      facade: (await person.get(simulators.facade.url)).status,
      systems: (await person.get(simulators.systems.url)).status,
    };
    const working = { identity: 200, notebook: 200, facade: 401, systems: 401 };
    expect(statuses).toEqual({ ...working, [target]: 500 });
    const faults = await person.get(`${simulators.adminUrl}/faults`);
    expect(faults.json()).toMatchObject({ [target]: { kind: 'error', status: 500 } });
  });

  test('what is no fault or no target is refused', async () => {
    expect((await put('identity', { kind: 'slow' })).status).toBe(400);
    expect((await put('nobody', { kind: 'drop' })).status).toBe(404);
  });

  test('requests are counted by target, method and first path segment', async () => {
    const person = new Person();
    await person.request('DELETE', `${simulators.adminUrl}/requests`);
    await signIn(person, 'notebook');
    const counts = (await person.get(`${simulators.adminUrl}/requests`)).json();
    expect(counts).toMatchObject({ 'notebook POST /token': 1, 'notebook POST /interaction': 1 });
  });
});

test('a hundred people sign in at once', async () => {
  const startedAtMs = performance.now();
  const people = simulators.people.slice(-100).map(({ username }) => new Person({ username }));
  const subjects = await Promise.all(
    people.map(async (person) => (await signIn(person, 'identity')).claims?.sub),
  );
  expect(subjects).toEqual(people.map(({ username }) => subjectOf(username, 'identity')));
  if (process.env.SHOW_TIMES) console.log(`100 sign-ins: ${Math.round(performance.now() - startedAtMs)} ms`);
});

test('as a process they print their facts, serve, and stop on SIGTERM', async () => {
  const child = spawn(
    process.execPath,
    ['--import', 'tsx', 'sim/main.ts', JSON.stringify({ publicUrls: [landing.url], extraPeople: 2 })],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  const exited = once(child, 'exit');
  try {
    const [line] = (await once(createInterface(child.stdout), 'line')) as [string];
    const facts = JSON.parse(line) as SimulatorFacts;
    expect(facts.people).toHaveLength(6);
    expect((await new Person().get(facts.identity.jwksUri)).status).toBe(200);
  } finally {
    child.kill('SIGTERM');
  }
  expect(await exited).toEqual([0, null]);
});
