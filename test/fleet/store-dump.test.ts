/** What somebody gets who copies the whole store of a working fleet, or writes to it. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { SimulatorFacts } from '../../sim/simulators.ts';
import { readTicket } from '../../src/session/ticket.ts';
import { Person } from '../person.ts';
import { openRawStore, type RawStore } from '../security/raw-store.ts';
import { BrowserTrace } from './browser-trace.ts';
import { Canaries } from './canaries.ts';
import { inParallel } from './in-parallel.ts';
import { type ConfigChange, Orchestrator } from './orchestrator.ts';
import { startTokenWiretap, type TokenWiretap } from './token-wiretap.ts';

let fleet: Orchestrator;
let raw: RawStore;
let taps: TokenWiretap[];
const trace = new BrowserTrace();
const canaries = new Canaries();
const clientSecrets: string[] = [];

/** The usual providers with their token endpoints behind wiretaps, and with short sessions. */
const tapped = ({ identity, notebook }: SimulatorFacts): ConfigChange => {
  const [identityTap, notebookTap] = taps;
  const common = { discovery: false, clientId: identity.clientId };
  return {
    session: { idleTimeout: '5m' },
    providers: {
      identity: {
        ...common,
        issuer: identity.issuer,
        authorizationEndpoint: identity.authorizationEndpoint,
        tokenEndpoint: identityTap?.url,
        jwksUri: identity.jwksUri,
        clientSecret: identity.clientSecret,
      },
      notebook: {
        ...common,
        issuer: notebook.issuer,
        authorizationEndpoint: notebook.authorizationEndpoint,
        tokenEndpoint: notebookTap?.url,
        jwksUri: notebook.jwksUri,
        userinfoEndpoint: notebook.userinfoEndpoint,
        clientSecret: notebook.clientSecret,
        sameUser: 'email',
      },
    },
  };
};

beforeAll(async () => {
  taps = [];
  fleet = await Orchestrator.start({
    config: async (simulators) => {
      const { identity, notebook } = simulators;
      taps = [
        await startTokenWiretap(identity.tokenEndpoint),
        await startTokenWiretap(notebook.tokenEndpoint),
      ];
      clientSecrets.push(identity.clientSecret, notebook.clientSecret);
      return tapped(simulators);
    },
  });
  raw = await openRawStore(fleet.storeUrl);
});
afterAll(async () => {
  raw?.close();
  await fleet?.close();
  await Promise.all([trace.agent.close(), ...taps.map((tap) => tap.close())]);
});

const newPerson = (username: string): Person => new Person({ username, agent: trace.agent });
const sessionStatus = async (person: Person, base: string = fleet.url): Promise<number> =>
  (await person.get(`${base}/auth/session`)).status;
const ticketOf = (person: Person) => readTicket(person.cookies('localhost').get('__Host-coatcheck') ?? '');
const keyOf = (person: Person): string => `cc:s:{${ticketOf(person)?.sessionId}}`;

/** Signs in as far as this address, and leaves. */
async function leaveAt(person: Person, isThere: (url: URL) => boolean): Promise<void> {
  const left = new Error('the person leaves');
  trace.onRequest = (url) => {
    if (isThere(url)) throw left;
    return undefined;
  };
  await expect(person.signIn(fleet.url)).rejects.toBe(left);
  trace.onRequest = () => undefined;
}

/** Everything secret that has passed between browser, gateway and providers. */
function collectCanaries(): void {
  for (const { url, headers } of trace.requests) {
    for (const { searchParams } of [url, new URL(headers.location ?? '', url)]) {
      for (const name of ['state', 'nonce', 'code', 'code_challenge']) {
        canaries.add(name, ...searchParams.getAll(name));
      }
    }
    for (const line of [headers['set-cookie'] ?? []].flat()) {
      const value = /^__Host-[^=]+=(?:[a-z]\d\.)?([^;]+)/.exec(line)?.[1];
      if (value !== undefined) canaries.add('cookie', value, Buffer.from(value, 'base64url').toString('hex'));
    }
  }
  for (const { values } of taps) {
    for (const name of ['code', 'code_verifier', 'access_token', 'refresh_token', 'id_token']) {
      for (const value of values.get(name) ?? [])
        canaries.add(name, value, ...value.split('.').filter(isLong));
    }
  }
  for (const person of fleet.simulators.people) {
    canaries.add('person', person.name, person.email, person.subjects.identity, person.subjects.notebook);
  }
  canaries.add('client secret', ...clientSecrets);
}

const isLong = (part: string): boolean => part.length >= 16;

