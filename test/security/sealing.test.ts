import { randomBytes } from 'node:crypto';
import { setImmediate as breath } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Gateway } from '../../src/gateway/server.ts';
import { readTicket } from '../../src/session/ticket.ts';
import { type Answer, Person } from '../person.ts';
import { startWorld, type World } from '../world.ts';
import { openRawStore, type RawStore } from './raw-store.ts';
import { createSideCoatcheck, mintCookie, startSideGateway } from './side-gateway.ts';

let world: World;
let raw: RawStore;
beforeAll(async () => {
  world = await startWorld();
  raw = await openRawStore(world.redis.url);
});
afterAll(async () => {
  raw.close();
  await world.close();
});

const anyone = new Person();
const ask = (cookie: string, base: string = world.publicUrl): Promise<Answer> =>
  anyone.get(`${base}/auth/session`, { headers: { cookie } });

const cookieOf = (person: Person): string =>
  `__Host-coatcheck=${person.cookies('localhost').get('__Host-coatcheck')}`;

const keyOf = (cookie: string): string =>
  `cc:s:{${readTicket(cookie.replace('__Host-coatcheck=', ''))?.sessionId}}`;

interface Told {
  readonly user: { readonly subject: string };
  readonly absoluteExpiresAt: string;
}

describe('a dump of the store', () => {
  test('S-066 holds no token, no person, and no secret of ours', async () => {
    const side = await createSideCoatcheck(world);
    const person = await world.signIn('ada');
    const minted = await mintCookie(side, 'eve');
    await side.close();
    // A transaction that is under way has tokens of the first provider in it too.
    await anyone.get(`${world.publicUrl}/auth/login`, { kind: 'navigation' });
    const dump = await raw.dump();
    expect(dump.length).toBeGreaterThan(1500);
    const key = String((world.input.keys as { secret: string }[])[0]?.secret);
    const secrets = [
      'canary',
      'Lovelace',
      'ada@example',
      'employee-',
      'example.com',
      '127.0.0.1',
      'eyJ',
      key,
    ];
    for (const secret of [...secrets, Buffer.from(key, 'base64')]) {
      expect(dump.includes(secret), String(secret)).toBe(false);
    }
    for (const cookie of [cookieOf(person), minted]) {
      const ticket = readTicket(cookie.replace('__Host-coatcheck=', ''));
      expect(ticket).toBeDefined();
      expect(dump.includes(ticket?.secret ?? '')).toBe(false);
      expect(dump.includes(ticket?.value.slice(3) ?? '')).toBe(false);
    }
  });

  test('S-068 gives no usable cookie: keys hold a hash of the ticket', async () => {
    const cookie = cookieOf(await world.signIn('ada'));
    expect(await raw.keys('cc:s:*')).toContain(keyOf(cookie));
    for (const key of await raw.keys('cc:s:*')) {
      const id = /\{(.*)\}/.exec(key)?.[1] ?? '';
      expect(cookie).not.toContain(id);
      expect((await ask(`__Host-coatcheck=v1.${id}`)).status).toBe(401);
    }
  });
});

