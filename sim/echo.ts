import { createHash } from 'node:crypto';
import type { IncomingMessage } from 'node:http';

/** What a simulator received, without secrets. */
export interface Echo {
  readonly method: string;
  readonly path: string;
  /** Lower-case name → value, repeated headers joined by `, `; secrets only as present. */
  readonly headers: Readonly<Record<string, string | { readonly present: true }>>;
  readonly body: { readonly bytes: number; readonly sha256: string };
}

const secretHeaders: ReadonlySet<string> = new Set([
  'authorization',
  'client_secret',
  'cookie',
  'proxy-authorization',
]);

/** Describes a request, reading its body to the end without keeping it. */
export async function echo(request: IncomingMessage): Promise<Echo> {
  const hash = createHash('sha256');
  let bytes = 0;
  for await (const chunk of request) {
    bytes += (chunk as Buffer).length;
    hash.update(chunk as Buffer);
  }
  const headers = Object.entries(request.headersDistinct).map(
    ([name, values = []]) => [name, secretHeaders.has(name) ? { present: true } : values.join(', ')] as const,
  );
  return {
    method: request.method ?? '',
    path: request.url ?? '',
    headers: Object.fromEntries(headers) as Echo['headers'],
    body: { bytes, sha256: hash.digest('hex') },
  };
}
