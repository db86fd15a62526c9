#!/usr/bin/env node
/** The command line. Exit codes: 0 fine, 1 fault while running, 2 wrong usage or configuration, 3 works but risky (doctor). */
import { randomBytes } from 'node:crypto';
import type { EventEmitter } from 'node:events';
import { readFileSync, realpathSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Command, CommanderError } from 'commander';
import { stringify } from 'yaml';
import {
  type Config,
  checkConfigFile,
  type Environment,
  jsonSchema,
  printable,
  problemLine,
  readConfig,
} from './config.ts';
import { CoatcheckError } from './errors.ts';

/** A gateway that serves. */
export interface RunningGateway {
  readonly publicUrl: string;
  /** Drains, then lets go of everything. */
  close(): Promise<void>;
}

/** What the command line touches of its process. */
export interface CliIo {
  readonly env: Environment;
  readonly stdout: (text: string) => void;
  readonly stderr: (text: string) => void;
  /** Where signals and stray faults are heard: `process`. */
  readonly events: EventEmitter;
  /** Starts the gateway of a configuration. */
  readonly start: (config: Config) => Promise<RunningGateway>;
}

const usage = 2;

const say = (io: CliIo, text: string): void =>
  io.stderr(`coatcheck: ${text.trim().replace(/\s*\n\s*/g, ' ')}\n`);

// The message of a fault that is not ours may quote a secret, so only its kind and place are told.
const faultLine = (fault: unknown): string => {
  if (CoatcheckError.is(fault)) return fault.message;
  if (!(fault instanceof Error)) return 'unknown fault';
  const parts = ['syscall', 'address', 'port', 'code'].map((key): unknown => Reflect.get(fault, key));
  const place = /\n\s+at (.*)/.exec(fault.stack ?? '')?.[1];
  return [fault.name, ...parts.filter((part) => part !== undefined), ...(place ? [`at ${place}`] : [])].join(
    ' ',
  );
};

const exitCodeOf = (fault: unknown): number =>
  CoatcheckError.is(fault) && fault.code === 'config_invalid' ? usage : 1;

const drain = (gateway: RunningGateway, io: CliIo): Promise<number> =>
  gateway.close().then(
    () => 0,
    (fault: unknown) => {
      say(io, `cannot stop cleanly: ${faultLine(fault)}`);
      return 1;
    },
  );

/** Serves until a signal. The second signal, or a fault that nobody caught, ends at once. */
const serve = async (file: string, io: CliIo): Promise<number> => {
  const config = readConfig(file, io.env);
  let end: (code: number) => void = () => undefined;
  const ended = new Promise<number>((resolve) => {
    end = resolve;
  });
  let gateway: RunningGateway | undefined;
  let signals = 0;
  const onSignal = (): void => {
    signals += 1;
    if (signals > 1) end(1);
    else if (gateway !== undefined) void drain(gateway, io).then(end);
  };
  const onFault = (fault: unknown): void => {
    say(io, `unexpected fault: ${faultLine(fault)}`);
    end(1);
  };
  const listeners = {
    SIGTERM: onSignal,
    SIGINT: onSignal,
    unhandledRejection: onFault,
    uncaughtException: onFault,
  };
  for (const [name, listener] of Object.entries(listeners)) io.events.on(name, listener);
  try {
    gateway = await Promise.race([io.start(config), ended.then(() => undefined)]);
    if (gateway !== undefined && signals === 1) void drain(gateway, io).then(end);
    return await ended;
  } finally {
    for (const [name, listener] of Object.entries(listeners)) io.events.off(name, listener);
  }
};

const check = (file: string, io: CliIo): number => {
  const result = checkConfigFile(file, io.env);
  if (result.kind === 'valid') io.stdout(`${file} is valid\n`);
  else for (const problem of result.problems) say(io, problemLine(problem));
  return result.kind === 'valid' ? 0 : usage;
};

/** Lines as it goes, or one JSON array at the end. */
const doctor = async (file: string, json: boolean, io: CliIo): Promise<number> => {
  const config = readConfig(file, io.env);
  const { runDoctor, findingLine, summaryLine, exitCodeOf } = await import('./doctor.ts');
  const findings = await runDoctor(config, {
    ...(json ? {} : { onFinding: (finding) => io.stdout(findingLine(finding)) }),
  });
  io.stdout(json ? `${JSON.stringify(findings, undefined, 2)}\n` : summaryLine(findings));
  return exitCodeOf(findings);
};

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

