/**
 * What it costs that others are signed in too. Several servers, each filled with another number of sessions, are asked in turns, so
 * that what the machine does meanwhile hits all of them alike. Arguments: number of calls, then `<sessions>=<URL>` for each.
 */
import { setTimeout as delay } from 'node:timers/promises';
import v8 from 'node:v8';
import vm from 'node:vm';
import { createClient } from 'redis';
import { createRedisConnection } from '../../dist/session/redis-connection.js';
import { createRedisStore } from '../../dist/session/redis-store.js';
import { userIndex } from '../../dist/session/session.js';
import { createSession, openCoatcheck } from './coatcheck-sessions.js';
import { sessionContent } from './content.js';

const calls = Number(process.argv[2]);
const ownSessions = Math.min(calls, 200);
const sessionsPerPerson = 10;
const people = Math.ceil(calls / 20);

/** Sessions of others: keys, lengths, times to live and index entries as of real ones, made by the server itself. */
const fillScript = `
for number = tonumber(ARGV[1]), tonumber(ARGV[2]) do
  local id = redis.sha1hex(number) .. 'abc'
  redis.call('SET', 'cc:s:{' .. id .. '}', ARGV[3], 'PXAT', ARGV[4])
  redis.call('ZADD', 'cc:i:{' .. id .. '}', ARGV[4], id)
  redis.call('PEXPIREAT', 'cc:i:{' .. id .. '}', ARGV[4])
end`;

const timed = async (times, work) => {
  const began = process.hrtime.bigint();
  const result = await work();
  times.push(Number(process.hrtime.bigint() - began) / 1000);
  return result;
};

const median = (times) => times.toSorted((one, other) => one - other)[Math.floor(times.length / 2)];

const usedBytes = async (client) => Number(/used_memory:(\d+)/.exec(await client.info('memory'))[1]);

const openStore = async (url) => {
  const connection = createRedisConnection({ url, deadlineMs: 5000 });
  await connection.start();
  return createRedisStore({ connection });
};

const fill = async (client, sessions) => {
  const usedBefore = await usedBytes(client);
  const [sample] = await client.keys('cc:s:*');
  const length = await client.strLen(sample);
  const endsAtMs = String(Date.now() + 12 * 3_600_000);
  for (let from = 1; from <= sessions; from += 10_000) {
    const to = Math.min(from + 9999, sessions);
    await client.eval(fillScript, { arguments: [String(from), String(to), 'x'.repeat(length), endsAtMs] });
  }
  return ((await usedBytes(client)) - usedBefore) / sessions;
};

const open = async (argument) => {
  const [sessions, url] = argument.split('=');
  const client = createClient({ url, commandOptions: { timeout: 0 } });
  await client.connect();
  const coatcheck = await openCoatcheck(url, 'off');
  const tickets = [];
  for (let number = 0; number < ownSessions; number += 1)
    tickets.push(await createSession(coatcheck, number));
  const storedBytes = await fill(client, Number(sessions) - ownSessions);
  client.destroy();
  const times = { load: [], list: [], destroyAll: [] };
  return { sessions: Number(sessions), storedBytes, coatcheck, store: await openStore(url), tickets, times };
};

const load = async (count, keep) => {
  for (let call = 0; call < count; call += 1) {
    for (let turn = 0; turn < stores.length; turn += 1) {
      const { coatcheck, tickets, times } = stores[(call + turn) % stores.length];
      const ticket = tickets[call % tickets.length];
      await timed(keep ? times.load : [], () => coatcheck.sessions.load(ticket));
    }
  }
};

/** Ends all sessions of one person, by the person's index. */
const destroyAll = async ({ coatcheck, store, times }, person) => {
  const number = 1_000_000 + person;
  for (let session = 0; session < sessionsPerPerson; session += 1) await createSession(coatcheck, number);
  const index = userIndex(sessionContent(number).user);
  await timed(times.destroyAll, async () => {
    const entries = await timed(times.list, () => store.indexList(index));
    if (entries.length !== sessionsPerPerson) throw new Error('the index does not list what was created');
    await Promise.all(
      entries.map(async ({ member }) => {
        if (!(await store.destroy(member))) throw new Error('the index lists what is not there');
        await store.indexRemove(index, member);
      }),
    );
  });
};

/** Heap and buffers of one entry of the near cache, with its session in it. */
const cacheBytes = async (url, entries) => {
  v8.setFlagsFromString('--expose-gc');
  const collect = vm.runInNewContext('gc');
  // Buffers go one round later than the objects that held them.
  const used = async () => {
    for (let round = 0; round < 3; round += 1) {
      collect();
      await delay(10);
    }
    const { heapUsed, arrayBuffers } = process.memoryUsage();
    return heapUsed + arrayBuffers;
  };
  const maker = await openCoatcheck(url, 'off');
  const tickets = [];
  for (let number = 0; number < entries; number += 1) tickets.push(await createSession(maker, number));
  await maker.close();
  const coatcheck = await openCoatcheck(url, 'tracked', { maximumAge: '10m' });
  for (let call = 0; call < 100; call += 1) await coatcheck.sessions.load(tickets[0]);
  const before = await used();
  for (const ticket of tickets) await coatcheck.sessions.load(ticket);
  const bytes = ((await used()) - before) / (entries - 1);
  await coatcheck.close();
  return bytes;
};

const stores = [];
for (const argument of process.argv.slice(3)) stores.push(await open(argument));
await load(Math.min(calls, 500), false);
await load(calls, true);
for (let person = 0; person < people; person += 1)
  for (const store of stores) await destroyAll(store, person);
for (const { coatcheck, store } of stores) await Promise.all([coatcheck.close(), store.close()]);

const [first] = process.argv.slice(3);
const entries = calls * 5;
process.send({
  sessionsPerPerson,
  cacheEntries: entries,
  cacheBytes: await cacheBytes(first.split('=')[1], entries),
  rows: stores.map(({ sessions, storedBytes, times }) => ({
    sessions,
    storedBytes,
    loadMicroseconds: median(times.load),
    listMicroseconds: median(times.list),
    destroyAllMicroseconds: median(times.destroyAll),
  })),
});
process.disconnect();
