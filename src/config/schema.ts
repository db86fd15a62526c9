/** The one schema: form, default, unit, secret or not, and what each key is for. The docs page is generated from it. */
import * as z from 'zod';
import type { Config, UpstreamConfig } from '../config.ts';
import { webAddressFault } from './address.ts';
import {
  about,
  choice,
  duration,
  integer,
  mapping,
  matching,
  secretBytes,
  size,
  text,
  webAddress,
} from './field.ts';
import { provider } from './provider-schema.ts';
import { session } from './session-schema.ts';
import { outage, store } from './store-schema.ts';

const second = 1000;
const minute = 60 * second;
const hour = 60 * minute;
const day = 24 * hour;

const origin = text({ form: 'https:// origin, without path' }, (value) =>
  webAddressFault(value, { path: false }),
);
const host = matching(/^[\w.:-]{1,253}$/, 'host name or IP address');
const port = integer(0, 65_535);
const name = matching(
  /^[a-z][a-z0-9-]{0,63}$/,
  'name of lower-case letters, digits and hyphens, a letter first',
);

const ownHeaders: ReadonlySet<string> = new Set(
  'authorization cookie host content-length expect connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer transfer-encoding upgrade'.split(
    ' ',
  ),
);
const headerName = text({ form: 'header name' }, (value) => {
  if (ownHeaders.has(value)) return 'a header that the gateway does not set or remove itself';
  return /^[!#$%&'*+.^_`|~0-9a-z-]{1,128}$/.test(value)
    ? undefined
    : 'header name in lower case (RFC 9110 §5.1)';
});
const headerValue = text({ form: 'header value, or { file: path }', secret: 'whole' }, (value) =>
  /^[!-~]([\t -~]*[!-~])?$/.test(value) ? undefined : 'header value of printable ASCII on one line',
);

const listen = z.strictObject({
  host: about('Address of the public listener.', host).prefault('0.0.0.0'),
  port: about('Port of the public listener. 0 takes a free one.', port).prefault(8080),
  adminHost: about(
    'Address of the second listener (`/livez`, `/readyz`, `/metrics`, `/admin/…`). Of `/admin/…` alone it asks a token: probes need to reach it, the outside must not.',
    host,
  ).prefault('0.0.0.0'),
  adminPort: about('Port of the second listener. 0 takes a free one.', port).prefault(9090),
  adminToken: about(
    'What callers of `/admin/…` on the second listener show as their bearer token (RFC 6750). Without it there is no `/admin/…`.',
    text({ form: 'text of 32 to 256 characters', secret: 'whole' }, (value) =>
      /^[\w.~+/=-]{32,256}$/.test(value) ? undefined : '32 to 256 letters, digits, - . _ ~ + / =',
    ),
  ).exactOptional(),
  replicaName: about(
    'Name of this process, sent with every answer as `coatcheck-replica`. Without it the header is not sent.',
    matching(/^[\w.-]{1,64}$/, 'name of at most 64 letters, digits, _ . -'),
  ).exactOptional(),
});

const key = z.strictObject({
  id: about(
    'Name of the key, stored beside what it seals. Never use one name for two secrets.',
    matching(/^[\w-]{1,16}$/, 'at most 16 letters, digits, _ -'),
  ),
  secret: about('The key itself. `coatcheck keys generate` makes one.', secretBytes(32)),
});

const upstream = z
  .strictObject({
    url: about('Where `/api/<name>/…` leads. The rest of the path is appended.', webAddress()),
    provider: about('Provider, one of `login`, whose access token is attached.', name),
    headers: about(
      'Fixed headers for every request, such as an API key. Names in lower case; values are treated as secrets.',
      mapping(headerName, headerValue),
    ).prefault({}),
    methods: about(
      'Methods that pass; others get 405.',
      z.array(choice('GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS')).min(1),
    ).prefault(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE']),
    headersTimeout: about('The longest wait until the answer begins.', duration(100, hour)).prefault('30s'),
    bodyTimeout: about('The longest pause within the answer.', duration(100, hour)).prefault('5m'),
    connections: about('Connections to this upstream at a time.', integer(1, 10_000)).prefault(64),
  })
  .transform(
    ({ url, headersTimeout, bodyTimeout, ...rest }): UpstreamConfig => ({
      ...rest,
      url: url.replace(/\/+$/, ''),
      headersTimeoutMs: headersTimeout,
      bodyTimeoutMs: bodyTimeout,
    }),
  );

const app = z.strictObject({
  url: about('Where everything leads that is not ours.', webAddress()),
  public: about(
    'Paths that need no session: exact, or all below with a final `/*`. Matched on the path alone.',
    z.array(
      matching(
        /^\/(?:[^?#*\\\s]*|(?:[^?#*\\\s]*\/)?\*)$/,
        'path that begins with /, with * only as its last segment',
      ),
    ),
  ).prefault([]),
  claims: about(
    'Claims, out of `session.claims`, that the app gets as `x-coatcheck-claim-<name>`.',
    z.array(matching(/^[\w-]{1,64}$/, 'claim name of letters, digits, _ -')),
  ).prefault([]),
});

const limits = z
  .strictObject({
    requestBody: about('Largest request body.', size(1024, 1024 ** 3)).prefault('10MiB'),
    headersTimeout: about(
      'The longest a client may take to send its headers.',
      duration(second, 5 * minute),
    ).prefault('10s'),
    requestTimeout: about(
      'The longest a client may take to send a whole request. At least `headersTimeout`.',
      duration(second, day),
    ).prefault('5m'),
    connections: about('Client connections at a time.', integer(1, 1_000_000)).prefault(10_000),
    drainDelay: about(
      'How long to go on as usual after SIGTERM while `/readyz` says no, so that balancers notice in time.',
      duration(0, minute),
    ).prefault('3s'),
    drainTimeout: about(
      'How long requests in flight may then take to end. Keep both together below the grace period of whatever sends the signal.',
      duration(0, hour),
    ).prefault('25s'),
  })
  .transform(
    ({
      requestBody,
      headersTimeout,
      requestTimeout,
      connections,
      drainDelay,
      drainTimeout,
    }): Config['limits'] => ({
      requestBodyBytes: requestBody,
      headersTimeoutMs: headersTimeout,
      requestTimeoutMs: requestTimeout,
      connections,
      drainDelayMs: drainDelay,
      drainTimeoutMs: drainTimeout,
    }),
  );

const log = z.strictObject({
  level: about('The least that is logged.', choice('debug', 'info', 'warn', 'error', 'silent')).prefault(
    'info',
  ),
});

/** Takes the written form, gives the normalised {@link Config}. */
export const schema: z.ZodType<Config> = z.strictObject({
  publicUrl: about(
    'Where browsers reach this gateway. Redirects and cookies follow from it, never from request headers.',
    origin,
  ),
  listen: about('Where the process listens.', listen.prefault({})),
  store: about('The session store, which all replicas share.', store),
  keys: about(
    'Keys that seal stored sessions: the first seals, all open. To rotate, add the new one as the second everywhere, then make it the first everywhere, and drop the old one after `session.absoluteTimeout`.',
    z.array(key).min(1).max(16),
  ),
  session: about('How long sessions live and what they keep.', session.prefault({})),
  providers: about('Authorization servers, by a name of your choice.', mapping(name, provider)),
  login: about(
    'Providers that a sign-in visits, in this order. The first says who the person is.',
    z.array(name).min(1).max(8),
  ),
  upstreams: about(
    'Systems that are called on the person’s behalf, by a name of your choice.',
    mapping(name, upstream).prefault({}),
  ),
  app: about('The app behind the gateway. Leave it out where there is none.', app.exactOptional()),
  outage: about('What happens while the session store does not answer.', outage.prefault({})),
  limits: about('What clients may use up.', limits.prefault({})),
  log: about('JSON lines on standard output.', log.prefault({})),
});
