// biome-ignore-all lint/suspicious/noTemplateCurlyInString: such references are what is tested
/** Valid configurations to break in tests, with secrets that must never be seen. */
import { expect } from 'vitest';
import { checkConfig, problemLine } from '../src/config.ts';

/** A key of 33 bytes. */
export const keySecret: string = Buffer.from('canary-key-0123456789-0123456789-').toString('base64');
// Whatever happens, none of these may be seen.
const canaries = [keySecret, 'canary-'];
/** The environment in which it is valid. */
export const env: Readonly<Record<string, string>> = {
  CLIENT_SECRET: 'canary-client-secret',
  PORT: '8443',
  NAME: 'replica-1',
};

/** A configuration in its written form, or a part of one. */
export type Input = Record<string, unknown>;

/** A provider with changes. */
export const provider = (changes: Input = {}): Input => ({
  issuer: 'https://identity.example.com',
  clientId: 'apps',
  clientSecret: '${CLIENT_SECRET}',
  ...changes,
});

/** A valid configuration with changes. */
export const input = (changes: Input = {}): Input => ({
  publicUrl: 'https://apps.example.com',
  store: { url: 'rediss://apps:canary-store@sessions.example.com:6379' },
  keys: [{ id: 'k1', secret: keySecret }],
  providers: { identity: provider() },
  login: ['identity'],
  ...changes,
});

/** The same, with changes to its one provider. */
export const identity = (changes: Input): Input => input({ providers: { identity: provider(changes) } });
/** The same, with one upstream. */
export const upstream = (changes: Input): Input =>
  input({ upstreams: { eln: { url: 'https://eln.example.com', provider: 'identity', ...changes } } });
/** The same, with a second provider in the login. */
export const second = (changes: Input): Input =>
  input({
    providers: {
      identity: provider(),
      notebook: provider({ issuer: 'https://notebook.example.com', ...changes }),
    },
    login: ['identity', 'notebook'],
  });

/** All problems, one line each; fails if one of them shows a secret or has more than one line. */
export const problems = (value: unknown, environment: Readonly<Record<string, string>> = env): string[] => {
  const result = checkConfig(value, environment, '/nowhere');
  const lines = result.kind === 'valid' ? [] : result.problems.map(problemLine);
  for (const line of lines) {
    expect(line).not.toContain('\n');
    for (const canary of canaries) expect(line).not.toContain(canary);
  }
  return lines;
};

/** What is wrong, the input, and the one line that says so. */
export type BadRow = readonly [title: string, value: Input, line: string];

/** The title of a test over such rows. */
export const badTitle: string = '%s: names key, value seen and expectation, and no secret';
