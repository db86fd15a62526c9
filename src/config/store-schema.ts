/** The part of the schema that is about the session store: where it is, what is kept of it here, and what happens without it. */
import * as z from 'zod';
import type { Config } from '../config.ts';
import type { OutagePolicy } from '../policy.ts';
import { storeAddressFault } from './address.ts';
import {
  about,
  choice,
  duration,
  filePath,
  flag,
  integer,
  mapping,
  matching,
  text,
  written,
} from './field.ts';

const second = 1000;
const minute = 60 * second;
const hour = 60 * minute;

const nearCache = z
  .strictObject({
    mode: about(
      '`tracked`: on where the store tells of changes (`CLIENT TRACKING`), otherwise off. `dangerously-untracked`: on also where it does not, so a session that was ended elsewhere is served for up to `maximumAge`.',
      choice('tracked', 'dangerously-untracked', 'off'),
    ).prefault('tracked'),
    maximumAge: about(
      'A session is read again after this long, whatever the store tells.',
      duration(100, 10 * minute),
    ).prefault('30s'),
    maximumEntries: about(
      'Most sessions kept; the least recently used go first.',
      integer(1, 1_000_000),
    ).prefault(10_000),
  })
  .transform(({ maximumAge, ...rest }): Config['store']['nearCache'] => ({
    ...rest,
    maximumAgeMs: maximumAge,
  }));

const sentinel = z.strictObject({
  name: about('The name by which the sentinels know the primary.', matching(/^[\w.-]{1,64}$/, 'name')),
  nodes: about(
    'The sentinels. What most of those who answer name is the primary; TLS and `caFile` hold for them too.',
    z.array(matching(/^(\[[\da-f:.]+\]|[\w.-]+):\d{1,5}$/, 'host:port')).min(1),
  ),
  password: about(
    'The password of the sentinels themselves, if they have one.',
    written({ form: 'password', secret: 'whole' }, z.string().min(1)),
  ).exactOptional(),
});

const auth = z.strictObject({
  type: about(
    '`elasticache-iam`: a token of 15 minutes, signed for each connection as whomever the default chain of the AWS SDK finds (environment, web identity, container, instance); live connections get another every 8 to 11 hours. Needs the packages `@smithy/signature-v4` and `@aws-sdk/credential-provider-node`.',
    choice('elasticache-iam'),
  ),
  user: about(
    'The id of the ElastiCache user, which must also be its name.',
    matching(/^(default\.)?[a-z][a-z\d-]*$/i, 'id of an ElastiCache user'),
  ),
  cache: about(
    'The name of the serverless cache, or the id of the replication group; not its host.',
    matching(/^[a-z][a-z\d]*(-[a-z\d]+)*$/i, 'name of a cache, such as sessions'),
  ),
  region: about(
    'Where the cache is.',
    matching(/^[a-z]{2,5}(-[a-z]+)+-\d{1,2}$/, 'AWS region, such as eu-central-1'),
  ),
  serverless: about('Whether the cache is a serverless one.', flag()).prefault(false),
});

/** `store` */
export const store: z.ZodType<Config['store']> = z
  .strictObject({
    url: about(
      'Where sessions live: Redis or Valkey over TLS. Plain `redis://` is taken on loopback only; `memory://` keeps sessions in this process and is taken only where `publicUrl` is loopback. With `cluster` any of its nodes, or a name that leads to one; with `sentinel` the host says nothing, all the rest holds.',
      text({ form: 'rediss:// URL', secret: 'credentials' }, storeAddressFault),
    ),
    passwordFile: about(
      'A file that holds the password, in place of one in `url`. It is read anew for each connection and every few seconds, so a password can change without a restart: let the store take both, replace the file, wait a moment, then drop the old one.',
      filePath(),
    ).exactOptional(),
    auth: about('Who we are where users are known otherwise than by a password.', auth).exactOptional(),
    caFile: about(
      'Certificate authorities (PEM) to trust in place of the system’s. Read anew for each connection. The host name is always verified.',
      filePath(),
    ).exactOptional(),
    cluster: about('Whether this is a Redis Cluster. Its nodes are found through `url`.', flag()).prefault(
      false,
    ),
    sentinel: about(
      'Sentinels that know where the primary is. Default: `url` leads to it.',
      sentinel,
    ).exactOptional(),
    acknowledgedBy: about(
      'How many replicas must have a new, changed or ended session (`WAIT`) before anybody is told; where they do not within half of `deadline`, that is an outage. Default: all that there are or were ten seconds ago; none where the store has no `WAIT`.',
      integer(0, 9),
    ).exactOptional(),
    deadline: about('The longest wait for one store operation.', duration(10, 10 * second)).prefault('250ms'),
    keyPrefix: about(
      'Begins every key in the store, so that several systems can share one.',
      matching(/^[\w:-]{1,32}$/, 'at most 32 letters, digits, _ : -'),
    ).prefault('cc:'),
    nearCache: about(
      'Sessions kept in this process, so that the usual request asks the store nothing.',
      nearCache.prefault({}),
    ),
  })
  .transform(({ deadline, ...rest }): Config['store'] => ({ ...rest, deadlineMs: deadline }));

const outagePolicy = z
  .strictObject({
    policy: about(
      '`fail-closed`: 503, cookie untouched. `fail-open`: whoever this replica has verified at most `staleFor` ago is served, marked; others get 503. `anonymous`: goes on without a session.',
      choice('fail-closed', 'fail-open', 'anonymous'),
    ),
    staleFor: about(
      'With `fail-open`, which needs it: how long ago.',
      duration(second, hour),
    ).exactOptional(),
  })
  .transform(({ policy, staleFor }, context): OutagePolicy => {
    if (policy !== 'fail-open') {
      if (staleFor !== undefined)
        context.addIssue({
          code: 'custom',
          path: ['staleFor'],
          message: 'nothing, for only fail-open has it',
        });
      return { policy };
    }
    if (staleFor === undefined)
      context.addIssue({
        code: 'custom',
        path: ['staleFor'],
        message: 'duration, such as 60s, because the policy is fail-open',
      });
    return { policy, staleForMs: staleFor ?? 0 };
  });

/** `outage` */
export const outage: z.ZodType<Config['outage']> = z.strictObject({
  default: about('Where no route matches.', outagePolicy.prefault({ policy: 'fail-closed' })),
  routes: about(
    'By path, or by prefix with a final `/*`; the longest match decides. Matched on the path alone.',
    mapping(
      matching(
        /^\/(?:[^?#*\\\s]*|(?:[^?#*\\\s]*\/)?\*)$/,
        'path that begins with /, with * only as its last segment',
      ),
      outagePolicy,
    ).prefault({}),
  ),
});
