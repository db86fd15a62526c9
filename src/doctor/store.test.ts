import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer } from 'node:net';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { freePort } from '../../demo/free-ports.ts';
import { type Authority, createAuthority } from '../../test/certificates.ts';
import { diagnose, plainInput } from '../../test/findings.ts';
import { type RedisServer, startRedisServer, until } from '../../test/redis-server.ts';
import type { DoctorOptions, Finding } from '../doctor.ts';
import { sufficientRule } from './store-permissions.ts';

let redis: RedisServer;
beforeAll(async () => {
  redis = await startRedisServer();
});
afterAll(() => redis.stop());

/** Sends commands as an operator would; resolves with the last reply. */
const operate = async (port: number, ...commands: string[]): Promise<string> => {
  const socket = connect(port, '127.0.0.1').setEncoding('utf8');
  try {
    await once(socket, 'connect');
    let reply = '';
    for (const command of commands) {
      socket.write(`${command}\r\n`);
      [reply] = await once(socket, 'data');
      if (reply.startsWith('-')) throw new Error(`${command}: ${reply}`);
    }
    return reply;
  } finally {
    socket.destroy();
  }
};

/** A way to the server on which something happens to each piece of a reply. */
const startWay = async (
  port: number,
  happen: (bytes: Buffer, forward: (bytes: Buffer) => unknown) => unknown,
): Promise<{ url: string; close: () => void }> => {
  const way = createServer((client) => {
    const server = connect(port, '127.0.0.1');
    client.on('data', (bytes) => server.write(bytes)).on('close', () => server.destroy());
    server
      .on('data', (bytes: Buffer) => happen(bytes, (changed) => client.write(changed)))
      .on('close', () => client.destroy());
    for (const socket of [client, server]) socket.on('error', () => undefined);
  }).listen(0, '127.0.0.1');
  await once(way, 'listening');
  return { url: `redis://127.0.0.1:${(way.address() as AddressInfo).port}`, close: () => way.close() };
};

interface Changes {
  readonly store?: Record<string, unknown>;
  readonly options?: DoctorOptions;
}

/** What the doctor says of a store. */
const diagnoseStore = (
  url: string,
  { store = {}, options = {} }: Changes = {},
): Promise<Record<string, Finding>> => diagnose(plainInput({ store: { url, ...store } }), options);

const levels = (findings: Record<string, Finding>): Record<string, string> =>
  Object.fromEntries(
    Object.values(findings)
      .filter(({ check }) => check.startsWith('store.'))
      .map(({ check, level }) => [check.slice('store.'.length), level]),
  );

describe('a plain Redis of the package, as it comes', () => {
  test('works, and is risky where everybody may do everything and nothing outlives it', async () => {
    expect(levels(await diagnoseStore(redis.url, { store: { deadline: '10s' } }))).toEqual({
      reachable: 'fine',
      tls: 'fine',
      version: 'fine',
      role: 'fine',
      user: 'risky',
      excess: 'risky',
      tracking: 'fine',
      eviction: 'fine',
      replicas: 'risky',
      clock: 'fine',
      latency: 'fine',
      leftovers: 'fine',
      permissions: 'fine',
    });
  });

  test('is left as it was found', async () => {
    await operate(redis.port, 'SET other:key value');
    await diagnoseStore(redis.url);
    expect(await operate(redis.port, 'DBSIZE')).toBe(':1\r\n');
    expect(await operate(redis.port, 'GETDEL other:key')).toBe('$5\r\nvalue\r\n');
  });

  test('each setting that costs sessions is told with what to do', async () => {
    await operate(redis.port, 'CONFIG SET maxmemory-policy allkeys-lru');
    const findings = await diagnoseStore(redis.url);
    await operate(redis.port, 'CONFIG SET maxmemory-policy volatile-ttl');
    const after = await diagnoseStore(redis.url);
    await operate(redis.port, 'CONFIG SET maxmemory-policy noeviction');
    expect(findings['store.eviction']).toMatchObject({
      level: 'risky',
      says: expect.stringContaining(
        '"allkeys-lru": when memory runs out, sessions of active people are evicted',
      ),
      do: expect.stringContaining('noeviction'),
    });
    expect(after['store.eviction']).toMatchObject({ level: 'fine' });
  });

  test('keys of our prefix without a time to live are counted; those of others are not', async () => {
    await operate(redis.port, 'SET cc:lasting 1', 'SET cc:passing 1 EX 100', 'SET other:lasting 1');
    const findings = await diagnoseStore(redis.url);
    await operate(redis.port, 'DEL cc:lasting cc:passing other:lasting');
    expect(findings['store.leftovers']).toMatchObject({
      level: 'risky',
      says: "of 2 keys under cc: 1 would stay for ever, and are not Coatcheck's",
    });
  });

  test.each([
    [0, 'fine'],
    [5_000, 'risky'],
    [-5_000, 'risky'],
    [3_600_000, 'wrong'],
    [-3_600_000, 'wrong'],
  ])('a clock that is %i ms off is %s', async (offMs, level) => {
    const now = () => Date.now() + offMs;
    const findings = await diagnoseStore(redis.url, { options: { now } });
    expect(findings['store.clock']).toMatchObject({ level });
    expect(await operate(redis.port, 'DBSIZE')).toBe(':0\r\n');
  });
});

