/** Rows of the yardstick that memory in each replica could break: near cache on, a real Redis. */
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { sufficientRule } from '../../src/doctor/store-permissions.ts';
import { userIndex } from '../../src/session/session.ts';
import { readTicket } from '../../src/session/ticket.ts';
import { createAuthority } from '../certificates.ts';
import { type ChaosProxy, startChaosProxy } from '../fleet/truth/chaos-proxy.ts';
import { seededRandom } from '../random.ts';
import { ask, countCommands, type RedisServer, startRedisServer } from '../redis-server.ts';
import { startReplyProxy } from '../reply-proxy.ts';
import { openReplica, type SideReplica } from './replica.ts';

const second = 1000;
const minute = 60 * second;
const unavailable = { code: 'store_unavailable' };
const told = { timeout: 2000, interval: 1 };

let redis: RedisServer;
beforeAll(async () => {
  redis = await startRedisServer();
});
afterAll(() => redis.stop());

const commandsOf = async (work: () => Promise<unknown>, server = redis): Promise<string[]> =>
  (await countCommands(server.url, work)).map(([name = '']) => name).filter((name) => name !== 'PING');

const keyOf = (ticket: string): string => `cc:s:{${readTicket(ticket)?.sessionId}}`;

/** Loads a session until it comes from memory. */
const keep = (replica: SideReplica, ticket: string, server = redis): Promise<void> =>
  expect.poll(() => commandsOf(() => replica.load(ticket), server)).toEqual([]);

describe('where time passes', () => {
  let nowMs = 0;
  let first: SideReplica;
  let other: SideReplica;
  beforeEach(async () => {
    nowMs = Date.now();
    const options = {
      store: { url: redis.url, nearCache: { maximumAge: '10m' } },
      session: { idleTimeout: '1m', absoluteTimeout: '2m' },
      now: () => nowMs,
    };
    [first, other] = await Promise.all([openReplica(options), openReplica(options)]);
  });

  test('S-049 S-051 a session in memory ends with its idle timeout, though the store tells nothing', async () => {
    const ticket = await first.signIn('ada');
    for (const replica of [first, other]) await keep(replica, ticket);
    nowMs += 29 * second;
    expect(await commandsOf(async () => expect(await other.load(ticket)).toBeDefined())).toEqual([]);
    nowMs += 31 * second;
    for (const replica of [first, other]) expect(await replica.load(ticket)).toBeUndefined();
    expect(await ask(redis, 'EXISTS', keyOf(ticket))).toBe(1); // the server has its own clock, and it is earlier
  });

  test('S-049 use at one replica prolongs what another has in memory', async () => {
    const ticket = await first.signIn('ada');
    for (const replica of [first, other]) await keep(replica, ticket);
    const idleDeadlineMs = nowMs + 100 * second;
    nowMs += 40 * second;
    expect(await first.load(ticket)).toMatchObject({ idleDeadlineMs });
    nowMs += 19 * second;
    await expect.poll(() => other.load(ticket), told).toMatchObject({ idleDeadlineMs });
    nowMs += 40 * second;
    expect(await other.load(ticket)).toBeDefined(); // its first deadline was long ago
  });

  test('S-050 steady use of a session in memory carries it to its absolute timeout and no further', async () => {
    const ticket = await first.signIn('ada');
    const endMs = nowMs + 2 * minute;
    for (; nowMs < endMs; nowMs += 10 * second) {
      for (const replica of [first, other]) {
        const session = await replica.load(ticket);
        expect(session).toMatchObject({ absoluteDeadlineMs: endMs });
        expect(session?.idleDeadlineMs).toBeLessThanOrEqual(endMs);
      }
      expect(Number(await ask(redis, 'PEXPIRETIME', keyOf(ticket)))).toBeLessThanOrEqual(endMs);
    }
    for (const replica of [first, other]) expect(await replica.load(ticket)).toBeUndefined();
  });
});

