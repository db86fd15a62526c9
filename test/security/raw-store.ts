import { createClient, RESP_TYPES } from '@redis/client';

/** What somebody with access to Redis itself can see and do. */
export interface RawStore {
  keys(pattern?: string): Promise<string[]>;
  read(key: string): Promise<Buffer>;
  /** Puts other bytes in the place of a value; its time to live stays. */
  overwrite(key: string, value: Buffer): Promise<void>;
  remove(key: string): Promise<void>;
  /** ms; −1 where a key would stay for ever. */
  ttlMs(key: string): Promise<number>;
  /** Every key and value. */
  dump(): Promise<Buffer>;
  close(): void;
}

/** Connects as such. */
export async function openRawStore(url: string): Promise<RawStore> {
  const client = await createClient({ url }).connect();
  const bytes = client.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer });
  const store: RawStore = {
    async keys(pattern = '*') {
      const keys: string[] = [];
      for await (const batch of client.scanIterator({ MATCH: pattern, COUNT: 1000 })) keys.push(...batch);
      return keys;
    },
    async read(key) {
      const value = await bytes.get(key);
      if (value === null) throw new Error(`there is no ${key}`);
      return Buffer.from(value);
    },
    async overwrite(key, value) {
      await client.set(key, value, { expiration: 'KEEPTTL' });
    },
    async remove(key) {
      await client.del(key);
    },
    ttlMs: (key) => client.pTTL(key),
    async dump() {
      const parts: (string | Buffer)[] = [];
      for (const key of await store.keys()) {
        const isIndex = (await client.type(key)) === 'zset';
        parts.push(key, ...(isIndex ? await client.zRange(key, 0, -1) : [await store.read(key)]));
      }
      return Buffer.concat(parts.map((part) => Buffer.from(part)));
    },
    close: () => client.destroy(),
  };
  return store;
}
