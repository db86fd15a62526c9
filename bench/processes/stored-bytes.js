/**
 * `MEMORY USAGE` of one session with two tokens of various lengths, by Coatcheck and by connect-redis. Lengths vary because the
 * server rounds each value up to a size class; one length alone says more about the class than about us. Argument: Redis's URL.
 */
import session from 'express-session';
import { createSession, openCoatcheck } from './coatcheck-sessions.js';
import { idleTimeoutMs, sessionContent } from './content.js';
import { openStore } from './peer-store.js';

const url = process.argv[2];
const { client, store } = await openStore(url);
const coatcheck = await openCoatcheck(url, 'off');

const usage = async (key) => client.sendCommand(['MEMORY', 'USAGE', key, 'SAMPLES', '0']);
const only = async (pattern) => (await client.keys(pattern))[0];

const measure = async (tokenCharacters) => {
  await client.flushAll();
  const ticket = await createSession(coatcheck, 1, tokenCharacters);
  await coatcheck.sessions.load(ticket);
  await store.set('0123456789abcdefghijklmnopqrstuv', {
    cookie: new session.Cookie({ maxAge: idleTimeoutMs, originalMaxAge: idleTimeoutMs }),
    ...sessionContent(1, tokenCharacters),
  });
  const keys = { coatcheck: await only('cc:s:*'), index: await only('cc:i:*'), peer: await only('sess:*') };
  return {
    tokenCharacters,
    coatcheck: await usage(keys.coatcheck),
    index: await usage(keys.index),
    peer: await usage(keys.peer),
    coatcheckValue: await client.strLen(keys.coatcheck),
    peerValue: await client.strLen(keys.peer),
  };
};

const rows = [];
for (let characters = 800; characters <= 1600; characters += 50) rows.push(await measure(characters));
process.send({ rows });
client.destroy();
await coatcheck.close();
process.disconnect();
