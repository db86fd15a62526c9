import { readFile } from 'node:fs/promises';
import { ClusterConnection } from './cluster-connection.ts';
import type { CredentialSource, StartTimer } from './credential-renewal.ts';
import { type ElasticacheIam, elasticacheCredentials } from './elasticache-credentials.ts';
import { NodeConnection } from './node-connection.ts';
import type { RedisConnection } from './redis.ts';
import { parseRedisAddress, type RedisAddress } from './redis-address.ts';
import type { RedisTarget } from './redis-client.ts';
import { SentinelConnection, type SentinelOptions } from './sentinel-connection.ts';

export type { RedisConnection } from './redis.ts';

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
  /** A file that holds the password, read anew for each connection and every few seconds of it, so that it can change. */
  readonly passwordFile?: string;
  /** Where users are known by a cloud's tokens, in place of a password. */
  readonly auth?: ElasticacheIam;
  /** Any other source of credentials, in place of the URL, `passwordFile` and `auth`. */
  readonly credentials?: CredentialSource;
  /** By which credentials of live connections are renewed. Default: `setTimeout`. */
  readonly startTimer?: StartTimer;
  /** Whether a replica is refused, which a name that moves may still lead to. Default true. Not in a cluster. */
  readonly primaryOnly?: boolean;
  /** Told when the connection comes up and when it is lost. */
  readonly onStateChange?: (connected: boolean) => void;
  /** Told once per answer of a server whether it tells of changes. */
  readonly onTracking?: (tracking: boolean) => void;
  /** Told of each attempt to renew the credentials of a live connection that failed. It goes on as long as the server lets it. */
  readonly onRenewalFault?: (fault: unknown) => void;
}

/** A connection to one node, to a cluster, or to what sentinels name. Throws `config_invalid` where the URL is malformed or not safe to use, or `auth` lacks its packages. */
export function createRedisConnection(options: RedisConnectionOptions): RedisConnection {
  const { sentinel, deadlineMs = 250, primaryOnly = true, onRenewalFault, startTimer } = options;
  const address = parseRedisAddress(options.url);
  const source = sourceOf(options, address);
  const target = async (): Promise<RedisTarget> => ({
    ...address,
    ...(await source?.current()),
    ca: options.caFile === undefined ? options.ca : await readFile(options.caFile),
  });
  const renewal = source && {
    source,
    ...(onRenewalFault && { onFault: onRenewalFault }),
    ...(startTimer && { startTimer }),
  };
  const common = { ...options, deadlineMs, target, ...(renewal && { renewal }) };
  if (options.cluster === true) return new ClusterConnection(common);
  if (sentinel !== undefined) return new SentinelConnection({ ...common, sentinel });
  return new NodeConnection({ ...common, name: `${address.host}:${address.port}`, primaryOnly });
}

function sourceOf(
  { credentials, auth, passwordFile }: RedisConnectionOptions,
  { username }: RedisAddress,
): CredentialSource | undefined {
  if (credentials !== undefined) return credentials;
  if (auth !== undefined) return elasticacheCredentials(auth);
  if (passwordFile === undefined) return undefined;
  return {
    async current() {
      return { username, password: (await readFile(passwordFile, 'utf8')).replace(/\r?\n$/, '') };
    },
    renewAfterMs: () => 5000 * (1 + Math.random()),
  };
}
