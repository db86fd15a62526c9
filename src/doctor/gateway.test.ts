import { describe, expect, test } from 'vitest';
import { plainInput } from '../../test/findings.ts';
import type { ConfigInput } from '../../test/world.ts';
import { parseConfig } from '../config.ts';
import type { Finding } from './finding.ts';
import { examineGateway } from './gateway.ts';

const secret = (letter: string): string => Buffer.alloc(32, letter).toString('base64');

/** One finding on a configuration with changes. */
const found = async (check: string, changes: ConfigInput = {}): Promise<Finding | undefined> => {
  const findings = await examineGateway(parseConfig(plainInput(changes), {}));
  return findings.find((finding) => finding.check === `gateway.${check}`);
};

describe('what the configuration alone tells', () => {
  test('https is fine; plain http on this machine is risky, because some browsers keep no Secure cookies there', async () => {
    const publicUrl = 'https://apps.example.com';
    const store = { url: 'redis://127.0.0.1:9' };
    expect(await found('publicUrl', { publicUrl, store })).toMatchObject({ level: 'fine' });
    expect(await found('publicUrl')).toMatchObject({ level: 'risky', do: expect.stringContaining('https') });
  });

  test('a port that differs from start to start is risky', async () => {
    expect(await found('ports')).toMatchObject({
      level: 'fine',
      says: 'listens on 0.0.0.0:8080; probes and metrics on 0.0.0.0:9090, which asks nobody who they are: keep the outside away from it',
    });
    expect(await found('ports', { listen: { port: 0 } })).toMatchObject({ level: 'risky' });
  });

  test('one key is fine, two are a rotation, three open too much, and one secret twice is no rotation', async () => {
    const keys = (...letters: string[]) => ({
      keys: letters.map((letter, index) => ({ id: `k${index}`, secret: secret(letter) })),
    });
    expect(await found('keys', keys('a'))).toMatchObject({ level: 'fine' });
    expect(await found('keys', keys('a', 'b'))).toMatchObject({
      level: 'fine',
      says: 'k0 seals, k1 opens',
      do: 'drop what is older 12h after it last sealed',
    });
    expect(await found('keys', keys('a', 'b', 'c'))).toMatchObject({ level: 'risky' });
    expect(await found('keys', keys('a', 'a'))).toMatchObject({
      level: 'risky',
      says: expect.stringContaining('same secret'),
    });
  });

  test('lifetimes are risky where the idle timeout never acts, or a cookie is good for days', async () => {
    expect(await found('lifetimes')).toMatchObject({ level: 'fine' });
    const session = { idleTimeout: '8h', absoluteTimeout: '8h' };
    expect(await found('lifetimes', { session })).toMatchObject({
      level: 'risky',
      says: expect.stringContaining('never acts'),
    });
    expect(await found('lifetimes', { session: { absoluteTimeout: '7d' } })).toMatchObject({
      level: 'risky',
      says: expect.stringContaining('7d'),
    });
  });

  test('a near cache that nobody keeps true is risky', async () => {
    const near = (mode: string) => ({ store: { url: 'redis://127.0.0.1:9', nearCache: { mode } } });
    expect(await found('nearCache', near('off'))).toMatchObject({ level: 'fine' });
    expect(await found('nearCache', near('tracked'))).toMatchObject({ level: 'fine' });
    expect(await found('nearCache', near('dangerously-untracked'))).toMatchObject({
      level: 'risky',
      says: expect.stringContaining('up to 30s'),
    });
  });

  test('routes that stay open while the store is away are listed; for more than five minutes is risky', async () => {
    expect(await found('outage')).toMatchObject({
      level: 'fine',
      says: expect.stringContaining('fail-closed'),
    });
    const news = { '/news': { policy: 'anonymous' } };
    const outage = { routes: { ...news, '/api/x/*': { policy: 'fail-open', staleFor: '60s' } } };
    expect(await found('outage', { outage })).toMatchObject({
      level: 'fine',
      says: 'while the store is away: /news anonymous, /api/x/* fail-open 1m',
    });
    const long = { default: { policy: 'fail-open', staleFor: '10m' } };
    expect(await found('outage', { outage: long })).toMatchObject({
      level: 'risky',
      says: expect.stringContaining('everything else fail-open 10m'),
    });
  });
});
