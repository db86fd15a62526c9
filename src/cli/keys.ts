/** `coatcheck keys`: make keys, and say how they are changed. */
import { randomBytes } from 'node:crypto';
import type { Command } from 'commander';
import { stringify } from 'yaml';
import { formatDuration } from '../config/quantity.ts';
import { type Config, readConfig } from '../config.ts';
import { type CliIo, type Done, say, usage } from './cli-io.ts';

const today = (): string => new Date().toISOString().slice(0, 10).replaceAll('-', '');

const generateKey = (id: string, io: CliIo): number => {
  if (!/^[\w-]{1,16}$/.test(id)) {
    say(io, `--id: ${JSON.stringify(id)}; expected at most 16 letters, digits, _ -`);
    return usage;
  }
  io.stdout(stringify({ keys: [{ id, secret: randomBytes(32).toString('base64') }] }));
  say(
    io,
    'beside an older key: put it second at every replica, then first, and drop the older one when session.absoluteTimeout has passed',
  );
  return 0;
};

/** The steps of a rotation, from where the configuration is. */
const rotationSteps = ({ keys, session }: Config): string => {
  const [first, ...others] = keys.map(({ id }) => id);
  const later = others.join(', ');
  const drop = (id: string | undefined): string =>
    `drop ${id} when session.absoluteTimeout (${formatDuration(session.absoluteTimeoutMs)}) has passed since every replica had the other first; earlier signs people out`;
  const now = [`${first} seals; ${later === '' ? 'it alone opens' : `${later} only opens`}`];
  const fresh = `k${today()}`;
  const steps =
    others.length === 0
      ? [
          `make a key: coatcheck keys generate --id ${fresh}`,
          `put ${fresh} second, after ${first}, at every replica: it must be known everywhere before anybody seals with it`,
          `put ${fresh} first at every replica`,
          drop(first),
        ]
      : [
          `if ${others[0]} is the newer one: put it first at every replica, once each of them has it; then ${drop(first)}`,
          `if ${first} is the newer one: ${drop(later)}`,
        ];
  const numbered = steps.map((step, at) => `${others.length === 0 ? `${at + 1}.` : '-'} ${step}`);
  return [
    ...now,
    ...numbered,
    'a replica takes a changed configuration at SIGHUP, without a restart; `coatcheck config check` before that',
  ].join('\n');
};

/** Adds the commands. */
export const addKeyCommands = (program: Command, io: CliIo, done: Done): void => {
  const keys = program.command('keys').description('make and change keys');
  keys
    .command('generate')
    .description('print a new key for the configuration')
    .option('--id <id>', 'name of the key (default: k and the date)')
    .action((options: { id?: string }) => done(generateKey(options.id ?? `k${today()}`, io)));
  keys
    .command('rotate')
    .description('say which key is where, what to do next, and when the old one may go; changes nothing')
    .option('-c, --config <file>', 'configuration file (YAML)', 'coatcheck.yaml')
    .action((options: { config: string }) => {
      io.stdout(`${rotationSteps(readConfig(options.config, io.env))}\n`);
      done(0);
    });
};
