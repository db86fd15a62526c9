import { isUtf8 } from 'node:buffer';

/**
 * The one reading of a request target. Routing and forwarding both use its result, so no two parts of the gateway (nor
 * the gateway and an upstream) can disagree about where a request goes. Whatever another server might read differently
 * is refused, not repaired.
 */

/** The parts of an accepted target (RFC 9112 §3.2.1, origin-form), exactly as they were sent. */
export interface RequestTarget {
  readonly kind: 'ok';
  /** Begins with one slash; without query. */
  readonly path: string;
  /** Empty, or begins with `?`. */
  readonly query: string;
}

/** The answer to {@link parseRequestTarget}. `why` is for the log; it never contains the target. */
export type RequestTargetResult = RequestTarget | { readonly kind: 'refused'; readonly why: string };

/** Longest accepted target, in bytes. */
export const longestTargetBytes = 8192;

/** What is refused in a path, in order of precedence. Every expression is a plain search: linear time. */
const refusals: readonly (readonly [RegExp, string])[] = [
  [/[^\x21-\x7e]/, 'a byte that is not printable ASCII'],
  [/^[^/]/, 'not in origin-form'],
  [/\/\//, 'an empty segment'],
  [/\\/, 'a backslash'],
  [/[;#]/, 'a semicolon or fragment'],
  [/["<>`{}]/, 'a character that must be percent-encoded'],
  [/%(?![0-9A-Fa-f]{2})/, 'malformed percent-encoding'],
  [/%(?:2[FfEe35]|5[Cc]|3[Bb])/, 'an encoded separator, dot, fragment or percent sign'],
  [/%(?:[01].|7[Ff])/, 'an encoded control character'],
  [
    /%(?:2[Dd]|3[0-9]|4[1-9A-Fa-f]|5[0-9AaFf]|6[1-9A-Fa-f]|7[0-9AaEe])/,
    'a second spelling of a plain character',
  ],
];

const encodedBeyondAscii = /%[89A-Fa-f]/;
/** Dots and white space only: some servers trim a segment before they look for dot segments. */
const dotSegment = /\/[.\s]+(?:\/|$)/;

/**
 * Reads a raw request target. Refused in the path: anything but origin-form, empty and dot segments, separators and
 * plain characters in percent-encoding, `\`, `;`, `#`, control characters, malformed or overlong encodings, and letters
 * that compatibility normalisation (NFKC) turns into separators. The query is only ever passed on, so there only bytes
 * outside printable ASCII and `#` are refused.
 */
export function parseRequestTarget(rawUrl: string): RequestTargetResult {
  if (rawUrl.length > longestTargetBytes) return refused('longer than 8 KiB');
  const queryStart = rawUrl.indexOf('?');
  const path = queryStart < 0 ? rawUrl : rawUrl.slice(0, queryStart);
  const query = queryStart < 0 ? '' : rawUrl.slice(queryStart);
  if (path === '') return refused('not in origin-form');
  for (const [pattern, why] of refusals) if (pattern.test(path)) return refused(why);
  if (/[^\x21-\x7e]|#/.test(query))
    return refused('a byte in the query that is not printable ASCII, or a fragment');
  const decoded = decode(path);
  if (decoded === undefined) return refused('percent-encoding that is not UTF-8');
  if (dotSegment.test(decoded)) return refused('a dot segment');
  return { kind: 'ok', path, query };
}

/** The path with its percent-encoding undone, in compatibility form; undefined if that is not UTF-8. Never throws. */
function decode(path: string): string | undefined {
  if (!path.includes('%')) return path;
  const bytes = Buffer.from(
    path.replace(/%(..)/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16))),
    'latin1',
  );
  if (!encodedBeyondAscii.test(path)) return bytes.toString('latin1');
  if (!isUtf8(bytes)) return undefined;
  const text = bytes.toString('utf8');
  const compatible = text.normalize('NFKC');
  const separators = /[/\\]/g;
  return countOf(compatible, separators) === countOf(text, separators) ? compatible : undefined;
}

function countOf(text: string, pattern: RegExp): number {
  return text.match(pattern)?.length ?? 0;
}

function refused(why: string): RequestTargetResult {
  return { kind: 'refused', why };
}

/**
 * Whether a path (of an accepted target) is one of the public ones. A pattern is an exact path, or ends in `/*` and
 * then means everything below that slash. Nothing but the path counts: no query, no header.
 */
export function matchesPublicPath(path: string, patterns: readonly string[]): boolean {
  return patterns.some((pattern) =>
    pattern.endsWith('/*') ? path.startsWith(pattern.slice(0, -1)) : path === pattern,
  );
}

/**
 * What of a path lies below a route's prefix (`/api/eln` or ``): empty, or begins with a slash. Undefined if the path is
 * not below it; `/api/elnx` is not below `/api/eln`.
 */
export function pathBelow(path: string, prefix: string): string | undefined {
  if (!path.startsWith(prefix)) return undefined;
  const rest = path.slice(prefix.length);
  return rest === '' || rest.startsWith('/') ? rest : undefined;
}
