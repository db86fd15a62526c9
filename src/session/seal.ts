import { createCipheriv, createDecipheriv, createHmac, randomBytes } from 'node:crypto';

/**
 * Authenticated encryption of what the store keeps: AES-256-GCM (NIST SP 800-38D) under keys derived by
 * HKDF-SHA-256 (RFC 5869). Nonce 96 random bits, tag 128 bits. The associated data names key, place and slot, so sealed bytes
 * open only where they were sealed for.
 */

/** One server key. */
export interface ServerKey {
  /** Names the key in what it sealed: 1…16 characters of `A-Za-z0-9_-`. */
  readonly id: string;
  /** At least 32 bytes. */
  readonly secret: Buffer;
}

/**
 * What a key is for. Keys of different purposes are unrelated.
 * `metadata` opens with the server key alone, so operators can list sessions; `tokens` and `transaction` also need the
 * secret that only the browser holds.
 */
export type SealPurpose = 'metadata' | 'tokens' | 'transaction';

/** Where sealed bytes belong. */
export interface SealPlace {
  readonly purpose: SealPurpose;
  /** Session id or transaction id. */
  readonly id: string;
  /** Which part of what belongs to that id. */
  readonly slot: string;
  /** The browser's secret (ticket or login cookie). Required unless the purpose is `metadata`. */
  readonly secret?: Buffer;
  /** Bytes that must be the same at opening, though they are not among the sealed ones. */
  readonly beside?: Buffer;
}

/** Sealed bytes and the id of the key that sealed them. */
export interface Sealed {
  readonly keyId: string;
  /** nonce (12) ‖ ciphertext ‖ tag (16). */
  readonly bytes: Buffer;
}

/** The server's keys. */
export interface Keyring {
  /** Seals under the newest key. */
  seal(plain: Buffer, place: SealPlace): Sealed;
  /** Opens with the key that sealed. `undefined` where the key is unknown or the bytes do not belong here. */
  open(sealed: Sealed, place: SealPlace): Buffer | undefined;
}

const nonceBytes = 12;
const tagBytes = 16;
const cipher = 'aes-256-gcm';

/** A keyring. The first key seals, all of them open: put a new key first, drop an old one when its sessions are gone. */
export function createKeyring(keys: readonly ServerKey[]): Keyring {
  const newest = keys[0];
  if (newest === undefined) throw new RangeError('a keyring needs at least one key');
  const byId = new Map(keys.map((key) => [key.id, key]));
  const metadataKeys = new Map(keys.map((key) => [key.id, derive(key, key.secret, 'metadata')]));

  // They live as long as the secret that they come from: one derivation per request, not one per provider.
  const derivedKeys = new WeakMap<Buffer, Map<string, Buffer>>();

  const keyFor = (key: ServerKey, { purpose, secret }: SealPlace): Buffer | undefined => {
    if (purpose === 'metadata') return metadataKeys.get(key.id);
    if (secret === undefined) throw new TypeError(`sealing ${purpose} needs the browser's secret`);
    const known = derivedKeys.get(secret) ?? new Map<string, Buffer>();
    derivedKeys.set(secret, known);
    const name = JSON.stringify([key.id, purpose]);
    const derived = known.get(name) ?? derive(key, secret, purpose);
    known.set(name, derived);
    return derived;
  };

  return {
    seal(plain, place) {
      const key = keyFor(newest, place);
      if (key === undefined) throw new TypeError('the newest key has no derived key');
      const nonce = randomBytes(nonceBytes);
      const encrypt = createCipheriv(cipher, key, nonce, { authTagLength: tagBytes });
      encrypt.setAAD(associatedData(newest.id, place));
      return {
        keyId: newest.id,
        bytes: Buffer.concat([nonce, encrypt.update(plain), encrypt.final(), encrypt.getAuthTag()]),
      };
    },

    open({ keyId, bytes }, place) {
      const serverKey = byId.get(keyId);
      if (serverKey === undefined || bytes.length < nonceBytes + tagBytes) return undefined;
      const key = keyFor(serverKey, place);
      if (key === undefined) return undefined;
      const decrypt = createDecipheriv(cipher, key, bytes.subarray(0, nonceBytes), {
        authTagLength: tagBytes,
      });
      decrypt.setAAD(associatedData(keyId, place));
      decrypt.setAuthTag(bytes.subarray(bytes.length - tagBytes));
      const plain = decrypt.update(bytes.subarray(nonceBytes, bytes.length - tagBytes));
      return isAuthentic(decrypt) ? plain : undefined;
    },
  };
}

/** `final()` throws exactly when the tag does not fit; for us that is an answer, not a fault. */
function isAuthentic(decrypt: { final(): Buffer }): boolean {
  try {
    decrypt.final();
    return true;
  } catch (error) {
    if (error instanceof Error) return false;
    throw error;
  }
}

/**
 * HKDF for one block of output (RFC 5869 §2.2, §2.3), salted with the server key. Byte for byte what `hkdfSync` gives, which takes
 * five times as long, and every load from the store waits for it.
 */
function derive(key: ServerKey, inputKey: Buffer, purpose: SealPurpose): Buffer {
  const extracted = createHmac('sha256', key.secret).update(inputKey).digest();
  return createHmac('sha256', extracted).update(`coatcheck/seal/1/${purpose}\x01`).digest();
}

/** Length-prefixed but for the last, so that no two places ever give the same bytes. */
function associatedData(keyId: string, { purpose, id, slot, beside }: SealPlace): Buffer {
  const parts = ['coatcheck/1', keyId, purpose, id, slot];
  const namesBytes = parts.reduce((sum, part) => sum + 2 + Buffer.byteLength(part), 0);
  const bytes = Buffer.allocUnsafe(namesBytes + (beside?.length ?? 0));
  let offset = 0;
  for (const part of parts) {
    const length = bytes.write(part, offset + 2);
    bytes.writeUInt16BE(length, offset);
    offset += 2 + length;
  }
  beside?.copy(bytes, offset);
  return bytes;
}
