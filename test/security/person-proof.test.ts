import { afterEach, describe, expect, test, vi } from 'vitest';
import { createMemoryStore } from '../../src/session/memory-store.ts';
import type { Json } from '../fake-provider.ts';
import { Person } from '../person.ts';
import { startProviderStage } from './provider-stage.ts';
import { attempt, authorize, begin, newBrowser, outcome, type Stage, signedIn, startStage } from './stage.ts';

afterEach(() => vi.useRealTimers());

async function outcomeOf(stage: Stage): Promise<unknown[]> {
  const browser = newBrowser();
  return outcome(browser, stage, await attempt(browser, stage));
}

const ago = (seconds: number): number => Math.floor(Date.now() / 1000) - seconds;
const refused = [502, 'provider_answer_invalid', 'nobody'];

describe('S-020 the person has proved who they are within maxAge, and the ID token says so', () => {
  test.each<[string, () => unknown, readonly unknown[]]>([
    ['a minute ago', () => ago(60), signedIn],
    ['as long ago as clocks may differ', () => ago(310), signedIn],
    ['an hour ago', () => ago(3600), refused],
    ['just too long ago', () => ago(332), refused],
    ['it does not say when', () => undefined, refused],
    ['in words', () => String(ago(1)), refused],
    ['nothing', () => null, refused],
  ])('%s', async (_what, authTime, expected) => {
    const stage = await startStage({ provider: () => ({ maxAge: '5m' }) });
    stage.first.behaviour = { claims: { auth_time: authTime() } };
    expect(await outcomeOf(stage)).toEqual(expected);
    const asked = stage.first.requests.find(({ endpoint }) => endpoint === 'authorization')?.parameters;
    expect(asked?.get('max_age')).toBe('300');
  });

  test('where no age is asked for, none is needed', async () => {
    const stage = await startStage();
    stage.first.behaviour = { claims: { auth_time: ago(1e6) } };
    expect(await outcomeOf(stage)).toEqual(signedIn);
  });
});

describe('S-020 the person has proved it in one of the ways that were asked for', () => {
  test.each<[unknown, readonly unknown[]]>([
    ['mfa', signedIn],
    ['hardware', signedIn],
    ['password', refused],
    ['mfa hardware', refused],
    [['mfa'], refused],
    ['', refused],
    [undefined, refused],
  ])('%j', async (acr, expected) => {
    const stage = await startStage({ provider: () => ({ acrValues: ['mfa', 'hardware'] }) });
    stage.first.behaviour = { claims: { acr } };
    expect(await outcomeOf(stage)).toEqual(expected);
    const asked = stage.first.requests.find(({ endpoint }) => endpoint === 'authorization')?.parameters;
    expect(asked?.get('acr_values')).toBe('mfa hardware');
    expect(stage.first.count('userinfo')).toBe(expected === signedIn ? 1 : 0);
  });
});

test('S-020 what counts is what this login asked for, whatever the replica that takes the callback would ask', async () => {
  const store = createMemoryStore();
  const strict = await startStage({
    provider: () => ({ maxAge: '5m', acrValues: ['mfa'] }),
    coatcheck: { store },
  });
  const keys = [{ id: 'k1', secret: Buffer.alloc(32, 7).toString('base64') }];
  const config = (own: Json): Json => ({
    publicUrl: 'http://localhost:8080',
    keys,
    providers: { first: strict.first.config({ ...own, userinfo: false }) },
  });
  const asking = await startStage({
    config: config({ maxAge: '5m', acrValues: ['mfa'] }),
    coatcheck: { store },
  });
  const lenient = await startStage({ config: config({}), coatcheck: { store } });
  for (const [claims, expected] of [
    [{ auth_time: ago(3600), acr: 'mfa' }, 502],
    [{ auth_time: ago(1), acr: 'password' }, 502],
    [{ auth_time: ago(1), acr: 'mfa' }, 303],
  ] as const) {
    strict.first.behaviour = { claims };
    const browser = newBrowser();
    const callback = await authorize(await begin(browser, asking));
    const answer = await browser.get(`${lenient.publicUrl}${callback.pathname}${callback.search}`);
    expect(answer.status).toBe(expected);
  }
});

test('S-020 a provider where the person signed in long ago asks again', async () => {
  const { publicUrl, requests } = await startProviderStage({
    client: { clientSecret: 'secret' },
    provider: { acr: 'mfa' },
    config: { clientSecret: 'secret', maxAge: '10m', acrValues: ['mfa'] },
  });
  const person = new Person();
  const asked = (): number =>
    requests.filter((request) => request.startsWith('POST http /interaction')).length;
  const signIn = async (): Promise<void> => {
    await person.signIn(publicUrl, '/auth/session');
    expect((await person.get(`${publicUrl}/auth/session`)).status).toBe(200);
  };
  await signIn();
  await signIn();
  expect(asked()).toBe(1);
  vi.useFakeTimers({ toFake: ['Date'] });
  vi.setSystemTime(Date.now() + 11 * 60_000);
  await signIn();
  expect(asked()).toBe(2);
});
