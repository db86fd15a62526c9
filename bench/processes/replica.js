/**
 * One replica of the revocation measurement: loads each session that it is told of, then asks every millisecond and tells when it
 * is first refused. Arguments: Redis's URL, maximum age of what is in the near cache.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { openCoatcheck } from './coatcheck-sessions.js';

const coatcheck = await openCoatcheck(process.argv[2], 'tracked', { maximumAge: process.argv[3] });

const isHeld = async (ticket) => (await coatcheck.sessions.load(ticket)).kind === 'session';

process.on('message', async (ticket) => {
  if (!(await isHeld(ticket))) throw new Error('a session that lives was refused');
  process.send({ held: true });
  while (await isHeld(ticket)) await delay(1);
  process.send({ refusedAt: String(process.hrtime.bigint()) });
});
process.on('disconnect', () => process.exit(0));
process.send({ held: true });
