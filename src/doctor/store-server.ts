import { fine, quote, risky, type Verdict, wrong } from './finding.ts';
import type { ExaminedStore } from './store.ts';
import { ask, askInfo, member } from './store-reply.ts';

/** Kind and version of the server. `HELLO` tells everybody. */
export async function version({ connection }: ExaminedStore): Promise<Verdict> {
  const hello = await ask(connection, 'HELLO');
  const kind = member(hello, 'server') === 'valkey' ? 'Valkey' : 'Redis';
  const [text, major = '', minor = ''] = /^(\d+)\.(\d+)[\d.]*/.exec(member(hello, 'version') ?? '') ?? [];
  if (text === undefined) {
    return risky('the server does not tell its version', 'see that it is Redis 6.2 or Valkey 7.2, or newer');
  }
  const number = Number(major) * 100 + Number(minor);
  if (number < 602) return wrong(`${kind} ${text} lacks commands that we need`, 'use Redis or Valkey ≥ 7.2');
  return number < 700
    ? risky(`${kind} ${text} works but is old`, 'use Redis or Valkey ≥ 7.2')
    : fine(`${kind} ${text}`);
}

/** Whether this node is the one to write to. */
export async function role({ config, connection }: ExaminedStore): Promise<Verdict> {
  const hello = await ask(connection, 'HELLO');
  const mode = member(hello, 'mode') ?? 'standalone';
  if (mode === 'sentinel') return wrong('this is a sentinel', 'name it in store.sentinel.nodes instead');
  if ((mode === 'cluster') !== config.cluster) {
    return wrong(`the server runs as ${quote(mode)}`, `set store.cluster to ${mode === 'cluster'}`);
  }
  return member(hello, 'role') === 'replica'
    ? wrong(
        'this is a replica: it takes no writes',
        'name the primary in store.url, or a name that follows it',
      )
    : fine('this is a primary: it takes writes');
}

/** Whether the server tells of changes, which the near cache stands on. */
export function tracking({ connection, config }: ExaminedStore): Verdict {
  if (connection.tracking) return fine('the server tells of changes (CLIENT TRACKING)');
  const says = 'the server tells of no changes (CLIENT TRACKING)';
  switch (config.nearCache.mode) {
    case 'off':
      return fine(`${says}, and the near cache is off`);
    case 'tracked':
      return risky(
        `${says}: the near cache stays off, every request asks the store`,
        'allow the user +client|tracking, or use a server that has it',
      );
    case 'dangerously-untracked':
      return risky(
        `${says}: who is signed out elsewhere is still served from memory for a while`,
        'set store.nearCache.mode to tracked',
      );
  }
}

/** What goes when memory runs out. Where `CONFIG` is refused, `INFO` tells too. */
export async function eviction({ connection }: ExaminedStore): Promise<Verdict> {
  const info = await askInfo(connection, 'memory');
  const policy =
    member(await ask(connection, 'CONFIG', 'GET', 'maxmemory-policy'), 'maxmemory-policy') ??
    info?.get('maxmemory_policy');
  if (policy === undefined) {
    return risky(
      'what goes when memory runs out cannot be seen: neither CONFIG nor INFO is allowed',
      'allow the user +info, or see yourself that maxmemory-policy is noeviction or volatile-ttl',
    );
  }
  if (policy.startsWith('allkeys-')) {
    return risky(
      `maxmemory-policy is ${quote(policy)}: when memory runs out, sessions of active people are evicted`,
      'set it to noeviction or volatile-ttl, and watch the memory',
    );
  }
  const unlimited = info?.get('maxmemory') === '0' ? ', and there is no maxmemory' : '';
  return fine(
    policy === 'noeviction'
      ? `maxmemory-policy is noeviction${unlimited}: when memory runs out, sign-ins fail and nobody is signed out`
      : `maxmemory-policy is ${quote(policy)}${unlimited}: when memory runs out, sessions go; watch it`,
  );
}

/** Whether sessions outlive this node. */
export async function replicas({ connection }: ExaminedStore): Promise<Verdict> {
  const wait = await ask(connection, 'WAIT', '0', '1');
  const count = (await askInfo(connection, 'replication'))?.get('connected_slaves');
  const replicaCount = count ?? (wait.kind === 'value' ? String(wait.value) : undefined);
  if (replicaCount === undefined) {
    return risky(
      'replicas cannot be seen: neither INFO nor WAIT is allowed',
      'allow the user +info, or see yourself that there is one',
    );
  }
  if (replicaCount === '0') {
    return risky('no replica: if this node is lost, everybody signs in again', 'give it a replica');
  }
  const many = Number(replicaCount) === 1 ? 'one replica' : `${Number(replicaCount)} replicas`;
  return wait.kind === 'value'
    ? fine(`${many}; WAIT is there`)
    : fine(`${many}; WAIT is not (${wait.code}), so a failover may lose the last moment's sign-ins`);
}
