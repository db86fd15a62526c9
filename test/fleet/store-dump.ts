import { createClient, RESP_TYPES } from '@redis/client';

/** One key with all that it holds. */
export interface StoreEntry {
  readonly key: string;
  readonly type: string;
  /** -1: it would never go away. */
  readonly ttlMs: number;
  /** A string's bytes, or everything that a set, list, hash or stream holds. */
  readonly values: readonly Buffer[];
}

/** Commands that read a whole key, by type. Any other type is a reason to look. */
const readers: Readonly<Record<string, (key: string) => string[]>> = {
  string: (key) => ['GET', key],
  zset: (key) => ['ZRANGE', key, '0', '-1', 'WITHSCORES'],
  hash: (key) => ['HGETALL', key],
  set: (key) => ['SMEMBERS', key],
  list: (key) => ['LRANGE', key, '0', '-1'],
  stream: (key) => ['XRANGE', key, '-', '+'],
};

/** What somebody has who copies the whole store: every database, key and value. */
export class StoreDump {
  readonly entries: readonly StoreEntry[];

  private constructor(entries: readonly StoreEntry[]) {
    this.entries = entries;
  }

  static async take(url: string): Promise<StoreDump> {
    return await withStore(url, async (send) => {
      const entries: StoreEntry[] = [];
      let cursor = '0';
      do {
        const [next, keys] = (await send(['SCAN', cursor, 'COUNT', '1000'])) as [Buffer, Buffer[]];
        for (const key of keys) entries.push(await readEntry(send, key.toString('latin1')));
        cursor = String(next);
      } while (cursor !== '0');
      return new StoreDump(entries.filter(({ type }) => type !== 'none'));
    });
  }

  /** Keys and values one after another, one character per byte. */
  get text(): string {
    return this.entries
      .flatMap(({ key, values }) => [key, ...values.map((value) => value.toString('latin1'))])
      .join('\n');
  }

  /** Which of the secrets can be read: as they are, or in hexadecimal or base64 at any offset. */
  find(secrets: Iterable<string>): string[] {
    const { text } = this;
    const lower = text.toLowerCase();
    return [...secrets].filter((secret) => {
      const bytes = Buffer.from(secret);
      return (
        text.includes(bytes.toString('latin1')) ||
        lower.includes(secret.toLowerCase()) ||
        lower.includes(bytes.toString('hex')) ||
        base64Cores(bytes).some((core) => text.includes(core))
      );
    });
  }
}

/** Sends one command; bulk strings come as bytes. */
export type SendCommand = (command: (string | Buffer)[]) => Promise<unknown>;

/** Lends a connection. */
export async function withStore<Result>(
  url: string,
  work: (send: SendCommand) => Promise<Result>,
): Promise<Result> {
  const client = createClient({ url });
  await client.connect();
  const typeMapping = { [RESP_TYPES.BLOB_STRING]: Buffer };
  try {
    return await work((command) => client.sendCommand(command, { typeMapping }));
  } finally {
    client.destroy();
  }
}

async function readEntry(send: SendCommand, key: string): Promise<StoreEntry> {
  const type = String(await send(['TYPE', key]));
  const reader = readers[type];
  if (reader === undefined && type !== 'none') throw new Error(`${key} is a ${type}: teach the dump to read it`);
  const read = reader === undefined ? [] : await send(reader(key));
  return { key, type, ttlMs: Number(await send(['PTTL', key])), values: [read].flat(5).map(bytesOf) };
}

const bytesOf = (value: unknown): Buffer => (Buffer.isBuffer(value) ? value : Buffer.from(String(value)));

/** What stays the same of a secret's base64 and base64url, wherever in a longer text it stands. */
function base64Cores(bytes: Buffer): string[] {
  return [0, 1, 2].flatMap((offset) => {
    const padded = Buffer.concat([Buffer.alloc(offset), bytes]);
    // Leave out the characters that also hold bits of the neighbours.
    const whole = padded.subarray(offset === 0 ? 0 : 3, padded.length - (padded.length % 3));
    return whole.length < 6 ? [] : [whole.toString('base64'), whole.toString('base64url')];
  });
}
