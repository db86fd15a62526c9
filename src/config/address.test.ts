import { expect, test } from 'vitest';
import { type BadRow, badTitle, identity, input, problems, upstream } from '../../test/config-input.ts';

const http = 'https:// URL (http:// only on 127.0.0.0/8, [::1] or localhost)';
const redis = 'rediss://host:port (redis:// only on 127.0.0.0/8, [::1] or localhost) or memory://';

const bad: readonly BadRow[] = [
  [
    'http issuer',
    identity({ issuer: 'http://identity.example.com' }),
    `providers.identity.issuer: "http://identity.example.com"; expected ${http}`,
  ],
  [
    'almost loopback',
    identity({ issuer: 'http://127.0.0.1.example.com' }),
    `providers.identity.issuer: "http://127.0.0.1.example.com"; expected ${http}`,
  ],
  [
    'http publicUrl',
    input({ publicUrl: 'http://apps.example.com' }),
    `publicUrl: "http://apps.example.com"; expected ${http}`,
  ],
  [
    'publicUrl with path',
    input({ publicUrl: 'https://apps.example.com/x' }),
    'publicUrl: "https://apps.example.com/x"; expected origin only, as browsers write it (https://apps.example.com)',
  ],
  [
    'publicUrl with query',
    input({ publicUrl: 'https://apps.example.com?canary-q' }),
    'publicUrl: "https://apps.example.com?…"; expected URL without query',
  ],
  [
    'http upstream',
    upstream({ url: 'http://eln.example.com' }),
    `upstreams.eln.url: "http://eln.example.com"; expected ${http}`,
  ],
  ['http app', input({ app: { url: 'http://10.0.0.1' } }), `app.url: "http://10.0.0.1"; expected ${http}`],
  ['other scheme', input({ app: { url: 'file:///etc' } }), `app.url: "file:///etc"; expected ${http}`],
  ['no URL', input({ app: { url: 'apps' } }), 'app.url: "apps"; expected https:// URL'],
  [
    'credentials in issuer',
    identity({ issuer: 'https://u:canary-p@identity.example.com' }),
    'providers.identity.issuer: (secret, 39 characters); expected URL without user name and password',
  ],
  [
    'credentials in upstream',
    upstream({ url: 'https://canary-u@eln.example.com' }),
    'upstreams.eln.url: (secret, 32 characters); expected URL without user name and password',
  ],
  [
    'plain redis',
    input({ store: { url: 'redis://u:canary-p@sessions.example.com' } }),
    `store.url: redis://(secret, 10 characters)@sessions.example.com; expected ${redis}`,
  ],
  [
    'redis password with a slash',
    input({ store: { url: 'rediss://u:12/canary-p@sessions.example.com' } }),
    'store.url: (secret, 43 characters); expected nothing after the host, or a database number such as /1',
  ],
  [
    'http endpoint',
    identity({ discovery: false, tokenEndpoint: 'http://identity.example.com' }),
    `providers.identity.tokenEndpoint: "http://identity.example.com"; expected ${http}`,
  ],
  [
    'credentials without slashes',
    identity({ issuer: 'https:u:canary-p@identity.example.com' }),
    'providers.identity.issuer: (secret, 37 characters); expected https:// URL',
  ],
  [
    'backslashes',
    identity({ issuer: 'https:\\\\identity.example.com' }),
    'providers.identity.issuer: "https:\\\\\\\\identity.example.com"; expected https:// URL',
  ],
  [
    'query in capitals',
    upstream({ url: 'HTTPS://eln.example.com?key=canary-q' }),
    'upstreams.eln.url: "HTTPS://eln.example.com?…"; expected https:// URL',
  ],
];

test.each(bad)(badTitle, (_, value, line) => {
  expect(problems(value)).toEqual([line]);
});
