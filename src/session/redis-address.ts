import { isIPv4 } from 'node:net';
import { CoatcheckError } from '../errors.ts';

/** Where a Redis is and who we are there. */
export interface RedisAddress {
  readonly host: string;
  readonly port: number;
  readonly tls: boolean;
  readonly username: string;
  readonly password: string;
  readonly database: number;
}

/**
 * Takes a `rediss://` URL apart, or a `redis://` one on loopback. By hand, because the library's and Node's own errors quote
 * the URL, password included. Throws `config_invalid`.
 */
export function parseRedisAddress(text: string): RedisAddress {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const tls = url?.protocol === 'rediss:';
  const [, database] = /^\/?(\d{0,4})$/.exec(url?.pathname ?? '') ?? [];
  if (
    !url?.hostname ||
    (!tls && url.protocol !== 'redis:') ||
    database === undefined ||
    url.search ||
    url.hash
  ) {
    throw invalid('expected rediss://[user[:password]@]host[:port][/database]');
  }
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1').toLowerCase();
  if (!tls && !isLoopback(host)) throw invalid(`redis:// is for loopback only; use rediss:// for ${host}`);
  return {
    host,
    port: Number(url.port || 6379),
    tls,
    username: decoded(url.username),
    password: decoded(url.password),
    database: Number(database),
  };
}

/**
 * The address of another node of the same store, which the store itself has told. Throws `store_unavailable` where it would
 * mean plain text beyond this machine.
 */
export function siblingAddress(address: RedisAddress, host: string, port: number): RedisAddress {
  if (address.tls || isLoopback(host)) return { ...address, host, port };
  throw new CoatcheckError('store_unavailable', {
    detail: `Redis: its node ${host}:${port} is not on loopback, so store.url must be rediss://`,
  });
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIPv4(host) && host.startsWith('127.'));
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch (error) {
    throw new CoatcheckError('config_invalid', {
      detail: 'store.url: user or password is not percent-encoded',
      cause: error,
    });
  }
}

function invalid(detail: string): CoatcheckError {
  return new CoatcheckError('config_invalid', { detail: `store.url: ${detail}` });
}
