import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { inspect } from 'node:util';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { ask, type RedisServer, startRedisServer } from '../../test/redis-server.ts';
import { CoatcheckError } from '../errors.ts';
import { type ElasticacheIam, elasticacheCredentials } from './elasticache-credentials.ts';
import { createRedisConnection, type RedisConnection } from './redis-connection.ts';

const cleanUp: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const each of cleanUp.splice(0).reverse()) await each();
  vi.unstubAllEnvs();
});
// The example keys of the cloud's own documentation, found by the SDK's own chain of providers.
beforeEach(() => {
  vi.stubEnv('AWS_ACCESS_KEY_ID', 'AKIAIOSFODNN7EXAMPLE');
  vi.stubEnv('AWS_SECRET_ACCESS_KEY', 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY');
  vi.stubEnv('AWS_SESSION_TOKEN', undefined);
  vi.stubEnv('AWS_PROFILE', undefined);
});

const newYear = Date.parse('2025-01-01T00:00:00Z');
const node: ElasticacheIam = {
  type: 'elasticache-iam',
  user: 'testuser',
  cache: 'my-cache',
  region: 'us-east-1',
  serverless: false,
};
const tail =
  '&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20250101%2Fus-east-1%2Felasticache%2Faws4_request' +
  '&X-Amz-Date=20250101T000000Z&X-Amz-Expires=900&X-Amz-SignedHeaders=host&X-Amz-Signature=';

describe('the token', () => {
  // Both tokens stand in the tests of the vendor's own developer toolkit for ElastiCache.
  test.each([
    [
      'a serverless cache',
      { ...node, serverless: true },
      `my-cache/?Action=connect&User=testuser&ResourceType=ServerlessCache${tail}28f349fd92f74e0192de149a74743ae7d087bb136523c342bdd67632a8360023`,
    ],
    [
      'a replication group',
      node,
      `my-cache/?Action=connect&User=testuser${tail}cd78a7de74c1bb1c8c685cac428f783b5433ce5fbf569af867570311d6a85797`,
    ],
    [
      'a replication group written in capitals',
      { ...node, user: 'TestUser', cache: 'My-Cache' },
      `my-cache/?Action=connect&User=testuser${tail}cd78a7de74c1bb1c8c685cac428f783b5433ce5fbf569af867570311d6a85797`,
    ],
  ])('for %s is, letter by letter, that of the vendor', async (_, iam, token) => {
    const credentials = await elasticacheCredentials(iam, () => newYear).current();
    expect(credentials).toEqual({ username: 'testuser', password: token });
  });

  test('of temporary credentials holds their session token, with every reserved sign encoded', async () => {
    vi.stubEnv('AWS_SESSION_TOKEN', "a+/=!'()*");
    const { password } = await elasticacheCredentials(node, () => newYear).current();
    expect(password).toContain('&X-Amz-Security-Token=a%2B%2F%3D%21%27%28%29%2A&');
  });

  test('is renewed at another time for each connection, between 8 and 11 hours', () => {
    const { renewAfterMs } = elasticacheCredentials(node);
    const hours = Array.from({ length: 1000 }, () => renewAfterMs() / 3_600_000);
    expect(Math.min(...hours)).toBeGreaterThanOrEqual(8);
    expect(Math.max(...hours)).toBeLessThan(11);
    expect(Math.max(...hours) - Math.min(...hours)).toBeGreaterThan(2);
  });

  test('cannot be made without credentials, which is a fault of the store and not of the person', async () => {
    vi.stubEnv('AWS_ACCESS_KEY_ID', undefined);
    vi.stubEnv('AWS_SECRET_ACCESS_KEY', undefined);
    vi.stubEnv('AWS_EC2_METADATA_DISABLED', 'true');
    vi.stubEnv('HOME', '/nowhere');
    await expect(elasticacheCredentials(node).current()).rejects.toMatchObject({
      code: 'store_unavailable',
      message: 'Redis: no AWS credentials to sign with',
    });
  });
});

test('without the packages of the SDK the configuration is refused, and they are named', () => {
  const directory = mkdtempSync(join(tmpdir(), 'coatcheck-iam-'));
  cleanUp.push(() => rmSync(directory, { recursive: true }));
  mkdirSync(join(directory, 'session'));
  for (const file of ['errors.ts', 'session/elasticache-credentials.ts', 'session/credential-renewal.ts'])
    cpSync(join('src', file), join(directory, file));
  symlinkSync(resolve('node_modules/tsx'), join(directory, 'tsx'));
  writeFileSync(join(directory, 'package.json'), '{ "type": "module" }');
  writeFileSync(
    join(directory, 'main.ts'),
    `import { elasticacheCredentials } from './session/elasticache-credentials.ts';
    try { elasticacheCredentials(${JSON.stringify(node)}); } catch (fault) { console.log(fault.code, fault.message); }`,
  );
  const output = execFileSync(
    'node',
    ['--import', resolve('node_modules/tsx/dist/esm/index.mjs'), join(directory, 'main.ts')],
    {
      cwd: directory,
      encoding: 'utf8',
    },
  );
  expect(output.trim()).toBe(
    'config_invalid store.auth: elasticache-iam needs packages that are not here: npm install @smithy/signature-v4 @aws-sdk/credential-provider-node',
  );
});

describe('a connection that lasts', () => {
  let server: RedisServer;
  let nowMs: number;
  let timers: { readonly work: () => void; readonly afterMs: number }[];
  let faults: unknown[];

  beforeEach(async () => {
    [nowMs, timers, faults] = [newYear, [], []];
    server = await startRedisServer();
    cleanUp.push(() => server.stop());
  });

  const tokenAt = async (atMs: number): Promise<string> =>
    (await elasticacheCredentials(node, () => atMs).current()).password;
  /** Has the server take these tokens and no other, as if all before had run out. */
  const takeOnly = async (...tokens: string[]): Promise<unknown> =>
    ask(
      server,
      'ACL',
      'SETUSER',
      'testuser',
      'on',
      '~*',
      '+@all',
      'resetpass',
      ...tokens.map((token) => `>${token}`),
    );
  const open = async (): Promise<RedisConnection> => {
    const connection = createRedisConnection({
      url: server.url,
      credentials: elasticacheCredentials(node, () => nowMs),
      startTimer(work, afterMs) {
        const timer = { work, afterMs };
        timers.push(timer);
        return () => {
          timers = timers.filter((other) => other !== timer);
        };
      },
      onRenewalFault: (fault) => faults.push(fault),
    });
    cleanUp.push(() => connection.close());
    await connection.start();
    await connection.whenConnected();
    return connection;
  };
  const sessionOf = async (connection: RedisConnection): Promise<unknown> =>
    connection.run(undefined, (redis) => redis.send(['CLIENT', 'ID']));
  /** Lets the one timer that runs come due. */
  const elapse = (): void => {
    const [timer] = timers.splice(0);
    nowMs += timer?.afterMs ?? Number.NaN;
    timer?.work();
  };
  const logins = async (): Promise<number> =>
    Number(/cmdstat_auth:calls=(\d+)/.exec(String(await ask(server, 'INFO', 'commandstats')))?.[1] ?? 0);

  test('S-069 comes in with a token, and shows a new one before the server would end it', async () => {
    await takeOnly(await tokenAt(newYear));
    const connection = await open();
    const id = await sessionOf(connection);
    expect(timers.map(({ afterMs }) => afterMs >= 8 * 3_600_000 && afterMs < 11 * 3_600_000)).toEqual([true]);
    await takeOnly(await tokenAt(newYear + (timers[0]?.afterMs ?? 0)));
    elapse();
    await expect.poll(() => timers.length).toBe(1);
    expect(faults).toEqual([]);
    expect(await logins()).toBe(1);
    expect(await sessionOf(connection)).toBe(id);
  });

  test('S-069 goes on while a new token is refused, tries again soon, and nothing told of it holds the token', async () => {
    await takeOnly(await tokenAt(newYear));
    const connection = await open();
    const id = await sessionOf(connection);
    elapse();
    await expect.poll(() => faults.length).toBe(1);
    expect(faults[0]).toMatchObject({
      code: 'store_unavailable',
      message: expect.stringContaining('WRONGPASS'),
    });
    expect(inspect(faults, { depth: 10, showHidden: true })).not.toContain('X-Amz');
    expect(CoatcheckError.is(faults[0])).toBe(true);
    expect(await sessionOf(connection)).toBe(id);
    await expect.poll(() => timers[0]?.afterMs).toBeLessThanOrEqual(30_000);
    await takeOnly(await tokenAt(nowMs + (timers[0]?.afterMs ?? 0)));
    elapse();
    await expect.poll(() => timers[0]?.afterMs).toBeGreaterThan(8 * 3_600_000);
    expect([faults.length, await sessionOf(connection)]).toEqual([1, id]);
  });

  test('S-069 is replaced, when it is cut, by one with a new token; its own timer ends with it', async () => {
    await takeOnly(await tokenAt(newYear));
    const connection = await open();
    const id = await sessionOf(connection);
    nowMs += 1_200_000;
    await takeOnly(await tokenAt(nowMs));
    await ask(server, 'CLIENT', 'KILL', 'USER', 'testuser');
    expect(await connection.run(undefined, (redis) => redis.send(['PING']))).toBeDefined();
    expect(await sessionOf(connection)).not.toBe(id);
    expect(timers).toHaveLength(1);
    await connection.close();
    expect(timers).toHaveLength(0);
  });
});
