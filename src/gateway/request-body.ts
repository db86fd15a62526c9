import type { IncomingMessage } from 'node:http';
import { Transform } from 'node:stream';
import { CoatcheckError } from '../errors.ts';

/** A body on its way. */
export interface RequestBody {
  readonly stream: Transform;
  /** All of it, where all has come and that was not much: it could be sent again. */
  copy(): Buffer | undefined;
}

/** Larger bodies are not kept: 64 KiB. */
const copiedBytes = 65_536;

/**
 * The body of a request as a stream with an end: fails with `request_too_large` beyond `maxBytes`. Undefined where the
 * request has none. A stream of its own, because the HTTP library destroys what it sends when an upstream breaks, and
 * that must not cost us the connection on which the client waits for an answer.
 *
 * Throws `request_too_large` where the announced length exceeds the limit and `request_invalid` for a GET or HEAD with a
 * body, whose meaning is undefined (RFC 9110 §9.3.1).
 */
export function boundedBody(request: IncomingMessage, maxBytes: number): RequestBody | undefined {
  const announcedBytes = Number(request.headers['content-length'] ?? 0);
  const isChunked = request.headers['transfer-encoding'] !== undefined;
  if (announcedBytes === 0 && !isChunked) return undefined;
  if (request.method === 'GET' || request.method === 'HEAD') {
    throw new CoatcheckError('request_invalid', { detail: `a ${request.method} request has a body` });
  }
  if (announcedBytes > maxBytes) {
    discardRest(request, maxBytes);
    throw tooLarge();
  }
  let bytes = 0;
  let isComplete = false;
  const copied: Buffer[] = [];
  const body = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      bytes += chunk.length;
      if (bytes <= copiedBytes) copied.push(chunk);
      else copied.length = 0;
      if (bytes > maxBytes) done(tooLarge());
      else done(null, chunk);
    },
    flush(done) {
      isComplete = true;
      done();
    },
  });
  body.once('close', () => {
    request.unpipe(body);
    if (!request.readableEnded) discardRest(request, maxBytes);
  });
  const copy = (): Buffer | undefined =>
    isComplete && bytes <= copiedBytes ? Buffer.concat(copied) : undefined;
  return { stream: request.pipe(body), copy };
}

function tooLarge(): CoatcheckError {
  return new CoatcheckError('request_too_large');
}

/**
 * Reads on and forgets, so that a client that is still sending gets to read the answer (a connection closed under unread
 * bytes is reset, and the answer with it); but not without end.
 */
function discardRest(request: IncomingMessage, maxBytes: number): void {
  let bytes = 0;
  request.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes > maxBytes) request.socket.destroy();
  });
  request.resume();
}