describe('users', () => {
  const narrow = 'on >canary-narrow ~cc:* -@all';
  const own = () => `redis://canary-user:canary-own@127.0.0.1:${redis.port}`;
  beforeEach(() =>
    operate(redis.port, `ACL SETUSER canary-user reset on >canary-own ${sufficientRule('cc:')}`),
  );
  afterEach(() => operate(redis.port, 'ACL DELUSER canary-user'));

  test('S-069 a user with exactly the advised rule is enough, and not too much', async () => {
    expect(levels(await diagnoseStore(own()))).toMatchObject({
      user: 'fine',
      excess: 'fine',
      permissions: 'fine',
      tracking: 'fine',
      eviction: 'fine',
      clock: 'fine',
      leftovers: 'fine',
    });
  });

  test('the advised rule names each command of the scripts, and is written down in the docs', () => {
    const scripts = readdirSync('src/session/lua').map((file) =>
      readFileSync(`src/session/lua/${file}`, 'utf8'),
    );
    const used = scripts.flatMap((script) =>
      Array.from(script.matchAll(/redis\.call\('(\w+)'/g), ([, name]) => name),
    );
    const rule = sufficientRule('cc:');
    for (const command of used) expect(rule.split(' ')).toContain(`+${command?.toLowerCase()}`);
    expect(readFileSync('docs/doctor.md', 'utf8')).toContain(rule);
  });

  test.each([
    ['getdel', ['takeOnce (NOPERM)']],
    ['evalsha', ['extend', 'replace', 'lock', 'renewLock', 'unlock', 'indexAdd', 'indexList', 'indexRemove']],
    ['eval', ['eval (NOPERM)']],
    ['setrange', ['extend (ERR)']],
    ['pexpire', ['renewLock (ERR)']],
    ['pttl', ['lockHeld (ERR)']],
    ['zrange', ['indexList (ERR)']],
    ['del', ['destroy (NOPERM)']],
  ])('without %s it is too narrow, and what fails is named', async (command, failing) => {
    await operate(redis.port, `ACL SETUSER canary-user -${command}`);
    const finding = (await diagnoseStore(own()))['store.permissions'];
    expect(finding).toMatchObject({ level: 'wrong', do: expect.stringContaining(sufficientRule('cc:')) });
    for (const operation of failing) expect(finding?.says).toContain(operation);
  });

  test.each([
    ['+flushall', 'empty the store'],
    ['+config', 'change its settings'],
    ['+keys', 'list all keys'],
    ['+debug', 'debug it'],
    ['+shutdown', 'shut it down'],
    ['~*', 'read keys of others'],
  ])('S-069 with %s it is too wide, and what it could do is named', async (rule, says) => {
    await operate(redis.port, `ACL SETUSER canary-user ${rule}`);
    expect((await diagnoseStore(own()))['store.excess']).toMatchObject({
      level: 'risky',
      says: `the user may also: ${says}`,
    });
  });

  test('what a narrow user may not look at is said, and nothing crashes', async () => {
    await operate(redis.port, `ACL SETUSER narrow reset ${narrow} +ping`);
    const findings = await diagnoseStore(`redis://narrow:canary-narrow@127.0.0.1:${redis.port}`);
    await operate(redis.port, 'ACL DELUSER narrow');
    expect(levels(findings)).toEqual({
      reachable: 'fine',
      tls: 'fine',
      version: 'fine',
      role: 'fine',
      user: 'fine',
      excess: 'fine',
      tracking: 'risky',
      eviction: 'risky',
      replicas: 'risky',
      clock: 'risky',
      latency: 'wrong',
      leftovers: 'fine',
      permissions: 'wrong',
    });
    expect(findings['store.excess']?.says).toContain('cannot be seen');
  });

  test('without tracking, the near cache decides how bad that is', async () => {
    await operate(redis.port, 'ACL SETUSER canary-user -client|tracking');
    const level = async (mode: string) =>
      (await diagnoseStore(own(), { store: { nearCache: { mode } } }))['store.tracking']?.level;
    expect([await level('tracked'), await level('off'), await level('dangerously-untracked')]).toEqual([
      'risky',
      'fine',
      'risky',
    ]);
  });

  test('a wrong password is told as such, and never shown', async () => {
    const findings = await diagnoseStore(`redis://canary-user:canary-wrong@127.0.0.1:${redis.port}`);
    expect(findings['store.reachable']).toMatchObject({
      level: 'wrong',
      says: expect.stringContaining('(WRONGPASS)'),
      do: 'correct user and password in store.url',
    });
    expect(levels(findings)).toEqual({ reachable: 'wrong', tls: 'fine' });
    expect(JSON.stringify(findings)).not.toContain('canary');
  });
});

describe('another state of the server', () => {
  let other: RedisServer;
  beforeEach(async () => {
    other = await startRedisServer();
  });
  afterEach(() => other.stop());

  test('nobody listens', async () => {
    await other.kill('SIGKILL');
    const findings = await diagnoseStore(other.url);
    expect(levels(findings)).toEqual({ reachable: 'wrong', tls: 'fine' });
    expect(findings['store.reachable']?.says).toContain('(ECONNREFUSED)');
  });

  test('it hangs', async () => {
    await other.kill('SIGSTOP');
    expect((await diagnoseStore(other.url))['store.reachable']).toMatchObject({
      level: 'wrong',
      says: expect.stringContaining('no connection'),
    });
  });

  test('a replica takes no writes', async () => {
    await operate(other.port, `REPLICAOF 127.0.0.1 ${redis.port}`);
    await expect
      .poll(() => operate(other.port, 'INFO replication'), { timeout: 20_000 })
      .toContain('master_link_status:up');
    const [replica, primary] = await Promise.all([diagnoseStore(other.url), diagnoseStore(redis.url)]);
    expect(replica['store.role']).toMatchObject({ level: 'wrong', do: expect.stringContaining('primary') });
    expect(replica['store.permissions']).toMatchObject({
      level: 'wrong',
      says: expect.stringContaining('READONLY'),
    });
    expect(primary['store.replicas']).toMatchObject({ level: 'fine', says: 'one replica; WAIT is there' });
  });

  test('full memory is told by its own name, not as a matter of permission', async () => {
    await operate(other.port, 'CONFIG SET maxmemory 1');
    expect((await diagnoseStore(other.url))['store.permissions']).toMatchObject({
      level: 'wrong',
      says: expect.stringContaining('create (OOM)'),
      do: expect.stringContaining('OOM is full memory'),
    });
  });

  test.each([
    ['10s', 'fine'],
    ['55ms', 'risky'],
    ['10ms', 'wrong'],
  ])('a way of 30 ms is, with a deadline of %s, %s', async (deadline, level) => {
    const way = await startWay(other.port, (bytes, forward) => void setTimeout(forward, 30, bytes));
    const findings = await diagnoseStore(way.url, { store: { deadline } });
    way.close();
    expect(findings['store.latency']).toMatchObject({
      level,
      says: expect.stringContaining(`store.deadline is ${deadline}`),
    });
  });

  test.each([
    ['7.0.15', 'fine'],
    ['6.2.15', 'risky'],
    ['6.0.15', 'wrong'],
    ['5.3.15', 'wrong'],
  ])('version %s is %s', async (version, level) => {
    const way = await startWay(other.port, (bytes, forward) =>
      forward(
        Buffer.from(
          bytes.toString('latin1').replace(/(\r\nversion\r\n\$\d+\r\n)[\d.]{6}/, `$1${version}`),
          'latin1',
        ),
      ),
    );
    const findings = await diagnoseStore(way.url);
    way.close();
    expect(findings['store.version']).toMatchObject({ level, says: expect.stringContaining(version) });
  });

  test('a password that is wanted and not given is told as such', async () => {
    await operate(other.port, 'CONFIG SET requirepass canary');
    expect((await diagnoseStore(other.url))['store.reachable']).toMatchObject({
      level: 'wrong',
      says: expect.stringContaining('(NOAUTH)'),
      do: 'give user and password in store.url',
    });
  });

  test('a cluster is not taken for a single node', async () => {
    const cluster = await startRedisServer({ args: ['--cluster-enabled', 'yes'] });
    await operate(cluster.port, 'CLUSTER ADDSLOTSRANGE 0 16383');
    await until('all slots are served', async () =>
      (await operate(cluster.port, 'CLUSTER INFO')).includes('cluster_state:ok'),
    );
    const findings = await diagnoseStore(cluster.url);
    const asCluster = await diagnoseStore(cluster.url, { store: { cluster: true } });
    await cluster.stop();
    expect(findings['store.role']).toMatchObject({
      level: 'wrong',
      says: expect.stringContaining('cluster'),
      do: 'set store.cluster to true',
    });
    expect(asCluster['store.role']?.level).toBe('fine');
  });
});

describe('TLS', () => {
  let authority: Authority;
  beforeAll(() => {
    authority = createAuthority();
  });
  afterAll(() => authority.remove());

  test('a certificate that nobody vouches for is wrong, and so is no connection', async () => {
    const { certFile, keyFile } = authority.issue('IP:127.0.0.1', 30);
    const port = await freePort();
    const args = ['--tls-port', `${port}`, '--tls-cert-file', certFile, '--tls-key-file', keyFile];
    const server = await startRedisServer({
      args: [...args, '--tls-ca-cert-file', authority.caFile, '--tls-auth-clients', 'no'],
    });
    const findings = await diagnoseStore(`rediss://:canary-password@127.0.0.1:${port}`);
    const store = { caFile: authority.caFile };
    const trusting = await diagnoseStore(`rediss://127.0.0.1:${port}`, { store });
    await server.stop();
    expect(levels(trusting)).toMatchObject({ reachable: 'fine', tls: 'fine' });
    expect(levels(findings)).toEqual({ reachable: 'wrong', tls: 'wrong' });
    expect(findings['store.tls']).toMatchObject({
      says: expect.stringContaining('SELF_SIGNED_CERT_IN_CHAIN'),
      do: expect.stringContaining('NODE_EXTRA_CA_CERTS'),
    });
    expect(JSON.stringify(findings)).not.toContain('canary');
  });

  test('a server that speaks no TLS is told so', async () => {
    const findings = await diagnoseStore(`rediss://127.0.0.1:${redis.port}`);
    expect(findings['store.tls']).toMatchObject({ level: 'wrong', says: expect.stringContaining('no TLS') });
  });
});

test('sessions in this process alone are risky', async () => {
  expect((await diagnose(plainInput()))['store.kind']).toMatchObject({ level: 'risky' });
});
