import { readFile } from 'node:fs/promises';
import type { Config } from '../config.ts';
import { type RedisConnection, replyCode } from '../session/redis.ts';
import type { RedisAddress } from '../session/redis-address.ts';
import type { SessionStore } from '../session/store.ts';
import { judgeCertificate } from './certificate.ts';
import { type Check, examine, type Finding, faultCode, fine, risky, type Verdict, wrong } from './finding.ts';
import { clock, latency, leftovers } from './store-content.ts';
import { excess, permissions, user } from './store-permissions.ts';
import { eviction, replicas, role, tracking, version } from './store-server.ts';

/** The store, as the gateway would use it. Of a cluster there will be one for each node. */
export interface ExaminedStore {
  readonly config: Config['store'];
  readonly address: RedisAddress;
  /** Started, but perhaps not connected. */
  readonly connection: RedisConnection;
  /** Over the same connection. */
  readonly store: SessionStore;
  /** Unix time in ms. */
  readonly now: () => number;
}

const unconnectedChecks: Readonly<Record<string, Check<ExaminedStore>>> = { reachable, tls };

const connectedChecks: Readonly<Record<string, Check<ExaminedStore>>> = {
  ...unconnectedChecks,
  version,
  role,
  user,
  excess,
  tracking,
  eviction,
  replicas,
  clock,
  latency,
  leftovers,
  // Last: where writes are refused the connection may be given up.
  permissions,
};

/** Examines a store whose connection has been started. */
export function examineStore(subject: ExaminedStore): Promise<Finding[]> {
  const checks = subject.connection.connected ? connectedChecks : unconnectedChecks;
  return examine({ name: 'store', subject, checks });
}

/** What there is to say of a store in this process. */
export function examineMemoryStore(): Promise<Finding[]> {
  const kind = (): Verdict =>
    risky(
      'memory://: sessions live in this process, end with it, and no other replica knows them',
      'use Redis or Valkey for everything but trying out',
    );
  return examine({ name: 'store', subject: undefined, checks: { kind } });
}

const nextSteps: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'start the store, or correct host and port in store.url',
  ENOTFOUND: 'correct the host in store.url',
  EAI_AGAIN: 'see whether names are resolved here, and correct the host in store.url',
  WRONGPASS: 'correct user and password in store.url',
  NOAUTH: 'give user and password in store.url',
  NOPERM: 'correct the user in store.url, or its ACL',
};

const tokenStep =
  'see that user, cache, region and serverless in store.auth are right, that the role in use is allowed elasticache:Connect on both cache and user, and that our clock is';

async function reachable({ config, connection, address }: ExaminedStore): Promise<Verdict> {
  const place = `${address.host}:${address.port}`;
  try {
    await connection.run(undefined, (redis) => redis.send(['PING']));
    return fine(`${place} answers`);
  } catch (fault) {
    const code = replyCode(fault) ?? faultCode(fault);
    return wrong(
      `no connection to ${place} (${code ?? 'no answer'})`,
      (config.auth && code === 'WRONGPASS' ? tokenStep : nextSteps[code ?? '']) ??
        'see whether it runs, speaks what store.url says (rediss:// for TLS), and the network lets us through',
    );
  }
}

async function tls({ config, address, now }: ExaminedStore): Promise<Verdict | undefined> {
  const ca = config.caFile === undefined ? {} : { ca: await readFile(config.caFile) };
  if (address.tls) return judgeCertificate({ ...address, ...ca }, now);
  return fine('not encrypted: redis://, which is taken for this machine itself only');
}
