import { expect, test } from 'vitest';
import { env, type Input, input, keySecret, provider, upstream } from '../../test/config-input.ts';
import { type Config, parseConfig } from '../config.ts';
import { type Reloaded, reloadConfig } from './reload.ts';

const newKey = { id: 'k2', secret: Buffer.alloc(32, 2).toString('base64') };
const oldKey = { id: 'k1', secret: keySecret };
const change = (from: Input, to: Input): Reloaded & { running: Config } => {
  const running = parseConfig(from, env);
  return { ...reloadConfig(running, parseConfig(to, env)), running };
};

test('what has not changed is neither taken nor named', () => {
  expect(change(input(), input())).toMatchObject({ taken: [], needsRestart: [] });
});

test('S-138 keys, client secrets, upstream headers, log level and validFrom are taken over in place', () => {
  const from = { ...upstream({ headers: { 'x-old': 'old', 'x-key': 'one' } }) };
  const to = {
    ...upstream({ headers: { 'x-key': 'two', 'x-new': 'new' } }),
    keys: [newKey, oldKey],
    providers: { identity: provider({ clientSecret: 'another' }) },
    session: { validFrom: '2026-01-31T12:00:00Z' },
    log: { level: 'debug' },
  };
  const { running, taken, needsRestart } = change(from, to);
  expect([...taken].sort()).toEqual([
    'keys',
    'log.level',
    'providers.identity.clientSecret',
    'session.validFrom',
    'upstreams.eln.headers.x-key',
    'upstreams.eln.headers.x-new',
    'upstreams.eln.headers.x-old',
  ]);
  expect(needsRestart).toEqual([]);
  expect(running).toEqual(parseConfig(to, env));
  expect(Object.keys(running.upstreams.eln?.headers ?? {}).sort()).toEqual(['x-key', 'x-new']);
});

test('everything else is named as it is written, and stays as it was', () => {
  const { running, taken, needsRestart } = change(
    input(),
    input({
      session: { idleTimeout: '5m', limit: 3 },
      listen: { adminToken: 'x'.repeat(32) },
      limits: { requestBody: '1MiB' },
      providers: { identity: provider({ clientSecret: undefined, clientAuthentication: 'none' }) },
    }),
  );
  expect(taken).toEqual([]);
  expect([...needsRestart].sort()).toEqual([
    'limits.requestBody',
    'listen.adminToken',
    'providers.identity.clientAuthentication',
    'providers.identity.clientSecret',
    'session.idleTimeout',
    'session.limit',
  ]);
  expect(running).toEqual(parseConfig(input(), env));
});
