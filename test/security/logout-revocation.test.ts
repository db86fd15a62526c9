import type { ServerResponse } from 'node:http';
import { expect, test } from 'vitest';
import { answerJson, type FakeProvider, type RecordedRequest } from '../fake-provider.ts';
import type { Answer, Person } from '../person.ts';
import { attempt, newBrowser, type Stage, startStage } from './stage.ts';

/** Offers revocation, and issues these tokens. */
function offer(provider: FakeProvider, name: string, more: FakeProvider['behaviour'] = {}): void {
  provider.behaviour = {
    metadata: { revocation_endpoint: `${provider.issuer}/revocation` },
    token: { access_token: `access of ${name}`, refresh_token: `refresh of ${name}` },
    ...more,
  };
}

const revocations = ({ requests }: FakeProvider): RecordedRequest[] =>
  requests.filter(({ endpoint }) => endpoint === 'revocation');
const tokensAt = (provider: FakeProvider): (string | null)[] =>
  revocations(provider).map(({ parameters }) => parameters.get('token'));
const both = (name: string): string[] => [`refresh of ${name}`, `access of ${name}`];

async function signIn(stage: Stage): Promise<Person> {
  const browser = newBrowser();
  expect((await attempt(browser, stage)).status).toBe(303);
  return browser;
}

const post = (browser: Person, { publicUrl }: Stage, path = '/auth/logout'): Promise<Answer> =>
  browser.request('POST', publicUrl + path, { headers: { 'x-coatcheck-csrf': '1' } });

async function isSignedIn(browser: Person, { publicUrl }: Stage): Promise<boolean> {
  return (await browser.get(`${publicUrl}/auth/session`)).status === 200;
}

test('S-082 at logout each provider gets its own tokens and no others, with the proof of the client', async () => {
  const stage = await startStage({
    both: true,
    provider: () => ({ userinfo: false }),
    later: { userinfo: false, sameUser: 'sub' },
  });
  offer(stage.first, 'first');
  offer(stage.second, 'second');
  const browser = await signIn(stage);
  expect((await post(browser, stage)).status).toBe(303);
  await expect.poll(() => tokensAt(stage.first)).toEqual(both('first'));
  await expect.poll(() => tokensAt(stage.second)).toEqual(both('second'));
  for (const { method, target, headers, parameters } of [stage.first, stage.second].flatMap(revocations)) {
    expect([method, target]).toEqual(['POST', '/revocation']);
    expect(headers.authorization).toMatch(/^Basic /);
    expect(parameters.get('token_type_hint')).toBe(parameters.get('token')?.replace(/ of .*/, '_token'));
  }
});

const refusals: readonly [string, number, number][] = [
  ['200 is the end of it', 200, 2],
  ['400 is the end of it', 400, 2],
  ['401 is the end of it', 401, 2],
];

test.each(refusals)('S-082 an answer of %s', async (_title, status, count) => {
  const stage = await startStage({ provider: () => ({ userinfo: false }) });
  offer(stage.first, 'first', {
    token: { access_token: 'access of first', refresh_token: 'refresh of first' },
    answer: { revocation: (response) => answerJson(response, { error: 'unsupported_token_type' }, status) },
  });
  const browser = await signIn(stage);
  await post(browser, stage);
  await expect.poll(() => revocations(stage.first).length).toBe(count);
  const unrevoked = stage.logLines.filter((line) => line.includes('token.not_revoked'));
  expect(await isSignedIn(browser, stage)).toBe(false);
  await expect.poll(() => revocations(stage.first).length).toBe(count);
  expect(unrevoked.length > 0).toBe(status !== 200);
  expect(unrevoked.join()).not.toMatch(/of first/);
});

