/** One replica of the revocation measurement: holds each session that it is told of, then tells when it first refuses it. */
import { setTimeout as delay } from 'node:timers/promises';
import { openCoatcheck } from './coatcheck-sessions.js';

const coatcheck = await openCoatcheck(process.argv[2], 'tracked');

const isHeld = async (ticket) => (await coatcheck.sessions.load(ticket)).kind === 'session';

process.on('message', async (ticket) => {
  if (!(await isHeld(ticket))) throw new Error('a session that lives was refused');
  process.send({ held: true });
  while (await isHeld(ticket)) await delay(1);
  process.send({ refusedAt: String(process.hrtime.bigint()) });
});
process.on('disconnect', () => process.exit(0));
process.send({ held: true });
