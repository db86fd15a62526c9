// biome-ignore-all lint/suspicious/noTemplateCurlyInString: such references are what is tested
import { expect, test } from 'vitest';
import { type BadRow, badTitle, identity, input, problems, upstream } from '../../test/config-input.ts';

const bad: readonly BadRow[] = [
  [
    'unreadable file',
    identity({ clientSecret: undefined, clientSecretFile: 'nowhere' }),
    'providers.identity.clientSecretFile: "/nowhere/nowhere" cannot be read (ENOENT); expected a readable file',
  ],
  [
    'unreadable header file',
    upstream({ headers: { 'x-api-key': { file: '/dev/null/x' } } }),
    'upstreams.eln.headers.x-api-key.file: "/dev/null/x" cannot be read (ENOTDIR); expected a readable file',
  ],
  [
    'unreadable file that is read later',
    input({ store: { url: 'rediss://sessions.example.com', caFile: 'nowhere' } }),
    'store.caFile: "/nowhere/nowhere" cannot be read (ENOENT); expected a readable file',
  ],
  [
    'no path of a file',
    input({ store: { url: 'rediss://sessions.example.com', passwordFile: 7 } }),
    'store.passwordFile: no path; expected the path of a file',
  ],
  [
    'both forms',
    identity({ clientSecretFile: 'x' }),
    'providers.identity.clientSecretFile: given beside clientSecret; expected either clientSecret or clientSecretFile',
  ],
  [
    'missing variable',
    identity({ clientSecret: '${ABSENT}' }),
    'providers.identity.clientSecret: environment variable ABSENT is not set; expected a value in ABSENT',
  ],
  [
    'malformed reference',
    identity({ clientId: '${A:-b}' }),
    'providers.identity.clientId: a malformed reference; expected ${NAME}, or $${ for a plain ${',
  ],
];

test.each(bad)(badTitle, (_, value, line) => {
  expect(problems(value)).toEqual([line]);
});
