/**
 * From the call of `destroy()` in this process to the refusal in every other one, which had the session in its near cache and asks
 * every millisecond. All processes read the same monotonic clock. Arguments: Redis's URL, the URL by which the others reach
 * it, number of sessions to end, how many of them at once, maximum age in the near cache.
 */
import { fork } from 'node:child_process';
import { join } from 'node:path';
import { createSession, openCoatcheck } from './coatcheck-sessions.js';

const [url, replicaUrl] = process.argv.slice(2);
const [count, atOnce] = process.argv.slice(4, 6).map(Number);
const maximumAge = process.argv[6];
const replicaCount = 3;

const replicas = Array.from({ length: replicaCount }, () =>
  fork(join(import.meta.dirname, 'replica.js'), [replicaUrl, maximumAge]),
);

const failed = () => {
  throw new Error('a replica has ended');
};
for (const replica of replicas) replica.once('exit', failed);

/** The next `each` messages of every replica. */
const answers = async (each) => {
  const all = replicas.map(
    (replica) =>
      new Promise((resolve) => {
        const got = [];
        const onMessage = (message) => {
          if (got.push(message) < each) return;
          replica.off('message', onMessage);
          resolve(got);
        };
        replica.on('message', onMessage);
      }),
  );
  return (await Promise.all(all)).flat();
};

const started = answers(1);
const coatcheck = await openCoatcheck(url, 'tracked');
await started;

const times = [];
for (let ended = 0; ended < count; ended += atOnce) {
  const tickets = [];
  for (let number = 0; number < atOnce; number += 1) tickets.push(await createSession(coatcheck, number));
  const held = answers(atOnce);
  for (const replica of replicas) for (const ticket of tickets) replica.send(ticket);
  await held;
  const refused = answers(atOnce);
  const began = process.hrtime.bigint();
  await Promise.all(tickets.map((ticket) => coatcheck.sessions.destroy(ticket)));
  for (const { refusedAt } of await refused) times.push(Number(BigInt(refusedAt) - began) / 1_000_000);
}

times.sort((one, other) => one - other);
const at = (share) => times[Math.min(times.length - 1, Math.floor(times.length * share))];
process.send({ sessions: count, refusals: times.length, p50Ms: at(0.5), p99Ms: at(0.99), mostMs: at(1) });
for (const replica of replicas) {
  replica.off('exit', failed);
  replica.disconnect();
}
await coatcheck.close();
process.disconnect();
