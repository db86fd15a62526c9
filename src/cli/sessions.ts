/** `coatcheck sessions`: list, show and end a person's sessions, in the store itself. */
import { Writable } from 'node:stream';
import type { Command } from 'commander';
import type { Coatcheck } from '../coatcheck.ts';
import { type Config, readConfig } from '../config.ts';
import { CoatcheckError } from '../errors.ts';
import { describeForOperator, type FullSessionDescription } from '../gateway/session-description.ts';
import type { Person } from '../person-sessions.ts';
import { type CliIo, type Done, say, usage } from './cli-io.ts';

interface Options {
  readonly config: string;
  readonly subject: string;
  readonly issuer?: string;
  readonly json?: true;
  readonly session?: string;
  readonly othersThan?: string;
  readonly all?: true;
}

/** What a command works with. */
interface Work {
  readonly coatcheck: Coatcheck;
  readonly person: Person;
  readonly options: Options;
  readonly io: CliIo;
}

const personOf = ({ issuer, subject }: Options, { login, providers }: Config): Person => ({
  issuer: issuer ?? providers[login[0] ?? '']?.issuer ?? '',
  subject,
});

/** Opens the store, works, and lets go of it. Log lines would stand between the answers, so there are none. */
const withStore = async (
  options: Options,
  io: CliIo,
  work: (work: Work) => Promise<number>,
): Promise<number> => {
  const config = readConfig(options.config, io.env);
  if (config.store.url === 'memory://') {
    const detail =
      'store.url: "memory://"; expected a shared store, for these sessions live in the gateway alone';
    throw new CoatcheckError('config_invalid', { detail });
  }
  const { createCoatcheck } = await import('../coatcheck.ts');
  const silence = new Writable({ write: (_chunk, _encoding, next) => next() });
  const coatcheck = await createCoatcheck(config, { logDestination: silence });
  try {
    return await work({ coatcheck, person: personOf(options, config), options, io });
  } finally {
    await coatcheck.close();
  }
};

const described = async ({ coatcheck, person }: Work): Promise<readonly FullSessionDescription[]> => {
  const context = { ...coatcheck.config.session, nowMs: coatcheck.now() };
  return (await coatcheck.people.list(person)).map((session) => describeForOperator(session, context));
};

// Claims and scopes come from outside: a terminal must not act on them.
const plain = (text: string): string => text.replaceAll(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, '\ufffd');

const table = (rows: readonly (readonly string[])[]): string => {
  const widths = (rows[0] ?? []).map((_, column) =>
    Math.max(...rows.map((row) => (row[column] ?? '').length)),
  );
  const line = (row: readonly string[]): string =>
    row
      .map((cell, column) => plain(cell).padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd();
  return `${rows.map(line).join('\n')}\n`;
};

const minute = (time: string | undefined): string => time?.slice(0, 16).replace('T', ' ') ?? '-';

const list = async (work: Work): Promise<number> => {
  const sessions = await described(work);
  if (work.options.json) work.io.stdout(`${JSON.stringify(sessions, undefined, 2)}\n`);
  else if (sessions.length === 0) work.io.stdout('no sessions\n');
  else {
    const rows = sessions.map(
      ({ session, createdAt, lastUsedAt, idleExpiresAt, absoluteExpiresAt, providers }) => [
        session,
        ...[createdAt, lastUsedAt, idleExpiresAt, absoluteExpiresAt].map(minute),
        Object.entries(providers)
          .map(([name, { state }]) => `${name} ${state}`)
          .join(', '),
      ],
    );
    work.io.stdout(
      table([['SESSION', 'SIGNED IN', 'LAST USED', 'IDLE AT', 'ENDS AT', 'ACCESS TOKENS'], ...rows]),
    );
  }
  return 0;
};

const show = async (work: Work): Promise<number> => {
  const { options, io } = work;
  const found = (await described(work)).find(({ session }) => session === options.session);
  if (found === undefined) return unknown(work);
  if (options.json) io.stdout(`${JSON.stringify(found, undefined, 2)}\n`);
  else {
    const { user, providers, ...times } = found;
    const claims = Object.entries(user.claims).map(([name, value]) => [`claim ${name}`, value]);
    const states = Object.entries(providers).map(([name, { state, accessTokenExpiresAt, scope }]) => [
      `provider ${name}`,
      `access token ${state}, ends ${accessTokenExpiresAt}; scope ${scope}`,
    ]);
    const { issuer, subject } = user;
    io.stdout(
      table([...Object.entries({ issuer, subject }), ...claims, ...Object.entries(times), ...states]),
    );
  }
  return 0;
};

const unknown = ({ io, options }: Work): number => {
  say(io, `${options.session ?? options.othersThan} is no session of theirs`);
  return 1;
};

const end = async (work: Work): Promise<number> => {
  const { coatcheck, person, options, io } = work;
  const { people } = coatcheck;
  let ended: number | undefined;
  if (options.session !== undefined) ended = Number(await people.end(person, options.session)) || undefined;
  else if (options.othersThan !== undefined) ended = await people.endOthers(person, options.othersThan);
  else ended = await people.endAll(person);
  if (ended === undefined) return unknown(work);
  io.stdout(options.json ? `${JSON.stringify({ ended })}\n` : `ended ${ended}\n`);
  return 0;
};

/** Adds the commands. */
export const addSessionCommands = (program: Command, io: CliIo, done: Done): void => {
  const sessions = program
    .command('sessions')
    .description("look at a person's sessions and end them; in the store that the configuration names");
  const command = (name: string, description: string): Command =>
    sessions
      .command(name)
      .description(description)
      .option('-c, --config <file>', 'configuration file (YAML)', 'coatcheck.yaml')
      .requiredOption('--subject <subject>', 'whose: the `sub` of the first provider of the login')
      .option(
        '--issuer <issuer>',
        'whose: the issuer of that subject (default: the first provider of the login)',
      )
      .option('--json', 'print JSON');
  command('list', 'list their live sessions, newest first').action(async (options: Options) =>
    done(await withStore(options, io, list)),
  );
  command('show', 'show one session: who, when, and how its providers stand; never a token')
    .requiredOption('--session <session>', 'as `list` names it')
    .action(async (options: Options) => done(await withStore(options, io, show)));
  command('end', 'end sessions, at every replica at once')
    .option('--session <session>', 'this one')
    .option('--others-than <session>', 'all but this one, and whatever sign-in of theirs is under way')
    .option('--all', 'all of them, and whatever sign-in of theirs is under way')
    .action(async (options: Options) => {
      const chosen = [options.session, options.othersThan, options.all].filter(
        (choice) => choice !== undefined,
      );
      if (chosen.length === 1) return done(await withStore(options, io, end));
      say(io, 'sessions end: expected one of --session, --others-than, --all');
      return done(usage);
    });
};
