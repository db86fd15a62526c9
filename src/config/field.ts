/** The building blocks of the schema: each leaf knows how it is written, which docs and error messages then repeat. */
import * as z from 'zod';
import { type AddressParts, webAddressFault } from './address.ts';
import { formatDuration, formatSize, parseDuration, parseSize } from './quantity.ts';

/** What is known about one field beside its type. */
export interface Documentation {
  /** For the docs page and editors. */
  readonly description?: string;
  /** How the value is written, as a phrase that can follow "expected". */
  readonly form?: string;
  /** Unit in the normalised configuration, which is also the suffix of its name there. */
  readonly unit?: 'ms' | 'bytes';
  /** `whole`: never shown, and may come from a file. `credentials`: the same, but the address around it is shown. */
  readonly secret?: 'whole' | 'credentials';
  /** The path of a file that must be readable, made absolute. Its content is read by whoever uses it. */
  readonly file?: boolean;
}

/** Any field of the schema. */
export type Field = z.core.$ZodType;

const documentation: z.core.$ZodRegistry<Documentation> = z.registry<Documentation>();

/** Where zod's JSON Schema generator finds the descriptions. */
export { documentation };

/** Adds to what is known about a field. */
export const written = <T extends z.ZodType>(how: Documentation, field: T): T => {
  // A field of its own, for the same building block serves several keys.
  const own = field.clone();
  documentation.add(own, { ...documentation.get(field), ...how });
  return own;
};

/** Says what a field is for. */
export const about = <T extends z.ZodType>(description: string, field: T): T =>
  written({ description }, field);

/** Text for which `fault` names what is expected and missing. */
export const text = (
  how: Documentation,
  fault: (value: string) => string | undefined,
): z.ZodType<string, string> =>
  written(
    how,
    z.string().superRefine((value, context) => {
      const expected = fault(value);
      if (expected !== undefined) context.addIssue({ code: 'custom', message: expected });
    }),
  );

/** Text that a pattern describes. */
export const matching = (pattern: RegExp, form: string): z.ZodType<string, string> =>
  text({ form }, (value) => (pattern.test(value) ? undefined : form));

/** An address of the web, encrypted or on loopback. */
export const webAddress = (parts: AddressParts = {}): z.ZodType<string, string> =>
  text({ form: 'https:// URL' }, (value) => webAddressFault(value, parts));

/** The name of a claim. What every object has by inheritance is none: two people would always agree on it. */
export const claimName = (): z.ZodType<string, string> =>
  text({ form: 'claim name' }, (value) =>
    /^[!-~]{1,128}$/.test(value) && !(value in Object.prototype) ? undefined : 'claim name',
  );

/** The path of a file; relative ones start at the configuration's directory. */
export const filePath = (): z.ZodType<string, string> =>
  written({ form: 'path of a readable file', file: true }, z.string().min(1));

const quantity = (
  how: Documentation & { form: string },
  read: (value: string) => number | undefined,
  [minimum, maximum]: readonly [number, number],
): z.ZodType<number, string> =>
  written(
    how,
    z.string().transform((value, context) => {
      const result = read(value);
      if (result !== undefined && result >= minimum && result <= maximum) return result;
      context.addIssue({ code: 'custom', message: how.form });
      return z.NEVER;
    }),
  );

/** A duration within bounds (both in ms). */
export const duration = (minimumMs: number, maximumMs: number): z.ZodType<number, string> => {
  const form = `duration from ${formatDuration(minimumMs)} to ${formatDuration(maximumMs)}`;
  return quantity({ form, unit: 'ms' }, parseDuration, [minimumMs, maximumMs]);
};

/** A moment with its offset from UTC (RFC 3339). */
export const moment = (): z.ZodType<Date, string> => {
  const form = 'moment such as 2026-01-31T12:00:00Z';
  return written(
    { form },
    z.string().transform((value, context): Date => {
      const date = new Date(value);
      const wellFormed = /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,3})?)?(Z|[+-]\d\d:\d\d)$/.test(value);
      if (wellFormed && !Number.isNaN(date.getTime())) return date;
      context.addIssue({ code: 'custom', message: form });
      return z.NEVER;
    }),
  );
};

/** A size within bounds (both in bytes). */
export const size = (minimumBytes: number, maximumBytes: number): z.ZodType<number, string> => {
  const form = `size from ${formatSize(minimumBytes)} to ${formatSize(maximumBytes)}`;
  return quantity({ form, unit: 'bytes' }, parseSize, [minimumBytes, maximumBytes]);
};

/** An integer within bounds. Digits in a string count, for `${ENV}` gives strings. */
export const integer = (minimum: number, maximum: number): z.ZodType<number> =>
  written(
    { form: `integer from ${minimum} to ${maximum}` },
    z.preprocess(
      (value) => (typeof value === 'string' && /^\d{1,15}$/.test(value) ? Number(value) : value),
      z.int().min(minimum).max(maximum),
    ),
  );

/** `true` or `false`. The words in a string count, for `${ENV}` gives strings. */
export const flag = (): z.ZodType<boolean> =>
  written(
    { form: 'true or false' },
    z.preprocess((value) => (value === 'true' ? true : value === 'false' ? false : value), z.boolean()),
  );

/** One of a few words. */
export const choice = <const T extends string>(...words: readonly T[]): z.ZodType<T, T> =>
  written({ form: `one of ${words.join(', ')}` }, z.enum(words));

/** A mapping from names to values. Its result has no prototype, so that no name finds what nobody configured. */
export const mapping = <T extends z.ZodType>(
  name: z.ZodType<string, string>,
  value: T,
): z.ZodType<Record<string, z.output<T>>> =>
  z
    .record(name, value)
    .transform((entries): Record<string, z.output<T>> => Object.assign(Object.create(null), entries));

/** A secret of at least `minimumBytes`, written in base64 or base64url. */
export const secretBytes = (minimumBytes: number): z.ZodType<Buffer, string> => {
  const form = `base64 or base64url of at least ${minimumBytes} bytes`;
  return written(
    { form, secret: 'whole' },
    z.string().transform((value, context): Buffer => {
      const bytes = Buffer.from(value, 'base64url');
      const wellFormed = /^([\w-]+|[A-Za-z0-9+/]+)={0,2}$/.test(value);
      if (wellFormed && bytes.length >= minimumBytes) return bytes;
      const length = wellFormed ? `, not of ${bytes.length}` : '';
      context.addIssue({ code: 'custom', message: `${form}${length}` });
      return z.NEVER;
    }),
  );
};
