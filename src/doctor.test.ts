import { spawn } from 'node:child_process';
import { EventEmitter, once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { stringify } from 'yaml';
import { freePort } from '../demo/free-ports.ts';
import { type Simulators, startSimulators } from '../sim/simulators.ts';
import { type Authority, createAuthority } from '../test/certificates.ts';
import { plainInput } from '../test/findings.ts';
import { type RedisServer, startRedisServer } from '../test/redis-server.ts';
import { type ConfigInput, usualConfig } from '../test/world.ts';
import { runCli } from './cli.ts';
import type { Finding } from './doctor.ts';
import { CoatcheckError } from './errors.ts';

const directory = mkdtempSync(join(tmpdir(), 'coatcheck-doctor-'));
const publicUrl = 'http://localhost:8080';
let redis: RedisServer;
let simulators: Simulators;
let authority: Authority;
beforeAll(async () => {
  authority = createAuthority();
  [redis, simulators] = await Promise.all([startRedisServer(), startSimulators({ publicUrls: [publicUrl] })]);
});
afterAll(async () => {
  rmSync(directory, { recursive: true });
  authority.remove();
  await Promise.all([redis.stop(), simulators.close()]);
});

const write = (input: ConfigInput): string => {
  const file = join(directory, 'coatcheck.yaml');
  writeFileSync(file, stringify(input));
  return file;
};

const run = async (input: ConfigInput, ...more: string[]) => {
  const out: string[] = [];
  const err: string[] = [];
  const code = await runCli(['doctor', '--config', write(input), ...more], {
    env: {},
    stdout: (line) => out.push(line),
    stderr: (line) => err.push(line),
    events: new EventEmitter(),
    start: () => Promise.reject(new CoatcheckError('internal')),
  });
  return { code, out, err: err.join('') };
};

const usual = (): ConfigInput => usualConfig({ publicUrl, port: 8080, redisUrl: redis.url, simulators });

test('two providers, two upstreams and a store: one line each, a summary, and 3 where something is risky', async () => {
  const { code, out, err } = await run(usual());
  expect({ code, err }).toEqual({ code: 3, err: '' });
  for (const line of out.slice(0, -1)) expect(line).toMatch(/^(✓ [^\n]+|! [^\n]+ → [^\n]+)\n$/);
  expect(out.at(-1)).toMatch(/^\d+ checks: 0 wrong, \d risky, \d\d fine\n$/);
  const subjects = out.map((line) => /^. ([a-z]+(?:\.(?:identity|notebook|eln|systems))?)\./.exec(line)?.[1]);
  expect([...new Set(subjects)]).toEqual([
    'gateway',
    'store',
    'providers.identity',
    'providers.notebook',
    'upstreams.eln',
    'upstreams.systems',
    undefined,
  ]);
});

test('--json prints one array of the same, and a wrong finding makes it 1', async () => {
  simulators.faults.set('systems', { kind: 'drop' });
  const { code, out } = await run(usual(), '--json');
  simulators.faults.clear();
  expect(code).toBe(1);
  const findings: Finding[] = JSON.parse(out.join(''));
  expect(findings.filter(({ level }) => level === 'wrong')).toEqual([
    {
      check: 'upstreams.systems.reachable',
      level: 'wrong',
      says: expect.stringContaining('cannot be reached'),
      do: expect.any(String),
    },
  ]);
});

test('a configuration that is wrong ends with 2, as everywhere', async () => {
  const { code, out, err } = await run({ ...plainInput(), login: ['other'] });
  expect({ code, out }).toEqual({ code: 2, out: [] });
  expect(err).toBe('coatcheck: login[0]: "other"; expected one of providers (identity)\n');
});

test('no secret is shown, whatever fails', async () => {
  const secrets = [
    'canary-store-user',
    'canary-store',
    'canary-client-secret',
    'canary-header',
    'canary-key',
  ];
  const headers = { authorization2: 'canary-header' };
  const input = plainInput({
    store: { url: `redis://canary-store-user:canary-store@127.0.0.1:${redis.port}` },
    upstreams: { eln: { url: 'http://127.0.0.1:9', provider: 'identity', headers } },
  });
  const encoded = [...secrets, String((input.keys as { secret: string }[])[0]?.secret)];
  for (const json of [[], ['--json']]) {
    const { code, out, err } = await run(input, ...json);
    expect(code).toBe(1);
    for (const secret of encoded) expect(out.join('') + err).not.toContain(secret);
  }
});

/** As a real process, for authorities are trusted at its start. */
const runProcess = async (input: ConfigInput): Promise<Finding[]> => {
  const argv = ['--import', 'tsx', 'src/cli.ts', 'doctor', '--json', '--config', write(input)];
  const env = { ...process.env, NODE_EXTRA_CA_CERTS: authority.caFile };
  const child = spawn(process.execPath, argv, { env, stdio: ['ignore', 'pipe', 'inherit'] });
  const [out] = await Promise.all([text(child.stdout), once(child, 'exit')]);
  return JSON.parse(out) as Finding[];
};

const startTlsRedis = async (days: number): Promise<{ server: RedisServer; url: string }> => {
  const { certFile, keyFile } = authority.issue('IP:127.0.0.1', days);
  const port = await freePort();
  const files = [
    '--tls-cert-file',
    certFile,
    '--tls-key-file',
    keyFile,
    '--tls-ca-cert-file',
    authority.caFile,
  ];
  const server = await startRedisServer({
    args: ['--tls-port', `${port}`, '--tls-auth-clients', 'no', ...files],
  });
  return { server, url: `rediss://127.0.0.1:${port}` };
};

test('with TLS that is trusted, the days left of each certificate are told, and the name has to fit', async () => {
  const { server, url } = await startTlsRedis(10);
  const right = createServer(authority.issue('IP:127.0.0.1', 20), (_request, response) => response.end());
  const other = createServer(authority.issue('DNS:other.example.com', 20), (_request, response) =>
    response.end(),
  );
  const ports = await Promise.all(
    [right, other].map(async (listener) => {
      await once(listener.listen(0, '127.0.0.1'), 'listening');
      return (listener.address() as AddressInfo).port;
    }),
  );
  const [eln, systems] = ports.map((port) => ({ url: `https://127.0.0.1:${port}`, provider: 'identity' }));
  const findings = await runProcess(plainInput({ store: { url }, upstreams: { eln, systems } }));
  for (const listener of [right, other]) listener.close();
  await server.stop();
  const found = (check: string) => findings.find((finding) => finding.check === check);
  expect(found('store.reachable')).toMatchObject({ level: 'fine' });
  expect(found('store.permissions')).toMatchObject({ level: 'fine' });
  expect(found('store.tls')).toMatchObject({
    level: 'risky',
    says: 'the trusted certificate of 127.0.0.1 is valid for another 9 days',
  });
  expect(found('upstreams.eln.certificate')).toMatchObject({
    level: 'fine',
    says: expect.stringContaining('19 days'),
  });
  expect(found('upstreams.systems.certificate')).toMatchObject({
    level: 'wrong',
    says: expect.stringContaining('ERR_TLS_CERT_ALTNAME_INVALID'),
  });
});
