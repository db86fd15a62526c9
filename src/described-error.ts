import { CoatcheckError } from './errors.ts';

/** An error as a log line has it. */
export interface DescribedError {
  readonly code: string;
  readonly detail: string;
  readonly causes: readonly string[];
  readonly frames?: readonly string[];
}

/** Foreign messages may quote what they choked on, so of foreign errors only name, code and stack frames are kept. */
export function describeError(value: unknown): DescribedError {
  const error = CoatcheckError.from(value);
  const causes: string[] = [];
  for (let cause = error.cause; cause instanceof Error && causes.length < 5; cause = cause.cause) {
    const code = 'code' in cause && typeof cause.code === 'string' ? ` ${cause.code}` : '';
    causes.push(`${cause.name}${code}`);
  }
  const described = { code: error.code, detail: error.message, causes };
  if (error.code !== 'internal' || !(error.cause instanceof Error)) return described;
  return { ...described, frames: framesOf(error.cause) };
}

/** Only what follows the message, whose lines may look like frames. */
function framesOf({ stack = '', message }: Error): string[] {
  const lines = stack.slice(Math.max(stack.indexOf(message), 0) + message.length).split('\n');
  return lines
    .filter((line) => line.startsWith('    at '))
    .slice(0, 8)
    .map((frame) => frame.trim());
}
