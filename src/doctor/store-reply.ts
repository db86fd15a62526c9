import { type RedisConnection, replyCode } from '../session/redis.ts';

/** What a server said to one command. */
export type Reply =
  | { readonly kind: 'value'; readonly value: unknown }
  /** An error reply: not allowed, not known, not now. */
  | { readonly kind: 'refused'; readonly code: string };

/** Sends one command. Throws `store_unavailable` where no reply comes. */
export async function ask(connection: RedisConnection, ...command: readonly string[]): Promise<Reply> {
  try {
    return { kind: 'value', value: await connection.run(undefined, (redis) => redis.send(command)) };
  } catch (fault) {
    const code = replyCode(fault);
    if (code === undefined) throw fault;
    return { kind: 'refused', code };
  }
}

/** The fields of one section of `INFO`, or nothing where that is refused. */
export async function askInfo(
  connection: RedisConnection,
  section: string,
): Promise<ReadonlyMap<string, string> | undefined> {
  const reply = await ask(connection, 'INFO', section);
  if (reply.kind === 'refused') return undefined;
  const lines = String(reply.value).matchAll(/^(\w+):(.*?)\r?$/gm);
  return new Map(Array.from(lines, ([, name = '', value = '']) => [name, value]));
}

/** One member of a reply that is a map. */
export function member(reply: Reply, name: string): string | undefined {
  if (reply.kind === 'refused' || typeof reply.value !== 'object' || reply.value === null) return undefined;
  const value: unknown = Reflect.get(reply.value, name);
  return value === undefined ? undefined : String(value);
}
