import { randomBytes } from 'node:crypto';
import { replyCode } from '../session/redis.ts';
import { fine, risky, type Verdict, wrong } from './finding.ts';
import type { ExaminedStore } from './store.ts';
import { ask } from './store-reply.ts';

/** What a user of the store needs: the store's commands and its scripts', and what lets the doctor see. No more. */
const rules: readonly string[] = [
  '-@all +ping +echo +get +set +getdel +del +getrange +setrange +pexpire +pexpireat +pttl',
  '+zadd +zrange +zrem +zremrangebyscore +zscore +eval +evalsha +client|tracking',
  '+info +time +wait +acl|whoami +acl|dryrun',
];

/** The ACL rule of a user that may do what is needed and nothing else. */
export function sufficientRule(keyPrefix: string, database = 0): string {
  return [`resetchannels ~${keyPrefix}*`, ...rules, ...(database === 0 ? [] : ['+select'])].join(' ');
}

function advice({ config, address }: ExaminedStore): string {
  return `give it exactly: ACL SETUSER <name> ${sufficientRule(config.keyPrefix, address.database)}`;
}

/** As whom we are there. Names are not told: in some URLs the password stands in their place. */
export async function user({ connection, address }: ExaminedStore): Promise<Verdict> {
  const name = await userName({ connection, address });
  if (name !== 'default') return fine('a user of its own');
  const secret = address.password === '' ? ' without a password' : '';
  return risky(
    `the default user${secret}, whom everybody shares that may connect`,
    'make a user for Coatcheck alone and name it in store.url; store.excess has its ACL',
  );
}

async function userName({
  connection,
  address,
}: Pick<ExaminedStore, 'connection' | 'address'>): Promise<string> {
  const reply = await ask(connection, 'ACL', 'WHOAMI');
  return reply.kind === 'value' ? String(reply.value) : address.username || 'default';
}

/** What nobody needs for sessions, each as the command that would do it. None is sent: `ACL DRYRUN` answers. */
const needless = (): readonly (readonly [what: string, ...command: string[]])[] => [
  ['empty the store', 'FLUSHALL'],
  ['change its settings', 'CONFIG', 'SET', 'maxmemory', '0'],
  ['list all keys', 'KEYS', '*'],
  ['debug it', 'DEBUG', 'SLEEP', '0'],
  ['shut it down', 'SHUTDOWN'],
  ['read keys of others', 'GET', randomBytes(16).toString('hex')],
];

/** Whether the user may do more than it needs. */
export async function excess(subject: ExaminedStore): Promise<Verdict> {
  const { connection } = subject;
  const name = await userName(subject);
  const allowed: string[] = [];
  let seen = false;
  for (const [what, ...command] of needless()) {
    const reply = await ask(connection, 'ACL', 'DRYRUN', name, ...command);
    if (reply.kind === 'value') seen = true;
    if (reply.kind === 'value' && String(reply.value) === 'OK') allowed.push(what);
  }
  if (!seen && (await ask(connection, 'CONFIG', 'GET', 'maxmemory')).kind === 'value') {
    allowed.push('read its settings');
  }
  if (allowed.length > 0) {
    return risky(`the user may also: ${allowed.join(', ')}`, advice(subject));
  }
  return seen
    ? fine('the user may do little beside what it needs')
    : fine('the user may use neither ACL nor CONFIG; what else it may do cannot be seen');
}

/** What is refused for want of permission, in the user's own name or in a script's. */
const forbidden: ReadonlySet<string> = new Set(['NOPERM', 'ERR']);
const probeMs = 1000;

/** Whether everything works that the gateway does: each is done, to keys of a second's life. */
export async function permissions(subject: ExaminedStore): Promise<Verdict> {
  const refusals = new Map<string, string>();
  for (const [name, operation] of Object.entries(operations(subject))) {
    try {
      await operation();
    } catch (fault) {
      const code = replyCode(fault);
      // Some refusals, such as READONLY, cost the connection; they say enough.
      if (code === undefined && refusals.size > 0) break;
      if (code === undefined) throw fault;
      refusals.set(name, code);
    }
  }
  if (refusals.size === 0) return fine('the user may do all that is needed');
  const says = `refused: ${[...refusals].map(([name, code]) => `${name} (${code})`).join(', ')}`;
  return [...refusals.values()].every((code) => forbidden.has(code))
    ? wrong(says, advice(subject))
    : wrong(says, 'see what the server means by these codes: OOM is full memory, READONLY a replica');
}

/** Each operation of the store, in an order in which none comes for nothing. */
function operations({ store, connection, now }: ExaminedStore): Record<string, () => Promise<unknown>> {
  const id = randomBytes(32).toString('base64url');
  const startMs = now();
  const record = {
    idleDeadlineMs: startMs + probeMs / 2,
    absoluteDeadlineMs: startMs + probeMs,
    body: Buffer.alloc(0),
  };
  return {
    ping: () => store.ping(),
    echo: () => connection.run(undefined, (redis) => redis.send(['ECHO', 'coatcheck'])),
    create: () => store.create(id, record),
    read: () => store.read(id),
    extend: () => store.extend(id, record.absoluteDeadlineMs, 1),
    replace: () => store.replace(id, 1, record),
    destroy: () => store.destroy(id),
    putOnce: () => store.putOnce(id, Buffer.alloc(1), probeMs),
    takeOnce: () => store.takeOnce(id),
    lock: () => store.lock(id, id, probeMs),
    lockHeld: () => store.lock(id, 'another', probeMs),
    renewLock: () => store.renewLock(id, id, { ttlMs: probeMs }),
    unlock: () => store.unlock(id, id, 'settled'),
    indexAdd: () => store.indexAdd(id, { member: id, expiresAtMs: record.absoluteDeadlineMs }),
    indexEpoch: () => store.indexEpoch(id),
    indexList: () => store.indexList(id),
    indexRemove: () => store.indexRemove(id, id),
    // Scripts are known to the server until it restarts; then they are sent along.
    eval: () => connection.run(id, (redis) => redis.send(['EVAL', 'return 1', '0'])),
  };
}