describe('where somebody signs out', () => {
  let proxy: ChaosProxy;
  let first: SideReplica;
  /** Hears of changes only while the proxy lets it. */
  let behind: SideReplica;
  const maximumAgeMs = 2000;
  beforeEach(async () => {
    proxy = await startChaosProxy(redis.port, seededRandom(51));
    first = await openReplica({ store: { url: redis.url } });
    behind = await openReplica({
      store: { url: proxy.url, nearCache: { maximumAge: `${maximumAgeMs}ms` } },
    });
    return () => proxy.close();
  });

  /** How long after each sign-out the other replica last served the session, in ms. */
  const servedFor = (tickets: readonly string[]): Promise<number[]> =>
    Promise.all(
      tickets.map(async (ticket) => {
        expect(await behind.load(ticket)).toBeDefined();
        expect(await first.destroy(ticket)).toBe(true);
        const endedMs = performance.now();
        let servedMs = 0;
        for (;;) {
          const askedMs = performance.now() - endedMs;
          if ((await behind.load(ticket)) === undefined) return servedMs;
          servedMs = askedMs;
          await new Promise((resolve) => setImmediate(resolve));
        }
      }),
    );
  const signInMany = (): Promise<string[]> =>
    Promise.all(Array.from({ length: 100 }, (_, number) => first.signIn(`person ${number}`)));

  test('S-051 S-052 every replica refuses within the maximum age where no invalidation gets through', async () => {
    const tickets = await signInMany();
    proxy.begin('deaf');
    const times = await servedFor(tickets);
    expect(Math.max(...times)).toBeLessThanOrEqual(maximumAgeMs + 2); // clocks that count in whole ms
    expect(Math.max(...times)).toBeGreaterThan(maximumAgeMs / 4); // none did get through
  });

  test('S-051 S-052 and at once where they do', async () => {
    expect(Math.max(...(await servedFor(await signInMany())))).toBeLessThan(maximumAgeMs / 4);
  });

  test('S-051 a new sign-in ends the session before it where it happens, even if no invalidation gets through', async () => {
    const before = await first.signIn('ada');
    expect(await behind.load(before)).toBeDefined();
    proxy.begin('deaf');
    const after = await behind.signIn('ada', before);
    expect(await behind.load(before)).toBeUndefined();
    expect(await behind.load(after)).toBeDefined();
  });

  test('S-053 a load that was answered before the sign-out and arrives after it keeps nothing', async () => {
    const tickets = await signInMany();
    proxy.begin('delay');
    await Promise.all(
      tickets.map(async (ticket) => {
        const load = behind.load(ticket);
        await first.destroy(ticket);
        await load;
      }),
    );
    proxy.calm();
    await expect
      .poll(async () => (await Promise.all(tickets.map((ticket) => behind.load(ticket)))).filter(Boolean), {
        timeout: maximumAgeMs / 2,
        interval: 10,
      })
      .toEqual([]);
  });

  test('S-054 ending one session of a person leaves their other one, in memory and in the index', async () => {
    const [laptop, phone] = [await first.signIn('lise'), await first.signIn('lise')];
    for (const ticket of [laptop, phone]) await keep(first, ticket);
    expect(await behind.destroy(laptop)).toBe(true);
    await expect.poll(() => first.load(laptop), told).toBeUndefined();
    expect(await commandsOf(async () => expect(await first.load(phone)).toBeDefined())).toEqual([]);
    const index = userIndex({ issuer: 'https://identity.example.com', subject: 'lise' });
    expect(await ask(redis, 'ZRANGE', `cc:i:{${index}}`, '0', '-1')).toEqual([readTicket(phone)?.sessionId]);
  });
});

