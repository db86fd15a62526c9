/** The configuration file as plain values. Parser messages quote the file, which may hold secrets, so ours do not. */
import { readFileSync } from 'node:fs';
import { type Document, isScalar, LineCounter, parseDocument, visit, type YAMLError } from 'yaml';
import { type ConfigProblem, keyPath } from './problem.ts';

/** What a file holds, or why it cannot be told. */
export type DocumentResult =
  | { readonly kind: 'read'; readonly input: unknown }
  | { readonly kind: 'unreadable'; readonly problems: readonly ConfigProblem[] };

const pathAt = (document: Document, offset: number): string[] => {
  let found: string[] = [];
  visit(document, {
    Pair: (_, pair, ancestors) => {
      if (!isScalar(pair.key) || pair.key.range?.[0] !== offset) return undefined;
      const keys = [...ancestors, pair].map((node) =>
        node !== null && 'key' in node ? node.key : undefined,
      );
      found = keys.filter(isScalar).map((key) => String(key.value));
      return visit.BREAK;
    },
  });
  return found;
};

const problemOf = (document: Document, lines: LineCounter, { code, pos }: YAMLError): ConfigProblem => {
  const { line } = lines.linePos(pos[0]);
  const place = `line ${line}`;
  if (code === 'DUPLICATE_KEY') {
    return {
      key: keyPath(pathAt(document, pos[0])),
      seen: `given again in ${place}`,
      expected: 'each key only once',
    };
  }
  const fault = code.toLowerCase().replaceAll('_', ' ');
  return {
    key: place,
    seen: `not valid YAML (${fault})`,
    expected: 'YAML 1.2, with references quoted inside of braces and brackets',
  };
};

/** Reads a YAML file. */
export const readDocument = (file: string): DocumentResult => {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'fault';
    return {
      kind: 'unreadable',
      problems: [{ key: file, seen: `cannot be read (${code})`, expected: 'a readable file' }],
    };
  }
  const lines = new LineCounter();
  const document = parseDocument(text, { prettyErrors: false, lineCounter: lines, stringKeys: true });
  const faults = [...document.errors, ...document.warnings];
  if (faults.length > 0) {
    return { kind: 'unreadable', problems: faults.map((fault) => problemOf(document, lines, fault)) };
  }
  try {
    return { kind: 'read', input: document.toJS() };
  } catch (error) {
    // What the parser throws for aliases; anything else is a defect and must not pass for one.
    if (!(error instanceof ReferenceError)) throw error;
    return {
      kind: 'unreadable',
      problems: [{ key: file, seen: 'too many aliases', expected: 'at most 100' }],
    };
  }
};