const version = (): string => {
  const manifest: unknown = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
  return typeof manifest === 'object' && manifest !== null && 'version' in manifest
    ? String(manifest.version)
    : '';
};

type Done = (code: number) => void;

const addConfigCommands = (program: Command, io: CliIo, done: Done): void => {
  const config = program.command('config').description('look at the configuration');
  const option = ['-c, --config <file>', 'configuration file (YAML)', 'coatcheck.yaml'] as const;
  config
    .command('check')
    .description('tell everything that is wrong with a configuration, one line each')
    .option(...option)
    .action((options: { config: string }) => done(check(options.config, io)));
  config
    .command('print')
    .description('print the configuration with its defaults filled in and its secrets masked')
    .option(...option)
    .action((options: { config: string }) => {
      io.stdout(stringify(printable(readConfig(options.config, io.env))));
      done(0);
    });
  config
    .command('schema')
    .description('print the JSON Schema of the configuration, for editors')
    .action(() => {
      io.stdout(`${JSON.stringify(jsonSchema(), undefined, 2)}\n`);
      done(0);
    });
};

const createProgram = (io: CliIo, done: Done): Command => {
  const program = new Command('coatcheck')
    .description('Several OAuth tokens per signed-in person; any replica serves any request.')
    .version(version())
    .exitOverride()
    .configureHelp({ helpWidth: 100 })
    .configureOutput({
      writeOut: io.stdout,
      writeErr: io.stderr,
      outputError: (text) => say(io, text.replace(/^error: /, '')),
      getOutHasColors: () => false,
      getErrHasColors: () => false,
    });
  program
    .command('serve')
    .description('run the gateway until SIGTERM or SIGINT, then drain; a second signal ends it at once')
    .option('-c, --config <file>', 'configuration file (YAML)', 'coatcheck.yaml')
    .action(async (options: { config: string }) => done(await serve(options.config, io)));
  addConfigCommands(program, io, done);
  program
    .command('doctor')
    .description(
      'reach the store, providers and upstreams, and say check by check what is right, risky or wrong, and what to do; ends with 0, 3 or 1',
    )
    .option('-c, --config <file>', 'configuration file (YAML)', 'coatcheck.yaml')
    .option('--json', 'print the findings as one JSON array')
    .action(async (options: { config: string; json?: true }) =>
      done(await doctor(options.config, options.json === true, io)),
    );
  program
    .command('keys')
    .description('make keys')
    .command('generate')
    .description('print a new key for the configuration')
    .option('--id <id>', 'name of the key (default: k and the date)')
    .action((options: { id?: string }) => done(generateKey(options.id ?? `k${today()}`, io)));
  return program;
};

/** Runs one command line (without node and script) and tells the exit code. Never throws. */
export const runCli = async (argv: readonly string[], io: CliIo): Promise<number> => {
  let code = 0;
  const program = createProgram(io, (result) => {
    code = result;
  });
  try {
    await program.parseAsync([...argv], { from: 'user' });
    return code;
  } catch (fault) {
    if (fault instanceof CommanderError) return fault.exitCode === 0 ? 0 : usage;
    say(io, faultLine(fault));
    return exitCodeOf(fault);
  }
};

/** The help of every command, for `docs/cli.md`. */
export const describeCommands = (): { readonly command: string; readonly help: string }[] => {
  const walk = (command: Command, path: string): { command: string; help: string }[] => [
    { command: path, help: command.helpInformation() },
    ...command.commands.flatMap((inner) => walk(inner, `${path} ${inner.name()}`)),
  ];
  const silent = (): void => undefined;
  const io = {
    env: {},
    stdout: silent,
    stderr: silent,
    events: process,
    start: () => Promise.reject(new CoatcheckError('internal')),
  };
  return walk(createProgram(io, silent), 'coatcheck');
};

const isMain =
  process.argv[1] !== undefined && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url);
if (isMain) {
  const code = await runCli(process.argv.slice(2), {
    env: process.env,
    stdout: (text) => process.stdout.write(text),
    stderr: (text) => process.stderr.write(text),
    events: process,
    start: async (config) => (await import('./gateway/server.ts')).startGateway(config),
  });
  process.exit(code);
}