test('S-064 replies that were mixed up never bring the session of another into memory', async () => {
  const proxy = await startReplyProxy(redis.port);
  onTestFinished(() => proxy.close());
  const minting = await openReplica({ store: { url: redis.url } });
  const replica = await openReplica({
    store: { url: proxy.url, nearCache: { maximumAge: '100ms' } },
  });
  const subjects = Array.from({ length: 20 }, (_, number) => `person ${number}`);
  const tickets = await Promise.all(subjects.map((subject) => minting.signIn(subject)));
  const loadAll = (): Promise<PromiseSettledResult<string | undefined>[]> =>
    Promise.allSettled(tickets.map(async (ticket) => (await replica.load(ticket))?.user.subject));
  const random = seededRandom(64);
  const seen = { right: 0, refused: 0 };
  while (proxy.connections < 8) {
    // What is refused at once leaves no time to connect anew.
    await new Promise(setImmediate);
    proxy.fault = () => (random() < 0.9 ? 'pass' : random() < 0.5 ? 'duplicate' : 'hold');
    const mixed = await loadAll();
    proxy.fault = () => 'pass';
    // The second time from memory, where there is something.
    for (const loads of [mixed, await loadAll()]) {
      for (const [at, load] of loads.entries()) {
        if (load.status === 'rejected') expect(load.reason).toMatchObject(unavailable);
        else expect([subjects[at], undefined]).toContain(load.value);
        seen[load.status === 'fulfilled' && load.value !== undefined ? 'right' : 'refused'] += 1;
      }
    }
  }
  expect(Math.min(seen.right, seen.refused)).toBeGreaterThan(0);
  await expect
    .poll(async () => (await loadAll()).map((load) => load.status === 'fulfilled' && load.value), told)
    .toEqual(subjects);
});

describe('S-069 over TLS, as a user who may do what is advised and no more', () => {
  let server: RedisServer;
  let store: Record<string, unknown>;
  beforeAll(async () => {
    const authority = createAuthority();
    const { certFile, keyFile } = authority.issue('IP:127.0.0.1', 1);
    const { port } = await startRedisServer().then(async (probe) => {
      await probe.stop();
      return probe;
    });
    const tls = ['--tls-cert-file', certFile, '--tls-key-file', keyFile, '--tls-auth-clients', 'no'];
    server = await startRedisServer({ args: ['--tls-port', String(port), ...tls] });
    await ask(server, ...`ACL SETUSER apps reset on >secret ${sufficientRule('cc:')}`.split(' '));
    store = { url: `rediss://apps:secret@127.0.0.1:${port}`, caFile: authority.caFile };
    return async () => {
      await server.stop();
      authority.remove();
    };
  });

  test('memory answers, and whom another replica has signed out is refused', async () => {
    const [one, other] = [await openReplica({ store }), await openReplica({ store })];
    const ticket = await one.signIn('ada');
    await keep(other, ticket, server);
    expect(await one.destroy(ticket)).toBe(true);
    await expect.poll(() => other.load(ticket), told).toBeUndefined();
  });

  test('without leave to be told of changes nothing is answered from memory', async () => {
    await ask(server, 'ACL', 'SETUSER', 'apps', '-client|tracking');
    onTestFinished(async () => void (await ask(server, 'ACL', 'SETUSER', 'apps', '+client|tracking')));
    const [one, other] = [await openReplica({ store }), await openReplica({ store })];
    const ticket = await one.signIn('ada');
    for (let round = 0; round < 3; round += 1)
      expect(await commandsOf(() => other.load(ticket), server)).toEqual(['GET']);
    expect(await one.destroy(ticket)).toBe(true);
    expect(await other.load(ticket)).toBeUndefined();
  });
});

