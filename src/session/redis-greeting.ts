import { ErrorReply } from '@redis/client';
import type { RedisClient } from './redis-client.ts';

/** What a server says of itself. That it does says nothing of commands on sessions. */

/** Errors by which a server says that it is not, or no longer, the one to ask. */
export const notPrimaryCodes: ReadonlySet<string> = new Set([
  'READONLY',
  'LOADING',
  'CLUSTERDOWN',
  'MASTERDOWN',
]);

/** Whether the server is a replica of another. Throws what the connection does. */
export async function askReplica(client: RedisClient): Promise<boolean> {
  const hello = await client.sendCommand(['HELLO']);
  return /replica|slave/.test(String(Object(hello).role));
}

/**
 * Whether the server tells of changes (`CLIENT TRACKING`); `undefined` where it did not say. For a plain connection: a refusal
 * would end the handshake of a tracked one.
 */
export async function askTracking(client: RedisClient): Promise<boolean | undefined> {
  try {
    await client.sendCommand(['CLIENT', 'TRACKING', 'ON']);
    return true;
  } catch (error) {
    return error instanceof ErrorReply ? false : undefined;
  }
}