describe('a copy of the whole store', () => {
  const ada = newPerson('ada');
  const rosalind = newPerson('rosalind');
  const gregor = newPerson('gregor');
  let copies: Buffer[];

  beforeAll(async () => {
    copies = [];
    // Under way: no provider has answered yet; and the first one has, so its tokens wait in the store.
    await leaveAt(newPerson('lise'), (url) => url.origin === fleet.simulators.identity.issuer);
    await leaveAt(newPerson('lise'), (url) => url.origin === fleet.simulators.notebook.issuer);
    for (const person of [ada, rosalind, gregor]) await person.signIn(fleet.url, '/auth/session');
    copies.push(await raw.dump());
    // A replica with a longer idle timeout extends what it serves.
    const before = await raw.ttlMs(keyOf(ada));
    const patient = await fleet.start({ session: { idleTimeout: '1h' } });
    const cookie = `__Host-coatcheck=${ticketOf(ada)?.value}`;
    const answer = await ada.get(`${fleet.urlOf(patient)}/auth/session`, { headers: { cookie } });
    expect(answer.status).toBe(200);
    expect((await raw.ttlMs(keyOf(ada))) - before).toBeGreaterThan(50 * 60_000);
    for (const path of ['/api/eln/entities', '/api/systems/employees/me']) {
      expect((await ada.get(`${fleet.url}${path}`)).status).toBe(200);
    }
    copies.push(await raw.dump());
    expect((await gregor.request('POST', `${fleet.url}/auth/logout`)).status).toBe(303);
    copies.push(await raw.dump());
    collectCanaries();
  });

  test('S-066 shows no token, code, verifier, state, cookie or person, whatever was under way', async () => {
    const { counts } = canaries;
    console.log(`searched three copies of the store for ${JSON.stringify(counts)}`);
    expect(counts).toMatchObject({ access_token: expect.any(Number), id_token: expect.any(Number) });
    const least = {
      state: 8,
      code: 7,
      code_verifier: 7,
      code_challenge: 8,
      cookie: 8,
      refresh_token: 7,
      person: 16,
    };
    for (const [kind, number] of Object.entries(least)) {
      expect(counts[kind], kind).toBeGreaterThanOrEqual(number);
    }
    for (const copy of copies) {
      expect(copy.length).toBeGreaterThan(5000);
      expect(canaries.readableIn(copy)).toEqual([]);
    }
    // The search can find.
    const [token = ''] = taps[0]?.values.get('access_token') ?? [];
    const planted = Buffer.from(Buffer.from(`x${token}`).toString('base64url'));
    expect(canaries.readableIn(Buffer.concat([...copies, planted]))).toEqual(['access_token']);
  });

  test('S-072 every key has a time to live, no longer than its use', async () => {
    const longestMs: Readonly<Record<string, number>> = {
      s: 3_600_000,
      o: 600_000,
      i: 12 * 3_600_000,
      l: 60_000,
    };
    const keys = await raw.keys();
    expect(new Set(keys.map((key) => key.slice(0, 5)))).toEqual(new Set(['cc:s:', 'cc:o:', 'cc:i:']));
    for (const key of keys) {
      const ttlMs = await raw.ttlMs(key);
      expect(ttlMs, key).toBeGreaterThan(0);
      expect(ttlMs, key).toBeLessThanOrEqual(longestMs[key.charAt(3)] ?? 0);
    }
  });

  test('S-068 has nothing in it that is a usable cookie', async () => {
    const copy = (await raw.dump()).toString('latin1');
    const keys = await raw.keys();
    const candidates = new Set(keys.flatMap((key) => [key, key.slice(6, -1)]));
    for (const [run] of copy.matchAll(/[\w-]{43,}/g)) {
      for (let at = 0; at + 43 <= run.length; at += 1) candidates.add(run.slice(at, at + 43));
    }
    // Every 32 bytes of a session and of a transaction, as a ticket is spelled.
    for (const key of [keyOf(ada), keys.find((name) => name.startsWith('cc:o:')) ?? '']) {
      const value = await raw.read(key);
      for (let at = 0; at + 32 <= value.length; at += 1) {
        candidates.add(value.subarray(at, at + 32).toString('base64url'));
      }
    }
    const [name = ''] = fleet.names;
    const tried = await inParallel([...candidates], 32, async (candidate) => {
      const cookie = `__Host-coatcheck=v1.${candidate}`;
      return (await ada.get(`${fleet.urlOf(name)}/auth/session`, { headers: { cookie } })).status;
    });
    const statuses = new Set(tried);
    console.log(`${candidates.size} pieces of the store were tried as cookies: ${[...statuses]}`);
    expect(statuses).toEqual(new Set([401]));
    expect(candidates.size).toBeGreaterThan(1000);
    expect(await sessionStatus(ada)).toBe(200);
  });

  test("S-066 two people's values exchanged are no session for either, and touch nobody else", async () => {
    const lise = newPerson('lise');
    await lise.signIn(fleet.url, '/auth/session');
    const [own, other] = [await raw.read(keyOf(ada)), await raw.read(keyOf(rosalind))];
    const exchange = async (first: Buffer, second: Buffer): Promise<void> => {
      await raw.overwrite(keyOf(ada), first);
      await raw.overwrite(keyOf(rosalind), second);
    };
    const statuses = async (): Promise<number[]> => {
      const everywhere = fleet.names.flatMap(() => [sessionStatus(ada), sessionStatus(rosalind)]);
      return [...new Set(await Promise.all(everywhere))];
    };
    /** A sealed body under the other one's plain header. */
    const graft = (header: Buffer, body: Buffer): Buffer =>
      Buffer.concat([header.subarray(0, 33), body.subarray(33)]);

    await exchange(other, own);
    // At first a replica cannot tell this from replies that were mixed up; then it says 503 and asks again.
    await expect.poll(statuses, { timeout: 10_000 }).toEqual([401]);
    expect(await sessionStatus(lise)).toBe(200);
    await exchange(graft(own, other), graft(other, own));
    await expect.poll(statuses, { timeout: 10_000 }).toEqual([401]);
    expect(await sessionStatus(lise)).toBe(200);
    await exchange(own, other);
    await expect.poll(statuses, { timeout: 10_000 }).toEqual([200]);
    expect((await ada.get(`${fleet.url}/auth/session`)).json()).toMatchObject({
      user: { claims: { name: 'Ada Lovelace' } },
    });
  });
});
