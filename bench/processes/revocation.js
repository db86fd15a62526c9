/**
 * From the call of `destroy()` in this process to the refusal in every other one, which had the session in its near cache and asks
 * every millisecond. All processes read the same monotonic clock. Arguments: Redis's URL, number of sessions to end.
 */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createSession, openCoatcheck } from './coatcheck-sessions.js';

const [url, count] = [process.argv[2], Number(process.argv[3])];
const replicaCount = 3;

const replicas = Array.from({ length: replicaCount }, () =>
  fork(join(import.meta.dirname, 'replica.js'), [url]),
);
const answers = () => Promise.all(replicas.map(async (replica) => (await once(replica, 'message'))[0]));

const started = answers();
const coatcheck = await openCoatcheck(url, 'tracked');
await started;

const times = [];
for (let number = 0; number < count; number += 1) {
  const ticket = await createSession(coatcheck, number);
  const held = answers();
  for (const replica of replicas) replica.send(ticket);
  await held;
  const refused = answers();
  const began = process.hrtime.bigint();
  await coatcheck.sessions.destroy(ticket);
  for (const { refusedAt } of await refused) times.push(Number(BigInt(refusedAt) - began) / 1_000_000);
}

times.sort((one, other) => one - other);
const at = (share) => times[Math.min(times.length - 1, Math.floor(times.length * share))];
process.send({ sessions: count, replicas: replicaCount, p50Ms: at(0.5), p99Ms: at(0.99), mostMs: at(1) });
for (const replica of replicas) replica.disconnect();
await coatcheck.close();
process.disconnect();
