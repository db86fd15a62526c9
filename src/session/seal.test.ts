import { createDecipheriv, hkdfSync, randomBytes } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { seededRandom } from '../../test/random.ts';
import { createKeyring, type SealPlace, type ServerKey } from './seal.ts';

const key = (id: string): ServerKey => ({ id, secret: randomBytes(32) });
const secret = randomBytes(32);
const place: SealPlace = { purpose: 'tokens', id: 'session', slot: 'identity', secret };
const plain = Buffer.from('an access token');

describe('what was sealed', () => {
  const k1 = key('k1');
  const keyring = createKeyring([k1]);

  test('opens in its place and shows nothing before', () => {
    const sealed = keyring.seal(plain, place);
    expect(sealed.bytes.includes(plain)).toBe(false);
    expect(sealed.bytes).toHaveLength(12 + plain.length + 16);
    expect(keyring.open(sealed, place)).toEqual(plain);
  });

  test('S-066 does not open in another session, slot, purpose, or for another browser', () => {
    const sealed = keyring.seal(plain, place);
    const others: Partial<SealPlace>[] = [
      { id: 'session2' },
      { slot: 'notebook' },
      { purpose: 'metadata' },
      { purpose: 'transaction' },
      { secret: randomBytes(32) },
    ];
    for (const other of others) {
      expect(keyring.open(sealed, { ...place, ...other }), JSON.stringify(other)).toBeUndefined();
    }
  });

  test('S-066 does not open with any bit changed, nor cut, nor longer', () => {
    const sealed = keyring.seal(plain, place);
    for (let bit = 0; bit < sealed.bytes.length * 8; bit += 1) {
      const bytes = Buffer.from(sealed.bytes);
      bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      expect(keyring.open({ ...sealed, bytes }, place), `bit ${bit}`).toBeUndefined();
    }
    for (let length = 0; length < sealed.bytes.length; length += 1) {
      expect(keyring.open({ ...sealed, bytes: sealed.bytes.subarray(0, length) }, place)).toBeUndefined();
    }
    const longer = Buffer.concat([sealed.bytes, Buffer.alloc(1)]);
    expect(keyring.open({ ...sealed, bytes: longer }, place)).toBeUndefined();
  });

  test('S-066 tokens do not open with the server key alone', () => {
    const sealed = keyring.seal(plain, place);
    expect(() => keyring.open(sealed, { purpose: 'tokens', id: 'session', slot: 'identity' })).toThrow(
      TypeError,
    );
    expect(keyring.open(sealed, { ...place, secret: k1.secret })).toBeUndefined();
  });
});

test('anything that has AES-256-GCM and HKDF opens it: the format is no secret of this code', () => {
  const k1 = key('k1');
  const { bytes } = createKeyring([k1]).seal(plain, place);
  const derived = Buffer.from(hkdfSync('sha256', secret, k1.secret, 'coatcheck/seal/1/tokens', 32));
  const decrypt = createDecipheriv('aes-256-gcm', derived, bytes.subarray(0, 12), { authTagLength: 16 });
  decrypt.setAAD(Buffer.from('\0\x0bcoatcheck/1\0\x02k1\0\x06tokens\0\x07session\0\x08identity'));
  decrypt.setAuthTag(bytes.subarray(-16));
  expect(Buffer.concat([decrypt.update(bytes.subarray(12, -16)), decrypt.final()])).toEqual(plain);
});

describe('keys', () => {
  const [k1, k2] = [key('k1'), key('k2')];

  test('S-067 the first key seals, all of them open, an unknown one opens nothing', () => {
    const old = createKeyring([k1]).seal(plain, place);
    const rotated = createKeyring([k2, k1]);
    expect(rotated.open(old, place)).toEqual(plain);
    const young = rotated.seal(plain, place);
    expect(young.keyId).toBe('k2');
    expect(createKeyring([k1]).open(young, place)).toBeUndefined();
    expect(createKeyring([k2]).open(old, place)).toBeUndefined();
  });

  test('S-067 what one key sealed does not open under the name of another', () => {
    const sealed = createKeyring([k1]).seal(plain, place);
    const both = createKeyring([k1, k2]);
    expect(both.open({ ...sealed, keyId: 'k2' }, place)).toBeUndefined();
    const renamed = createKeyring([{ id: 'k3', secret: k1.secret }]);
    expect(renamed.open({ ...sealed, keyId: 'k3' }, place)).toBeUndefined();
  });

  test('S-065 what is sealed beside other bytes opens beside the same only', () => {
    const keyring = createKeyring([k1]);
    const beside = randomBytes(70_000);
    const sealed = keyring.seal(plain, { ...place, beside });
    expect(keyring.open(sealed, { ...place, beside })).toEqual(plain);
    expect(keyring.open(sealed, place)).toBeUndefined();
    expect(keyring.open(sealed, { ...place, beside: beside.subarray(1) })).toBeUndefined();
    expect(
      keyring.open(sealed, {
        ...place,
        slot: `${place.slot}${beside.toString('latin1', 0, 1)}`,
        beside: beside.subarray(1),
      }),
    ).toBeUndefined();
  });

  test('S-067 of 100,000 sealings no two share a nonce', () => {
    const keyring = createKeyring([k1]);
    const metadata: SealPlace = { purpose: 'metadata', id: 'session', slot: 'metadata' };
    const nonces = new Set<string>();
    for (let count = 0; count < 100_000; count += 1) {
      nonces.add(keyring.seal(plain, metadata).bytes.toString('latin1', 0, 12));
    }
    expect(nonces.size).toBe(100_000);
  });

  test('a keyring without keys is refused', () => {
    expect(() => createKeyring([])).toThrow(RangeError);
  });
});

test('S-065 distinct places never share associated data, however their parts are cut', () => {
  const random = seededRandom(65);
  const pick = <Item>(items: readonly Item[]): Item => items[Math.floor(random() * items.length)] as Item;
  const text = (): string =>
    Array.from({ length: Math.floor(random() * 5) }, () => pick([...'ab\0\u0001:,"\\[]é'])).join('');
  const keyring = createKeyring([key('k1')]);
  for (let round = 0; round < 5000; round += 1) {
    const first: SealPlace = { purpose: 'metadata', id: text(), slot: text() };
    // The same characters, divided elsewhere: what plain concatenation would mix up.
    const joined = first.id + first.slot;
    const cut = Math.floor(random() * (joined.length + 1));
    const second: SealPlace = { ...first, id: joined.slice(0, cut), slot: joined.slice(cut) };
    const isSame = first.id === second.id && first.slot === second.slot;
    const opened = keyring.open(keyring.seal(plain, first), second);
    expect(opened !== undefined, JSON.stringify([first, second])).toBe(isSame);
  }
});
