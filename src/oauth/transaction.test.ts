import { randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';
import { createMemoryStore } from '../session/memory-store.ts';
import { createKeyring } from '../session/seal.ts';
import {
  createTransactionStore,
  issueLoginSecret,
  readLoginSecret,
  type Transaction,
  type TransactionStore,
  transactionLifetimeMs,
} from './transaction.ts';

const oldKey = { id: 'k1', secret: randomBytes(32) };
const newKey = { id: 'k2', secret: randomBytes(32) };

const transaction: Transaction = {
  provider: 'first',
  state: 'state',
  nonce: 'nonce',
  codeVerifier: 'verifier',
  returnTo: '/',
  answers: [],
  startedAtMs: 1_700_000_000_000,
};

function start(): {
  transactions: TransactionStore;
  pass(ms: number): void;
  withKeys: (...keys: (typeof oldKey)[]) => TransactionStore;
} {
  let nowMs = 1_700_000_000_000;
  const store = createMemoryStore({ now: () => nowMs });
  const withKeys = (...keys: (typeof oldKey)[]): TransactionStore =>
    createTransactionStore(store, createKeyring(keys));
  return {
    transactions: withKeys(oldKey),
    withKeys,
    pass(ms) {
      nowMs += ms;
    },
  };
}

test('S-007 a transaction is handed out once', async () => {
  const { transactions } = start();
  const login = issueLoginSecret();
  await transactions.put(transaction, login);
  expect(await transactions.take('first', 'state', [login])).toEqual({ transaction, loginSecret: login });
  expect(await transactions.take('first', 'state', [login])).toBeUndefined();
});

test('S-004 it is found by provider and state together', async () => {
  const { transactions } = start();
  const login = issueLoginSecret();
  await transactions.put(transaction, login);
  expect(await transactions.take('second', 'state', [login])).toBeUndefined();
  expect(await transactions.take('first', 'other', [login])).toBeUndefined();
  expect(await transactions.take('first","state', '', [login])).toBeUndefined();
  expect(await transactions.take('first', 'state', [login])).toEqual({ transaction, loginSecret: login });
});

test('S-001 it opens with the secret of the browser that began the login, and no other', async () => {
  const { transactions } = start();
  const [login, other, another] = [issueLoginSecret(), issueLoginSecret(), issueLoginSecret()];
  await transactions.put(transaction, login);
  expect(await transactions.take('first', 'state', [other, another])).toBeUndefined();
  await transactions.put(transaction, login);
  expect(await transactions.take('first', 'state', [other, login])).toEqual({
    transaction,
    loginSecret: login,
  });
});

test('S-012 it is gone after ten minutes', async () => {
  const { transactions, pass } = start();
  const login = issueLoginSecret();
  await transactions.put(transaction, login);
  await transactions.put({ ...transaction, state: 'later' }, login);
  pass(transactionLifetimeMs - 1);
  expect(await transactions.take('first', 'state', [login])).toEqual({ transaction, loginSecret: login });
  pass(1);
  expect(await transactions.take('first', 'later', [login])).toBeUndefined();
});

test('a login under way survives a change of keys; a withdrawn key ends it', async () => {
  const { transactions, withKeys } = start();
  const login = issueLoginSecret();
  await transactions.put(transaction, login);
  expect(await withKeys(newKey, oldKey).take('first', 'state', [login])).toEqual({
    transaction,
    loginSecret: login,
  });
  await transactions.put(transaction, login);
  expect(await withKeys(newKey).take('first', 'state', [login])).toBeUndefined();
});

test('login secrets are 256 random bits, are read back, and nothing else is taken for one', () => {
  const issued = Array.from({ length: 1000 }, issueLoginSecret);
  expect(new Set(issued.map(({ value }) => value)).size).toBe(1000);
  for (const { value, secret } of issued) {
    expect(secret).toHaveLength(32);
    expect(readLoginSecret(value)).toEqual({ value, secret });
  }
  const body = 'A'.repeat(43);
  for (const value of [
    '',
    body,
    `v1.${body}`,
    `L1.${body}`,
    `l1.${body}A`,
    `l1.${body.slice(1)}`,
    `l1.${body}\n`,
    `l1.${'='.repeat(43)}`,
  ])
    expect(readLoginSecret(value)).toBeUndefined();
});
