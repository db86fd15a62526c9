import { randomBytes } from 'node:crypto';
import { formatDuration } from '../config/quantity.ts';
import { fine, risky, type Verdict, wrong } from './finding.ts';
import type { ExaminedStore } from './store.ts';
import { ask, type Reply } from './store-reply.ts';

/** Beyond this, sessions end noticeably early or late: their ends are written in our time and kept in the store's. */
const skewRiskyMs = 1000;
const skewWrongMs = 60_000;

/** Whether the store's clock and ours agree. */
export async function clock({ connection, now }: ExaminedStore): Promise<Verdict> {
  const sentAtMs = now();
  const reply = await ask(connection, 'TIME');
  const receivedAtMs = now();
  const [seconds, microseconds] =
    reply.kind === 'value' && Array.isArray(reply.value) ? reply.value.map(Number) : [];
  if (seconds === undefined || microseconds === undefined) {
    return risky("the store's clock cannot be seen", 'allow the user +time');
  }
  const storeMs = seconds * 1000 + microseconds / 1000;
  // Whatever the way took is not the clock's fault.
  const skewMs = Math.max(0, sentAtMs - storeMs, storeMs - receivedAtMs);
  const says = `the store's clock and ours are ${(skewMs / 1000).toFixed(1)} s apart`;
  const next = 'set both by NTP: sessions end early or late by as much';
  if (skewMs > skewWrongMs) return wrong(says, next);
  return skewMs > skewRiskyMs ? risky(says, next) : fine(says);
}

const reads = 10;

/** How long ten reads take, against the deadline. */
export async function latency({ store, config }: ExaminedStore): Promise<Verdict> {
  const sessionId = randomBytes(32).toString('base64url');
  const times: number[] = [];
  for (let read = 0; read < reads; read++) {
    const startMs = performance.now();
    await store.read(sessionId);
    times.push(performance.now() - startMs);
  }
  const sorted = times.toSorted((left, right) => left - right);
  const median = sorted[reads / 2] ?? 0;
  const worst = sorted.at(-1) ?? 0;
  const limit = formatDuration(config.deadlineMs);
  const says = `${reads} reads: median ${median.toFixed(1)} ms, worst ${worst.toFixed(1)} ms; store.deadline is ${limit}`;
  const next = 'bring gateway and store nearer together, or raise store.deadline';
  if (median > config.deadlineMs) return wrong(says, next);
  return worst > config.deadlineMs / 2 ? risky(says, next) : fine(says);
}

/** Enough to notice, too little to be felt. */
const scans = 20;
const keysPerScan = 500;
const sampleSize = 1000;

/** Whether keys of ours, in a sample, would stay for ever. */
export async function leftovers({ connection, config }: ExaminedStore): Promise<Verdict> {
  const seen = new Set<string>();
  let cursor = '0';
  for (let scan = 0; scan < scans; scan++) {
    const { keyPrefix } = config;
    const reply = await ask(connection, 'SCAN', cursor, 'MATCH', `${keyPrefix}*`, 'COUNT', `${keysPerScan}`);
    if (reply.kind === 'refused') return unseen;
    const [next, keys] = pageOf(reply);
    for (const key of keys) seen.add(key);
    cursor = next;
    if (cursor === '0' || seen.size >= sampleSize) break;
  }
  const replies = await Promise.all([...seen].map((key) => ask(connection, 'PTTL', key)));
  if (replies.some(({ kind }) => kind === 'refused')) return unseen;
  const lasting = replies.filter((reply) => reply.kind === 'value' && reply.value === -1).length;
  const under = `${seen.size} keys under ${config.keyPrefix}${cursor === '0' ? '' : ' (a sample)'}`;
  return lasting === 0
    ? fine(`of ${under} none would stay for ever`)
    : risky(
        `of ${under} ${lasting} would stay for ever, and are not Coatcheck's`,
        'see who writes them; give each system a store.keyPrefix of its own',
      );
}

const unseen = fine('keys without a time to live were not looked for: the user may not SCAN, and need not');

function pageOf(reply: Extract<Reply, { kind: 'value' }>): [cursor: string, keys: string[]] {
  const [cursor, keys] = Array.isArray(reply.value) ? (reply.value as unknown[]) : [];
  return [cursor === undefined ? '0' : String(cursor), Array.isArray(keys) ? keys.map(String) : []];
}
