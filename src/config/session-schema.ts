/** How long sessions live, how many there may be, and what they keep. */
import * as z from 'zod';
import type { Config } from '../config.ts';
import { about, claimName, duration, integer, moment } from './field.ts';

const minute = 60_000;
const day = 24 * 60 * minute;

/** The section `session`. */
export const session: z.ZodType<Config['session']> = z
  .strictObject({
    idleTimeout: about(
      'A session ends after this long without a request.',
      duration(minute, 30 * day),
    ).prefault('1h'),
    absoluteTimeout: about(
      'A session ends this long after sign-in, whatever happens.',
      duration(minute, 30 * day),
    ).prefault('12h'),
    limit: about(
      'Most sessions of one person at a time; at one more the oldest ends. 0 is no limit.',
      integer(0, 10_000),
    ).prefault(0),
    validFrom: about(
      'Ends everything of everyone: who signed in before this moment is signed out, once it has come.',
      moment(),
    ).exactOptional(),
    claims: about(
      'Claims about the person that a session keeps and `/auth/session` shows.',
      z.array(claimName()),
    ).prefault(['name', 'email']),
  })
  .transform(({ idleTimeout, absoluteTimeout, ...rest }): Config['session'] => ({
    ...rest,
    idleTimeoutMs: idleTimeout,
    absoluteTimeoutMs: absoluteTimeout,
  }));