describe('S-070 with sessions in memory', () => {
  /** What a fault may take, by the caller's clock. */
  const boundMs = 500;
  /** A connection that is silent is asked after a second and given up after another. */
  const silenceMs = 2000;

  /** The fault of a load, or the session. */
  const outcome = async (replica: SideReplica, ticket: string): Promise<unknown> => {
    const startMs = performance.now();
    const result = await replica.load(ticket).catch((error: unknown) => error);
    // What is answered at once leaves no time to notice anything.
    await new Promise(setImmediate);
    expect(performance.now() - startMs).toBeLessThan(boundMs);
    // Never "not signed in": that would be a lie about the person.
    expect(result).toBeDefined();
    return result;
  };

  test('a silent store: memory answers for two seconds at most, then every load is a fault, and fast', async () => {
    const server = await startRedisServer();
    onTestFinished(() => server.stop());
    const replica = await openReplica({ store: { url: server.url, deadline: '250ms' } });
    const ticket = await replica.signIn('ada');
    const never = await replica.signIn('lise');
    await keep(replica, ticket, server);
    await server.kill('SIGSTOP');
    const stoppedMs = performance.now();
    let servedMs = 0;
    while (performance.now() - stoppedMs < silenceMs + boundMs) {
      const askedMs = performance.now() - stoppedMs;
      if (!isFault(await outcome(replica, ticket))) servedMs = askedMs;
      expect(await outcome(replica, never)).toMatchObject(unavailable);
    }
    expect(servedMs).toBeLessThan(silenceMs + 100);
    for (let round = 0; round < 20; round += 1)
      expect(await outcome(replica, ticket)).toMatchObject(unavailable);
    await server.kill('SIGCONT');
    for (const one of [ticket, never])
      await expect.poll(() => replica.load(one).catch(() => undefined), { timeout: 5000 }).toBeDefined();
  });

  test.each([
    'LOADING Redis is loading the dataset in memory',
    'READONLY You can’t write against a read only replica.',
    'MASTERDOWN Link with MASTER is down',
    'CLUSTERDOWN The cluster is down',
    'MOVED 42 127.0.0.1:1',
    'OOM command not allowed when used memory > ’maxmemory’.',
    'NOPERM this user has no permissions to run the ’get’ command',
    'NOAUTH Authentication required.',
  ])('a store that answers −%s: each load is a fault, fast, and the store is not stormed', async (reply) => {
    const proxy = await startReplyProxy(redis.port);
    onTestFinished(() => proxy.close());
    const replica = await openReplica({
      store: { url: proxy.url, deadline: '250ms', nearCache: { maximumAge: '300ms' } },
    });
    const ticket = await replica.signIn('ada');
    expect(await replica.load(ticket)).toBeDefined();
    proxy.fault = () => Buffer.from(`-${reply}\r\n`);
    const connections = proxy.connections;
    await expect.poll(async () => isFault(await outcome(replica, ticket)), told).toBe(true);
    const untilMs = performance.now() + 1500;
    while (performance.now() < untilMs) expect(await outcome(replica, ticket)).toMatchObject(unavailable);
    expect(proxy.connections - connections).toBeLessThan(15);
    proxy.fault = () => 'pass';
    await expect.poll(() => replica.load(ticket).catch(() => undefined), { timeout: 5000 }).toBeDefined();
  });

  test('a store that takes five seconds: each load is a fault, fast', async () => {
    const proxy = await startChaosProxy(redis.port, seededRandom(70));
    onTestFinished(() => proxy.close());
    const replica = await openReplica({
      store: { url: proxy.url, deadline: '250ms', nearCache: { maximumAge: '300ms' } },
    });
    const ticket = await replica.signIn('ada');
    expect(await replica.load(ticket)).toBeDefined();
    proxy.begin('delay', 5000);
    await expect.poll(async () => isFault(await outcome(replica, ticket)), told).toBe(true);
    const untilMs = performance.now() + 3000;
    while (performance.now() < untilMs) expect(await outcome(replica, ticket)).toMatchObject(unavailable);
    proxy.calm();
    await expect.poll(() => replica.load(ticket).catch(() => undefined), { timeout: 5000 }).toBeDefined();
  });
});

const isFault = (result: unknown): boolean => result instanceof Error;
