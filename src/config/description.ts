/** The schema and a configuration, for people to read. */
import * as z from 'zod';
import type { Config } from '../config.ts';
import { type Documentation, documentation, type Field } from './field.ts';
import { defaultOf, documentationOf, formOf, isOptional, kindOf } from './field-tree.ts';
import { mask, maskCredentials } from './problem.ts';
import { formatDuration, formatSize } from './quantity.ts';
import { schema } from './schema.ts';

/** One row of the docs page. */
export interface ConfigRow {
  /** Key path; `<name>` stands for a name of your choice, `[]` for each element of a list. */
  readonly key: string;
  /** How the value is written. */
  readonly type: string;
  /** As written; undefined where there is none. */
  readonly default: string | undefined;
  readonly required: boolean;
  /** Unit in the normalised configuration. */
  readonly unit: 'ms' | 'bytes' | undefined;
  readonly secret: boolean;
  readonly text: string;
}

const suffixes = { ms: 'Ms', bytes: 'Bytes' } as const;

const rows = (field: Field, key: string): ConfigRow[] => {
  const kind = kindOf(field);
  const { description = '', unit, secret } = documentationOf(field);
  const value = defaultOf(field);
  const row: ConfigRow = {
    key,
    type: formOf(field),
    default:
      value === undefined || kind.kind === 'object'
        ? undefined
        : typeof value === 'string'
          ? value
          : JSON.stringify(value),
    required: !isOptional(field),
    unit,
    secret: secret !== undefined,
    text: description,
  };
  if (kind.kind === 'object') {
    const inner = Object.entries(kind.shape).flatMap(([name, child]) =>
      rows(child, key === '' ? name : `${key}.${name}`),
    );
    // The row of a section itself; the whole and the members of lists and mappings have none.
    return key === '' || /[\]>]$/.test(key) ? inner : [{ ...row, type: 'mapping' }, ...inner];
  }
  const element = kind.kind === 'list' ? kind.element : kind.kind === 'mapping' ? kind.value : undefined;
  if (element === undefined || kindOf(element).kind === 'leaf')
    return [
      {
        ...row,
        secret: row.secret || (element !== undefined && documentationOf(element).secret !== undefined),
      },
    ];
  const type = kind.kind === 'list' ? 'list of mappings' : 'mapping of mappings';
  return [{ ...row, type }, ...rows(element, kind.kind === 'list' ? `${key}[]` : `${key}.<name>`)];
};

/** Every key there is, in the order of the schema. */
export const describeConfig = (): ConfigRow[] => rows(schema, '');

const print = (field: Field, value: unknown): unknown => {
  const kind = kindOf(field);
  const { unit, secret } = documentationOf(field);
  if (kind.kind === 'list' && Array.isArray(value))
    return value.map((element) => print(kind.element, element));
  if (kind.kind === 'mapping' && typeof value === 'object' && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, print(kind.value, inner)]));
  }
  if (kind.kind === 'object' && typeof value === 'object' && value !== null)
    return printObject(kind.shape, value);
  if (secret === 'credentials') return maskCredentials(String(value));
  if (secret === 'whole') return mask(Buffer.isBuffer(value) ? value : String(value));
  if (unit === 'ms') return formatDuration(Number(value));
  return unit === 'bytes' ? formatSize(Number(value)) : value;
};

const printObject = (shape: Readonly<Record<string, Field>>, value: object): Record<string, unknown> =>
  Object.fromEntries(
    Object.entries(shape).flatMap(([key, field]) => {
      const { unit } = documentationOf(field);
      const inner: unknown = Reflect.get(value, unit === undefined ? key : `${key}${suffixes[unit]}`);
      return inner === undefined ? [] : [[key, print(field, inner)]];
    }),
  );

/** The configuration as it would be written, defaults filled in and every secret masked. */
export const printable = (config: Config): unknown => print(schema, config);

const withFiles = (json: z.core.JSONSchema.BaseSchema, shape: Readonly<Record<string, Field>>): void => {
  for (const [key, field] of Object.entries(shape)) {
    if (documentationOf(field).secret === undefined) continue;
    json.properties = {
      ...json.properties,
      [`${key}File`]: { type: 'string', description: `File that holds \`${key}\`.` },
    };
    if (json.required?.includes(key) !== true) continue;
    json.required = json.required.filter((name) => name !== key);
    json.oneOf = [{ required: [key] }, { required: [`${key}File`] }];
  }
};

const secretFile: z.core.JSONSchema.ObjectSchema = {
  type: 'object',
  properties: { file: { type: 'string' } },
  required: ['file'],
  additionalProperties: false,
};

/** JSON Schema (draft 2020-12) of the written form, for editors. */
export const jsonSchema = (): Record<string, unknown> => ({
  ...z.toJSONSchema(schema, {
    io: 'input',
    metadata: documentation,
    override: ({ zodSchema, jsonSchema: json }) => {
      const { secret }: Documentation = documentationOf(zodSchema);
      for (const extra of ['form', 'unit', 'secret', 'file']) delete json[extra];
      if (secret !== undefined) json.writeOnly = true;
      const kind = kindOf(zodSchema);
      if (zodSchema instanceof z.ZodObject) withFiles(json, zodSchema.def.shape);
      if (kind.kind === 'mapping' && documentationOf(kind.value).secret !== undefined) {
        json.additionalProperties = { anyOf: [{ type: 'string', writeOnly: true }, secretFile] };
      }
    },
  }),
});
