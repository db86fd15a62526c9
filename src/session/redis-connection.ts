import { readFile } from 'node:fs/promises';
import { ClusterConnection } from './cluster-connection.ts';
import { NodeConnection } from './node-connection.ts';
import type { RedisConnection } from './redis.ts';
import { parseRedisAddress } from './redis-address.ts';
import type { RedisTarget } from './redis-client.ts';
import { SentinelConnection, type SentinelOptions } from './sentinel-connection.ts';

export type { RedisConnection } from './redis.ts';

/** Who we are to Redis. */
export interface RedisCredentials {
  /** Empty for the default user. */
  readonly username: string;
  readonly password: string;
}

/** Options of {@link createRedisConnection}. */
export interface RedisConnectionOptions {
  /**
   * `rediss://[user[:password]@]host[:port][/database]`; `redis://` on loopback only. With `cluster` any node, or a name that
   * leads to one; with `sentinel` the host is not used.
   */
  readonly url: string;
  /** Whether this is a Redis Cluster, with one connection to each of its primaries. Default false. */
  readonly cluster?: boolean;
  /** Who knows where the primary is. Default: the URL does. */
  readonly sentinel?: SentinelOptions;
  /** Time limit of every command, in ms. Default 250. */
  readonly deadlineMs?: number;
  /** Certificate authorities (PEM) to trust instead of the system's. */
  readonly ca?: string | Buffer;
  /** A file of them, read anew for each connection. */
  readonly caFile?: string;
  /** A file that holds the password, read anew for each connection, so that it can change. */
  readonly passwordFile?: string;
  /** Asked for each connection, in place of the URL and `passwordFile`. */
  readonly credentials?: () => Promise<RedisCredentials>;
  /** Told when the connection comes up and when it is lost. */
  readonly onStateChange?: (connected: boolean) => void;
  /** Told once per answer of a server whether it tells of changes. */
  readonly onTracking?: (tracking: boolean) => void;
}

/** A connection to one node, to a cluster, or to what sentinels name. Throws `config_invalid` where the URL is malformed or not safe to use. */
export function createRedisConnection(options: RedisConnectionOptions): RedisConnection {
  const { sentinel, deadlineMs = 250 } = options;
  const address = parseRedisAddress(options.url);
  const target = async (): Promise<RedisTarget> => ({
    ...address,
    ...(await credentials(options)),
    ca: options.caFile === undefined ? options.ca : await readFile(options.caFile),
  });
  const common = { ...options, deadlineMs };
  if (options.cluster === true) return new ClusterConnection({ ...common, target });
  if (sentinel !== undefined) return new SentinelConnection({ ...common, sentinel, target });
  return new NodeConnection({ ...common, name: `${address.host}:${address.port}`, target });
}

async function credentials({
  credentials: ask,
  passwordFile,
}: RedisConnectionOptions): Promise<Partial<RedisCredentials>> {
  if (ask !== undefined) return ask();
  if (passwordFile === undefined) return {};
  return { password: (await readFile(passwordFile, 'utf8')).replace(/\r?\n$/, '') };
}
