/**
 * `load()` in one process, call by call: from the near cache; and without it, in turns with a bare GET of the same bytes by the
 * same client with the same settings. Without it there are two: the first load of a session in a process opens its
 * record; a later one finds it unchanged. Arguments: Redis's URL, number of calls.
 */
import { createClient, RESP_TYPES } from 'redis';
import { createSession, openCoatcheck } from './coatcheck-sessions.js';

const [url, count] = [process.argv[2], Number(process.argv[3])];
const sessionCount = 100;

const timed = async (times, work) => {
  const began = process.hrtime.bigint();
  await work();
  times.push(Number(process.hrtime.bigint() - began) / 1000);
};

const client = createClient({
  url,
  RESP: 3,
  commandOptions: { timeout: 0, typeMapping: { [RESP_TYPES.BLOB_STRING]: Buffer } },
  emitInvalidate: true,
  disableOfflineQueue: true,
  maintNotifications: 'disabled',
});
client.on('error', (error) => {
  throw error;
});
await client.connect();

const cachedTimes = [];
const firstTimes = [];
const againTimes = [];
const getTimes = [];

const uncached = await openCoatcheck(url, 'off');
const tickets = [];
for (let number = 0; number < sessionCount; number += 1) tickets.push(await createSession(uncached, number));
const keys = [];
for (const ticket of tickets) keys.push(`cc:s:{${(await uncached.sessions.load(ticket)).session.id}}`);

/** Each of the three comes first, second and third alike: what comes next to a write, or to a longer wait, takes longer. */
const round = async (calls, { firsts, agains, gets }) => {
  for (let call = 0; call < calls; call += 1) {
    const at = call % sessionCount;
    const fresh = await createSession(uncached, call);
    const turns = [
      () => timed(firsts, () => uncached.sessions.load(fresh)),
      () => timed(gets, () => client.sendCommand(['GET', keys[at]])),
      () => timed(agains, () => uncached.sessions.load(tickets[at])),
    ];
    for (let turn = 0; turn < 3; turn += 1) await turns[(call + turn) % 3]();
    await uncached.sessions.destroy(fresh);
  }
};
await round(Math.min(count, 2000), { firsts: [], agains: [], gets: [] });
await round(count, { firsts: firstTimes, agains: againTimes, gets: getTimes });

const cached = await openCoatcheck(url, 'tracked');
const own = [];
for (let number = 0; number < sessionCount; number += 1) own.push(await createSession(cached, number));
const load = async (calls, times) => {
  for (let call = 0; call < calls; call += 1)
    await timed(times, () => cached.sessions.load(own[call % sessionCount]));
};
await load(Math.min(count, 20_000), []);
await load(count * 20, cachedTimes);

const percentiles = (times) => {
  times.sort((one, other) => one - other);
  const at = (share) => times[Math.min(times.length - 1, Math.floor(times.length * share))];
  return { p50: at(0.5), p99: at(0.99), calls: times.length };
};
process.send({
  cached: percentiles(cachedTimes),
  first: percentiles(firstTimes),
  again: percentiles(againTimes),
  get: percentiles(getTimes),
});
client.destroy();
await Promise.all([uncached.close(), cached.close()]);
process.disconnect();
