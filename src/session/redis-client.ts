import { createClient, RESP_TYPES, type RedisArgument } from '@redis/client';
import type { RedisAddress } from './redis-address.ts';

/** For TCP and TLS. Together with the longest delay less than a second, so that whoever is back is found within it. */
const connectTimeoutMs = 500;

/** Full jitter, from 50 ms to a bound that doubles up to 400 ms. */
export function retryDelayMs(retries: number): number {
  return Math.round(50 + Math.random() * (Math.min(400, 100 * 2 ** retries) - 50));
}

/** One node, and how to come in: what a single connection is made of. */
export interface RedisTarget extends RedisAddress {
  /** Certificate authorities (PEM) to trust instead of the system's. */
  readonly ca: string | Buffer | undefined;
}

/** As much of the library's client as we use. It connects once: a new connection is a new client. */
export interface RedisClient {
  readonly isReady: boolean;
  on(event: 'connect' | 'ready', listener: () => void): unknown;
  on(event: 'error', listener: (error: unknown) => void): unknown;
  on(event: 'invalidate', listener: (key: Buffer | null) => void): unknown;
  connect(): Promise<unknown>;
  sendCommand(command: readonly RedisArgument[]): Promise<unknown>;
  /** Ends the connection at once, also one that is still being made. */
  destroy(): void;
}

/**
 * A client, not yet connected, with the settings that we stand on. With `tracking` the server tells of changes to what was
 * read (`CLIENT TRACKING`).
 */
export function newClient(target: RedisTarget, tracking: boolean): RedisClient {
  const { host, port, tls, ca, username, password, database } = target;
  return createClient({
    // An empty user name would be sent as such; left out, it is the default user.
    ...(username && { username }),
    ...(password && { password }),
    database,
    RESP: 3,
    // The library's own timeout costs up to half of the throughput and does not cover what is in flight.
    commandOptions: { timeout: 0, typeMapping: { [RESP_TYPES.BLOB_STRING]: Buffer } },
    emitInvalidate: tracking,
    disableOfflineQueue: true,
    maintNotifications: 'disabled',
    socket: {
      host,
      port,
      connectTimeout: connectTimeoutMs,
      keepAliveInitialDelay: 5000,
      // The next attempt may have another address, password or authority.
      reconnectStrategy: false,
      ...(tls && { tls, rejectUnauthorized: true, ...(ca !== undefined && { ca }) }),
    },
  });
}
