/** What the command line touches of its process, and how it speaks to people. */
import type { EventEmitter } from 'node:events';
import type { Config, Environment } from '../config.ts';
import { CoatcheckError } from '../errors.ts';

/** A gateway that serves. */
export interface RunningGateway {
  readonly publicUrl: string;
  /** Takes over what needs no restart. */
  reload(next: Config): void;
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

/** The exit code of wrong usage or configuration. */
export const usage: number = 2;

/** Tells of a fault or a circumstance, in one line on standard error. */
export const say = (io: CliIo, text: string): void =>
  io.stderr(`coatcheck: ${text.trim().replace(/\s*\n\s*/g, ' ')}\n`);

/** A fault in one line. The message of one that is not ours may quote a secret, so only its kind and place are told. */
export const faultLine = (fault: unknown): string => {
  if (CoatcheckError.is(fault)) return fault.message;
  if (!(fault instanceof Error)) return 'unknown fault';
  const parts = ['syscall', 'address', 'port', 'code'].map((key): unknown => Reflect.get(fault, key));
  const place = /\n\s+at (.*)/.exec(fault.stack ?? '')?.[1];
  return [fault.name, ...parts.filter((part) => part !== undefined), ...(place ? [`at ${place}`] : [])].join(
    ' ',
  );
};

/** Takes the exit code of a command. */
export type Done = (code: number) => void;
