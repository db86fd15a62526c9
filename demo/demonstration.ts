/** The demonstration that `npm start` runs: a fleet, a screen that says what to do with it, and a clean end. */
import { styleText } from 'node:util';
import { type Fleet, startFleet } from './fleet.ts';
import { nextFreePort } from './free-ports.ts';

/** What `npm start` was asked for. */
export interface DemonstrationOptions {
  readonly port: number;
  readonly replicas: number;
  readonly storeUrl?: string | undefined;
}

const coloured = process.stdout.isTTY === true && process.env.NO_COLOR === undefined;
const style = (format: Parameters<typeof styleText>[0], text: string): string =>
  coloured ? styleText(format, text) : text;
const bold = (text: string): string => style('bold', text);
const soft = (text: string): string => style('gray', text);

const storeNames: Readonly<Record<string, string>> = {
  'valkey-server': 'valkey-server, private, forgets everything',
  'redis-server': 'redis-server, private, forgets everything',
  wasm: 'Valkey as WebAssembly, private, forgets everything',
  yours: 'yours',
};

function screen(fleet: Fleet, tookMs: number): string {
  const names = fleet.replicas().map(({ name }) => name);
  const people = fleet.simulators.people.map(({ name }) => name).join(', ');
  return `
  ${bold('Coatcheck')} ${soft(`is ready after ${(tookMs / 1000).toFixed(1)} s`)}

  ${bold('Open')}      ${style(['bold', 'cyan'], fleet.url)}
  ${bold('People')}    ${people} ${soft('(no password: these are simulators)')}
  ${bold('Replicas')}  ${names.length}, behind a balancer that never sticks
  ${bold('Store')}     ${storeNames[fleet.store.kind] ?? fleet.store.kind} ${soft(new URL(fleet.store.url).host)}
  ${bold('Logs')}      ${fleet.directory}/*.log

  ${bold('Try this')}
    1. Sign in. Two providers ask who you are; choose the same person at both.
    2. Write back to the notebook, then call the internal system: two tokens, one session.
    3. Send 10 requests and see which replicas answered.
    4. Kill a replica and go on. You stay signed in; it comes back after 8 s.
    5. Choose different people at the two providers: the sign-in is refused.

  ${soft('Ctrl-C stops everything.')}
`;
}

/** Ends the fleet at the first signal; a second one, a second later or more, does not wait. */
function endOnSignal(fleet: Promise<Fleet>): void {
  let firstMs: number | undefined;
  const end = async (): Promise<void> => {
    // npm passes on the Ctrl-C that the terminal has sent to us too.
    if (firstMs !== undefined && Date.now() - firstMs < 1_000) return;
    if (firstMs !== undefined) process.exit(1);
    firstMs = Date.now();
    console.log('\n  Stopping …');
    await fleet.then((running) => running.close());
    process.exit(0);
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => void end());
  // A SIGTERM to npm ends npm and the shell between us, which passes nothing on: we only get a new parent.
  const parent = process.ppid;
  const orphaned = (): void => {
    if (process.ppid !== parent) process.kill(process.pid, 'SIGTERM');
    else setTimeout(orphaned, 500).unref();
  };
  if (process.env.npm_lifecycle_event !== undefined) orphaned();
}

/** Starts the fleet, shows the screen, and stays until a signal ends it. */
export async function demonstrate(options: DemonstrationOptions): Promise<void> {
  const beganMs = Date.now();
  const port = await nextFreePort(options.port);
  if (port !== options.port) console.log(`Port ${options.port} is taken; using ${port}.`);
  console.log(`Starting ${options.replicas} ${options.replicas === 1 ? 'replica' : 'replicas'} …`);
  const starting = startFleet({ ...options, port, report: (line) => console.log(`  ${soft('·')} ${line}`) });
  endOnSignal(starting);
  try {
    console.log(screen(await starting, Date.now() - beganMs));
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    process.exit(1);
  }
}
