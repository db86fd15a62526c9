/** What is wrong with a configuration, said without showing a secret. */
import type * as z from 'zod';
import type { Field } from './field.ts';
import { documentationOf, fieldAt, formOf, kindOf, knownKeys } from './field-tree.ts';

/** One thing that is wrong. */
export interface ConfigProblem {
  /** Full path of the key, such as `providers.identity.clientId` or `keys[0].secret`. */
  readonly key: string;
  /** The value seen; masked where it is or may hold a secret. */
  readonly seen: string;
  /** What should be there. */
  readonly expected: string;
}

/** The problem in one line. */
export const problemLine = ({ key, seen, expected }: ConfigProblem): string =>
  `${key}: ${seen}; expected ${expected}`;

/** A path as people write it. */
export const keyPath = (path: readonly PropertyKey[]): string =>
  path.length === 0
    ? '(whole configuration)'
    : path
        .map((step) => {
          if (typeof step === 'number') return `[${step}]`;
          const name = String(step);
          return `.${/^[\w-]+$/.test(name) ? name : JSON.stringify(name)}`;
        })
        .join('')
        .replace(/^\./, '');

/** Stands in for a secret. */
export const mask = (secret: string | Buffer): string =>
  `(secret, ${secret.length} ${typeof secret === 'string' ? 'characters' : 'bytes'})`;

/** A store URL without its user name and password; all masked where it is not clear which part is which. */
export const maskCredentials = (url: string): string => {
  const [, scheme, credentials, place] =
    /^(rediss?:\/\/)(?:([^/?#@\\]*)@)?([\w.:[\]-]+(?:\/\d{0,4})?)$/.exec(url) ?? [];
  if (scheme === undefined) return url === 'memory://' ? url : mask(url);
  return `${scheme}${credentials === undefined ? '' : `${mask(credentials)}@`}${place}`;
};

/** A value that is no secret by its key, on one short line; what looks like credentials is left out all the same. */
export const show = (value: unknown): string => {
  if (value === undefined || value === null) return 'missing';
  if (Array.isArray(value)) return value.length === 0 ? 'an empty list' : 'a list';
  if (typeof value === 'object') return 'a mapping';
  if (typeof value !== 'string') return String(value);
  if (/:.*@/s.test(value)) return mask(value);
  const shown = value.replace(/^(\w+:[^?#]*[?#]).+$/s, '$1…');
  return JSON.stringify(shown.length > 80 ? `${shown.slice(0, 80)}…` : shown);
};

const seenAt = (field: Field | undefined, value: unknown): string => {
  if (typeof value !== 'string' && typeof value !== 'number') return show(value);
  // Plain text in place of a list or mapping may be anything, a secret too.
  if (field === undefined || kindOf(field).kind !== 'leaf')
    return `text of ${String(value).length} characters`;
  const { secret } = documentationOf(field);
  if (secret === 'credentials') return maskCredentials(String(value));
  return secret === 'whole' ? mask(String(value)) : show(value);
};

const expectedOf = (field: Field | undefined, issue: z.core.$ZodIssue): string => {
  if (issue.code === 'too_small' && issue.origin === 'array') return `at least ${issue.minimum}`;
  if (issue.code === 'too_big' && issue.origin === 'array') return `at most ${issue.maximum}`;
  return issue.code === 'custom' || field === undefined ? issue.message : formOf(field);
};

const distance = (left: string, right: string): number => {
  let previous = Array.from({ length: right.length + 1 }, (_, index) => index);
  for (const [row, character] of [...left].entries()) {
    const current = [row + 1];
    for (const [column, other] of [...right].entries()) {
      const replaced = (previous[column] ?? 0) + (character === other ? 0 : 1);
      current.push(Math.min(replaced, (previous[column + 1] ?? 0) + 1, (current[column] ?? 0) + 1));
    }
    previous = current;
  }
  return previous.at(-1) ?? 0;
};

/** The one of `names` that takes the fewest edits to reach; undefined where there are none. */
export const nearest = (name: string, names: readonly string[]): string | undefined =>
  names.toSorted((left, right) => distance(name, left) - distance(name, right))[0];

const valueAt = (value: unknown, path: readonly PropertyKey[]): unknown =>
  path.reduce<unknown>(
    (at, step) =>
      typeof at === 'object' && at !== null && Object.hasOwn(at, step) ? Reflect.get(at, step) : undefined,
    value,
  );

/** What zod found, in our words. */
export const problemsOf = (schema: Field, input: unknown, issue: z.core.$ZodIssue): ConfigProblem[] => {
  const field = fieldAt(schema, issue.path);
  const key = keyPath(issue.path);
  if (issue.code === 'unrecognized_keys') {
    const kind = field && kindOf(field);
    const known = kind?.kind === 'object' ? knownKeys(kind.shape) : [];
    return issue.keys.map((unknown) => ({
      key: keyPath([...issue.path, unknown]),
      seen: 'unknown key',
      expected: `${nearest(unknown, known)}, the nearest known key`,
    }));
  }
  if (issue.code === 'invalid_key') {
    return [{ key, seen: 'this name', expected: issue.issues[0]?.message ?? 'another name' }];
  }
  return [{ key, seen: seenAt(field, valueAt(input, issue.path)), expected: expectedOf(field, issue) }];
};
