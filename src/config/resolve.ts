/** Puts environment variables and the contents of secret files where the configuration refers to them. */
import { readFileSync } from 'node:fs';
import { resolve as resolvePath } from 'node:path';
import type { Field } from './field.ts';
import { documentationOf, kindOf } from './field-tree.ts';
import { type ConfigProblem, keyPath } from './problem.ts';

/** Where references lead, and where problems are gathered. */
export interface ResolveContext {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Relative file paths start here. */
  readonly baseDirectory: string;
  readonly problems: ConfigProblem[];
}

type Path = readonly (string | number)[];

// Names that every object answers to. As configured names they could only confuse.
const reservedNames: ReadonlySet<string> = new Set(['__proto__', 'constructor', 'prototype']);

const isMapping = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const report = (
  context: ResolveContext,
  path: Path,
  [seen, expected]: readonly [string, string],
): undefined => {
  context.problems.push({ key: keyPath(path), seen, expected });
};

const substitute = (text: string, path: Path, context: ResolveContext): string | undefined => {
  let complete = true;
  const result = text.replace(/\$\$\{|\$\{([A-Za-z_]\w*)\}|\$\{/g, (whole, name: string | undefined) => {
    if (whole === '$${') return '${';
    const value = name === undefined ? undefined : context.env[name];
    if (value !== undefined) return value;
    complete = false;
    const seen = name === undefined ? 'a malformed reference' : `environment variable ${name} is not set`;
    report(context, path, [
      seen,
      name === undefined ? `\${NAME}, or $\${ for a plain \${` : `a value in ${name}`,
    ]);
    return '';
  });
  return complete ? result : undefined;
};

interface ReadFile {
  readonly path: string;
  readonly content: string;
}

const readText = (file: unknown, path: Path, context: ResolveContext): ReadFile | undefined => {
  if (typeof file !== 'string') return report(context, path, ['no path', 'the path of a file']);
  const name = substitute(file, path, context);
  if (name === undefined) return undefined;
  const absolute = resolvePath(context.baseDirectory, name);
  try {
    return { path: absolute, content: readFileSync(absolute, 'utf8') };
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'fault';
    return report(context, path, [`${JSON.stringify(absolute)} cannot be read (${code})`, 'a readable file']);
  }
};

const readSecret = (file: unknown, path: Path, context: ResolveContext): string | undefined =>
  readText(file, path, context)?.content.replace(/\r?\n$/, '');

const resolveObject = (
  shape: Readonly<Record<string, Field>>,
  [input, path]: readonly [Record<string, unknown>, Path],
  context: ResolveContext,
): Record<string, unknown> => {
  const result: Record<string, unknown> = {};
  for (const [key, value] of usable(input, path, context)) {
    const keyInFull = [...path, key];
    const base = key.replace(/File$/, '');
    const field = Object.hasOwn(shape, key) ? shape[key] : undefined;
    const secret = base !== key && Object.hasOwn(shape, base) ? shape[base] : undefined;
    if (field !== undefined) {
      result[key] = resolve(field, [value, keyInFull], context);
    } else if (secret === undefined || documentationOf(secret).secret === undefined) {
      result[key] = null; // Unknown. The schema says so; the value is nobody's business.
    } else if (input[base] !== undefined) {
      report(context, keyInFull, [`given beside ${base}`, `either ${base} or ${key}`]);
    } else {
      result[base] = readSecret(value, keyInFull, context);
    }
  }
  return result;
};

const resolveValue = (
  field: Field,
  [value, path]: readonly [unknown, Path],
  context: ResolveContext,
): unknown => {
  const fromFile =
    documentationOf(field).secret !== undefined && isMapping(value) && Object.keys(value).join() === 'file';
  return fromFile
    ? readSecret(value.file, [...path, 'file'], context)
    : resolve(field, [value, path], context);
};

function* usable(
  input: Record<string, unknown>,
  path: Path,
  context: ResolveContext,
): Generator<[string, unknown]> {
  for (const [key, value] of Object.entries(input)) {
    if (reservedNames.has(key))
      report(context, [...path, key], ['this name', 'a name without special meaning']);
    else if (value !== undefined) yield [key, value];
  }
}

/** The input with all references resolved. What the schema does not know is kept as a key without a value. */
export const resolve = (
  field: Field,
  [input, path]: readonly [unknown, Path],
  context: ResolveContext,
): unknown => {
  if (documentationOf(field).file === true) return readText(input, path, context)?.path;
  if (typeof input === 'string') return substitute(input, path, context);
  const kind = kindOf(field);
  if (kind.kind === 'object' && isMapping(input)) return resolveObject(kind.shape, [input, path], context);
  if (kind.kind === 'list' && Array.isArray(input)) {
    return input.map((element, index) => resolve(kind.element, [element, [...path, index]], context));
  }
  if (kind.kind === 'mapping' && isMapping(input)) {
    const entries = [...usable(input, path, context)];
    return Object.fromEntries(
      entries.map(([name, value]) => [name, resolveValue(kind.value, [value, [...path, name]], context)]),
    );
  }
  return input;
};
