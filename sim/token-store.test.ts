import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { TokenStore } from './token-store.ts';

beforeEach(() => vi.useFakeTimers({ toFake: ['Date'] }));
afterEach(() => vi.useRealTimers());

test('thousands of live tokens stay, and expired ones are swept', async () => {
  const store = new TokenStore();
  const tokens = store.adapter('AccessToken');
  for (let number = 0; number < 3000; number += 1) await tokens.upsert(`t${number}`, { grantId: 'g' }, 60);
  await tokens.upsert('long', { grantId: 'g' }, 600);
  expect(await tokens.find('t0')).toEqual({ grantId: 'g' });

  vi.setSystemTime(Date.now() + 60_001);
  expect(await tokens.find('t0')).toBeUndefined();
  await tokens.upsert('next', { grantId: 'h' }, 60);
  expect(store.size).toBe(2);
});

test('revoking a grant removes its tokens of every kind, and no other', async () => {
  const store = new TokenStore();
  const access = store.adapter('AccessToken');
  const refresh = store.adapter('RefreshToken');
  await access.upsert('a', { grantId: 'g' }, 60);
  await refresh.upsert('r', { grantId: 'g' }, 60);
  await access.upsert('b', { grantId: 'h' }, 60);
  await access.revokeByGrantId('g');
  expect(await access.find('a')).toBeUndefined();
  expect(await refresh.find('r')).toBeUndefined();
  expect(await access.find('b')).toBeDefined();
});

test('a session is found by its uid until it is destroyed, also after its id changed', async () => {
  const sessions = new TokenStore().adapter('Session');
  await sessions.upsert('old', { kind: 'Session', uid: 'u' }, 60);
  await sessions.upsert('new', { kind: 'Session', uid: 'u', accountId: 'ada' }, 60);
  await sessions.destroy('old');
  expect(await sessions.findByUid('u')).toMatchObject({ accountId: 'ada' });
  await sessions.destroy('new');
  expect(await sessions.findByUid('u')).toBeUndefined();
});
