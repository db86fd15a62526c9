#!/usr/bin/env node
/** The command line. Exit codes: 0 fine, 1 fault while running, 2 wrong usage or configuration, 3 works but risky (doctor). */
import { readFileSync, realpathSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Command, CommanderError } from 'commander';
import { stringify } from 'yaml';
import { type CliIo, type Done, faultLine, type RunningGateway, say, usage } from './cli/cli-io.ts';
import { addKeyCommands } from './cli/keys.ts';
import { addSessionCommands } from './cli/sessions.ts';
import { checkConfigFile, jsonSchema, printable, problemLine, readConfig } from './config.ts';
import { CoatcheckError } from './errors.ts';

export type { CliIo, RunningGateway } from './cli/cli-io.ts';

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
  const onReload = (): void => {
    try {
      gateway?.reload(readConfig(file, io.env));
    } catch (fault) {
      say(io, `SIGHUP: nothing has changed: ${faultLine(fault)}`);
    }
  };
  const onFault = (fault: unknown): void => {
    say(io, `unexpected fault: ${faultLine(fault)}`);
    end(1);
  };
  const listeners = {
    SIGTERM: onSignal,
    SIGINT: onSignal,
    SIGHUP: onReload,
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

const version = (): string => {
  const manifest: unknown = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
  return typeof manifest === 'object' && manifest !== null && 'version' in manifest
    ? String(manifest.version)
    : '';
};

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
    .description(
      'run the gateway until SIGTERM or SIGINT, then drain; a second signal ends it at once; SIGHUP reads secrets, log level and validFrom again',
    )
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
  addKeyCommands(program, io, done);
  addSessionCommands(program, io, done);
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
