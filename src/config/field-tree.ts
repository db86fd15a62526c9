/** Reads the schema as a tree of fields, without the layers that zod puts around each. */
import * as z from 'zod';
import { type Documentation, documentation, type Field } from './field.ts';

/** What a field is beneath optional, default and transform. */
export type FieldKind =
  | { readonly kind: 'object'; readonly shape: Readonly<Record<string, Field>> }
  | { readonly kind: 'mapping'; readonly value: Field }
  | { readonly kind: 'list'; readonly element: Field }
  | { readonly kind: 'leaf' };

/** The field and everything inside it, outermost first. */
const layers = (field: Field): Field[] => {
  if (
    field instanceof z.ZodPrefault ||
    field instanceof z.ZodOptional ||
    field instanceof z.ZodExactOptional
  ) {
    return [field, ...layers(field.def.innerType)];
  }
  if (field instanceof z.ZodPipe) {
    // A preprocess step comes first and says nothing about the value; a transform comes last.
    return [field, ...layers(field.def.in instanceof z.ZodTransform ? field.def.out : field.def.in)];
  }
  return [field];
};

/** What kind of field this is. */
export const kindOf = (field: Field): FieldKind => {
  const core = layers(field).at(-1);
  if (core instanceof z.ZodObject) return { kind: 'object', shape: core.def.shape };
  if (core instanceof z.ZodRecord) return { kind: 'mapping', value: core.def.valueType };
  if (core instanceof z.ZodArray) return { kind: 'list', element: core.def.element };
  return { kind: 'leaf' };
};

/** What all layers of the field say together, the outer ones having the last word. */
export const documentationOf = (field: Field): Documentation =>
  Object.assign(
    {},
    ...layers(field)
      .reverse()
      .map((layer) => documentation.get(layer)),
  );

/** The default as it would be written in the file; undefined where there is none. */
export const defaultOf = (field: Field): unknown =>
  layers(field).find((layer) => layer instanceof z.ZodPrefault)?.def.defaultValue;

/** Whether the field may be left out. */
export const isOptional = (field: Field): boolean =>
  layers(field).some((layer) => layer instanceof z.ZodPrefault || layer instanceof z.ZodExactOptional);

/** How the field is written, for docs and for error messages. */
export const formOf = (field: Field): string => {
  const kind = kindOf(field);
  if (kind.kind === 'list') return `list, each: ${formOf(kind.element)}`;
  return (
    documentationOf(field).form ??
    (kind.kind === 'mapping' ? `mapping, each value: ${formOf(kind.value)}` : 'mapping')
  );
};

/** The field at a path of keys and positions; undefined where the schema has none. */
export const fieldAt = (field: Field, path: readonly PropertyKey[]): Field | undefined => {
  const [step, ...rest] = path;
  if (step === undefined) return field;
  const kind = kindOf(field);
  if (kind.kind === 'list') return fieldAt(kind.element, rest);
  if (kind.kind === 'mapping') return fieldAt(kind.value, rest);
  if (kind.kind === 'leaf' || typeof step !== 'string' || !Object.hasOwn(kind.shape, step)) return undefined;
  const next = kind.shape[step];
  return next === undefined ? undefined : fieldAt(next, rest);
};

/** The keys that an object field takes, with the `…File` form of each secret. */
export const knownKeys = (shape: Readonly<Record<string, Field>>): string[] =>
  Object.entries(shape).flatMap(([key, field]) =>
    documentationOf(field).secret === undefined ? [key] : [key, `${key}File`],
  );