describe('what somebody who can write to the store gets from it', () => {
  test("S-066 two people's values exchanged: both are signed out, neither is the other", async () => {
    const [ada, eve] = [cookieOf(await world.signIn('ada')), cookieOf(await world.signIn('lise'))];
    const [first, second] = [await raw.read(keyOf(ada)), await raw.read(keyOf(eve))];
    await raw.overwrite(keyOf(ada), second);
    await raw.overwrite(keyOf(eve), first);
    // At once the gateway cannot tell this from replies that were mixed up, and then says so by a 503.
    for (const cookie of [ada, eve]) await expect.poll(async () => (await ask(cookie)).status).toBe(401);
    // With the owner's mark corrected too, the seal decides.
    const forged = Buffer.from(second);
    first.copy(forged, 1, 1, 17);
    await raw.overwrite(keyOf(ada), forged);
    await expect.poll(async () => (await ask(ada)).status).toBe(401);
    await raw.remove(keyOf(ada));
    await raw.remove(keyOf(eve));
  });

  test('S-066 any byte changed: no session or the same one, for no longer, and never a defect', async () => {
    const cookie = cookieOf(await world.signIn('ada'));
    const honest = (await ask(cookie)).json<Told>();
    const value = await raw.read(keyOf(cookie));
    expect(value.length).toBeGreaterThan(500);
    const seen = new Map<number, number>();
    // The owner's mark comes last: where it is wrong the connection is given up, as for mixed-up replies.
    const positions = [...value.keys()].filter((at) => at === 0 || at > 16);
    for (const at of [...positions, 1, 8, 16]) {
      const changed = Buffer.from(value);
      changed[at] = (changed[at] ?? 0) ^ (1 << (at & 7));
      await raw.overwrite(keyOf(cookie), changed);
      const answer = await ask(cookie);
      seen.set(answer.status, (seen.get(answer.status) ?? 0) + 1);
      expect([200, 401, ...(at >= 1 && at <= 16 ? [503] : [])], `byte ${at}`).toContain(answer.status);
      if (answer.status !== 200) continue;
      expect(at, 'only the plain header may change without a trace').toBeLessThan(33);
      const told = answer.json<Told>();
      expect(told.user).toEqual(honest.user);
      expect(Date.parse(told.absoluteExpiresAt)).toBeLessThanOrEqual(Date.parse(honest.absoluteExpiresAt));
    }
    expect(seen.get(401)).toBeGreaterThan(500);
    await raw.remove(keyOf(cookie));
    await expect.poll(async () => (await ask(cookie)).status).toBe(401);
  });
});

describe('rotation of keys', () => {
  const k1 = { id: 'k1', secret: randomBytes(32).toString('base64') };
  const k2 = { id: 'k2', secret: randomBytes(32).toString('base64') };

  test('S-067 under load, across two replicas, it signs nobody out; an old key removed ends its sessions cleanly', async () => {
    const cookies: string[] = [];
    const mint = async (keys: object[]): Promise<void> => {
      const side = await createSideCoatcheck(world, { keys });
      cookies.push(await mintCookie(side, `person-${cookies.length}`));
      await side.close();
    };
    const start = (keys: object[]): Promise<Gateway> => startSideGateway(world, { keys });
    const replicas = [await start([k1]), await start([k1])];
    let rotating = true;
    const statuses = new Map<number, number>();
    const load = (async () => {
      while (rotating) {
        for (const cookie of cookies) {
          for (const { address } of replicas) {
            const { status } = await ask(cookie, address);
            statuses.set(status, (statuses.get(status) ?? 0) + 1);
          }
        }
        await breath();
      }
    })();
    /** Every session has been asked for on every replica once more. */
    const fullRound = (): Promise<void> => {
      const before = answers();
      return expect.poll(answers).toBeGreaterThan(before + 3 * cookies.length);
    };
    const answers = (): number => [...statuses.values()].reduce((sum, count) => sum + count, 0);
    await mint([k1]);
    await fullRound();
    // First every replica learns to open with the new key, then they begin to seal with it, one after the other.
    for (const keys of [
      [k1, k2],
      [k2, k1],
    ]) {
      for (const at of replicas.keys()) {
        const old = replicas[at];
        replicas[at] = await start(keys);
        await mint(keys);
        await fullRound();
        await old?.close();
      }
    }
    rotating = false;
    await load;
    expect([...statuses.keys()]).toEqual([200]);

    const young = await start([k2]);
    const after = [];
    for (const cookie of cookies) after.push((await ask(cookie, young.address)).status);
    expect(after).toEqual([401, 401, 401, 200, 200]);
    await Promise.all([young, ...replicas].map((gateway) => gateway.close()));
  });
});