test('S-082 503 means that the token is valid yet: it is tried again, and only so often', async () => {
  const stage = await startStage({ provider: () => ({ userinfo: false }) });
  let failures = 2;
  const revocation = (response: ServerResponse): void => {
    failures -= 1;
    response.writeHead(failures >= 0 ? 503 : 200).end();
  };
  offer(stage.first, 'first', { answer: { revocation } });
  await post(await signIn(stage), stage);
  const [refresh = '', access = ''] = both('first');
  stage.first.behaviour.token = { access_token: access, refresh_token: refresh };
  await expect.poll(() => revocations(stage.first).length, { timeout: 10_000 }).toBe(3 + 1);
  failures = Number.POSITIVE_INFINITY;
  await post(await signIn(stage), stage);
  const given = (): number => stage.logLines.filter((line) => line.includes('token.not_revoked')).length;
  await expect.poll(given, { timeout: 30_000 }).toBe(2);
  expect(revocations(stage.first).length).toBeLessThanOrEqual(4 + 2 * 5);
}, 45_000);

test('S-082 a provider that is silent holds up neither the logout nor the end of the process', async () => {
  const stage = await startStage({ provider: () => ({ userinfo: false }) });
  offer(stage.first, 'first', { answer: { revocation: () => undefined } });
  const replica = await stage.startReplica();
  const browser = await signIn(stage);
  const cookie = `__Host-coatcheck=${browser.cookies('localhost').get('__Host-coatcheck')}`;
  expect(cookie.length).toBeGreaterThan(30);
  const beganAtMs = performance.now();
  expect((await post(browser, stage)).status).toBe(303);
  expect(performance.now() - beganAtMs).toBeLessThan(900);
  expect(await isSignedIn(browser, stage)).toBe(false);
  await expect.poll(() => revocations(stage.first).length).toBe(1);
  await replica.close();
});

test('S-082 a provider that offers no revocation, or is not to be asked, is sent nothing', async () => {
  const stage = await startStage({
    both: true,
    provider: () => ({ userinfo: false }),
    later: { userinfo: false, sameUser: 'sub', revokeAtLogout: false },
  });
  offer(stage.first, 'first', { metadata: {} });
  offer(stage.second, 'second');
  const browser = await signIn(stage);
  await post(browser, stage);
  expect(await isSignedIn(browser, stage)).toBe(false);
  expect([stage.first, stage.second].map((provider) => provider.count('revocation'))).toEqual([0, 0]);
  expect(stage.logLines.join()).not.toContain('token.not_revoked');
});

test('S-082 tokens that a refresh brings after the logout are revoked too', async () => {
  const stage = await startStage({
    provider: () => ({ userinfo: false }),
    config: { upstreams: { late: { url: 'http://127.0.0.1:9', provider: 'first' } } },
  });
  const old = { access_token: 'access of old', refresh_token: 'refresh of old' };
  offer(stage.first, 'old', { token: { ...old, expires_in: 0 } });
  const browser = await signIn(stage);
  let answer: (() => void) | undefined;
  stage.first.behaviour.answer = {
    token: (response) => {
      const { access_token, refresh_token } = {
        access_token: 'access of late',
        refresh_token: 'refresh of late',
      };
      answer = () => answerJson(response, { access_token, refresh_token, token_type: 'Bearer' });
    },
  };
  const call = browser.get(`${stage.publicUrl}/api/late/x`);
  await expect.poll(() => answer).toBeDefined();
  const cookie = `__Host-coatcheck=${browser.cookies('localhost').get('__Host-coatcheck')}`;
  const headers = { 'x-coatcheck-csrf': '1', cookie };
  await newBrowser().request('POST', `${stage.publicUrl}/auth/logout`, { headers });
  answer?.();
  expect((await call).status).toBe(401);
  await expect.poll(() => tokensAt(stage.first).sort()).toEqual([...both('late'), ...both('old')].sort());
});

test('S-082 ending everything revokes the tokens of whatever this replica has in memory', async () => {
  const stage = await startStage({ provider: () => ({ userinfo: false }) });
  offer(stage.first, 'one');
  expect(await isSignedIn(await signIn(stage), stage)).toBe(true);
  offer(stage.first, 'two');
  await post(await signIn(stage), stage, '/auth/logout-everywhere');
  await expect.poll(() => tokensAt(stage.first).sort()).toEqual([...both('one'), ...both('two')].sort());
});
