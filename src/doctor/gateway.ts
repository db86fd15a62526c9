import { formatDuration } from '../config/quantity.ts';
import type { Config } from '../config.ts';
import type { OutagePolicy } from '../policy.ts';
import { type Check, examine, type Finding, fine, risky, type Verdict } from './finding.ts';

const minute = 60 * 1000;
const hour = 60 * minute;

/** All that the configuration alone tells. */
export function examineGateway(config: Config): Promise<Finding[]> {
  return examine({ name: 'gateway', subject: config, checks });
}

const checks: Readonly<Record<string, Check<Config>>> = {
  publicUrl,
  ports,
  keys,
  lifetimes,
  nearCache,
  outage,
};

function publicUrl({ publicUrl: url }: Config): Verdict {
  if (url.startsWith('https:')) return fine(`browsers come to ${url}; cookies are Secure and __Host-`);
  return risky(
    `${url} is plain http: of the browsers, only Chromium and Firefox keep Secure cookies there`,
    'use https for everything but trying out',
  );
}

function ports({ listen }: Config): Verdict {
  const { host, port, adminHost, adminPort } = listen;
  const says = `listens on ${host}:${port}; probes and metrics on ${adminHost}:${adminPort}`;
  if (port === 0 || adminPort === 0) {
    return risky(`${says}; port 0 is another one after each start`, 'give listen.port and listen.adminPort');
  }
  return fine(`${says}, which asks nobody who they are: keep the outside away from it`);
}

function keys({ keys: ring, session }: Config): Verdict {
  const [first, ...older] = ring.map(({ id }) => id);
  if (new Set(ring.map(({ secret }) => secret.toString('base64'))).size < ring.length) {
    return risky(
      `two of the ${ring.length} keys are the same secret under two names`,
      'make a new one: coatcheck keys generate',
    );
  }
  if (older.length === 0)
    return fine(`one key, ${first}; to rotate, add a new one second, then put it first`);
  const says = `${first} seals, ${older.join(', ')} open${older.length === 1 ? 's' : ''}`;
  const drop = `drop what is older ${formatDuration(session.absoluteTimeoutMs)} after it last sealed`;
  return older.length === 1 ? fine(says, drop) : risky(`${says}: each can open what was stolen`, drop);
}

function lifetimes({ session }: Config): Verdict {
  const { idleTimeoutMs, absoluteTimeoutMs } = session;
  const says = `sessions end after ${formatDuration(idleTimeoutMs)} without a request, and ${formatDuration(absoluteTimeoutMs)} after sign-in`;
  if (idleTimeoutMs === absoluteTimeoutMs) {
    return risky(`${says}: the idle timeout never acts`, 'make session.idleTimeout shorter');
  }
  if (absoluteTimeoutMs > 24 * hour) {
    return risky(
      `${says}: so long can a stolen cookie be used`,
      'make session.absoluteTimeout a working day, unless people need it longer',
    );
  }
  return fine(
    `${says}; a token that its provider ends sooner asks for a new sign-in there`,
    'keep both near to what the providers give their tokens',
  );
}

function nearCache({ store }: Config): Verdict | undefined {
  const { mode, maximumAgeMs } = store.nearCache;
  if (store.url === 'memory://') return undefined;
  if (mode === 'off') return fine('off: every request asks the store');
  if (mode === 'tracked')
    return fine('tracked: the store tells of every change; store.tracking says whether it does');
  return risky(
    `dangerously-untracked: where the store tells of no changes, a person signed out elsewhere is served for up to ${formatDuration(maximumAgeMs)}`,
    'use tracked, with a store that has CLIENT TRACKING',
  );
}

function outage({ outage: { default: usual, routes } }: Config): Verdict {
  const all = [...Object.entries(routes), ['everything else', usual] as const];
  const open = all.filter(([, policy]) => policy.policy !== 'fail-closed');
  if (open.length === 0) return fine('while the store is away every route answers 503 (fail-closed)');
  const says = `while the store is away: ${open.map(([route, policy]) => `${route} ${describe(policy)}`).join(', ')}`;
  const longest = Math.max(...open.map(([, policy]) => staleForMs(policy)));
  return longest > 5 * minute
    ? risky(
        `${says}; for so long may somebody go on who has signed out`,
        'shorten staleFor to what the route is worth',
      )
    : fine(says);
}

function staleForMs(policy: OutagePolicy): number {
  return policy.policy === 'fail-open' ? policy.staleForMs : 0;
}

function describe(policy: OutagePolicy): string {
  return policy.policy === 'fail-open' ? `fail-open ${formatDuration(policy.staleForMs)}` : policy.policy;
}
