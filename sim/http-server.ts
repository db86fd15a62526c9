import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http';
import { createServer as createTlsServer, type ServerOptions } from 'node:https';
import type { AddressInfo } from 'node:net';

/** A listening server on 127.0.0.1. Requests that arrive before `serve` was called get 503. */
export interface HttpServer {
  /** Origin without trailing slash, e.g. `http://127.0.0.1:4711`. */
  readonly url: string;
  serve(listener: RequestListener): void;
  /** Stops listening and drops what is still open. */
  close(): Promise<void>;
}

/** Starts a server. The port must be known before an issuer can be named, so the listener comes afterwards. */
export async function startHttpServer(port = 0, tls?: ServerOptions): Promise<HttpServer> {
  let listener: RequestListener = (_request, response) => answerJson(response, 503, { error: 'starting' });
  const current: RequestListener = (request, response) => listener(request, response);
  const server = tls === undefined ? createServer(current) : createTlsServer(tls, current);
  // Longer than any client keeps an idle connection: otherwise a reused connection may be closed under a request.
  server.keepAliveTimeout = 65_000;
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', resolve);
  });
  return {
    url: `${tls === undefined ? 'http' : 'https'}://127.0.0.1:${(server.address() as AddressInfo).port}`,
    serve: (next) => {
      listener = next;
    },
    close: () =>
      new Promise((resolve, reject) => {
        server.close((error) => (error ? reject(error) : resolve()));
        server.closeAllConnections();
      }),
  };
}

/** Ends an answer with a JSON body. */
export function answerJson(response: ServerResponse, status: number, body: unknown): void {
  response.statusCode = status;
  response.setHeader('content-type', 'application/json; charset=utf-8');
  response.setHeader('cache-control', 'no-store');
  response.end(JSON.stringify(body));
}

/** An async handler as a listener: whatever it throws becomes a 500 or, too late for that, a broken connection. */
export function asListener(
  handle: (request: IncomingMessage, response: ServerResponse) => Promise<void>,
): RequestListener {
  return (request, response) => {
    handle(request, response).catch((error: unknown) => {
      if (response.headersSent) response.destroy();
      else answerJson(response, 500, { error: error instanceof Error ? error.name : 'unknown' });
    });
  };
}

/** The whole body as text. For the small bodies of simulators only. */
export async function readText(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString('utf8');
}

/** The body as JSON; `undefined` where it is not JSON. */
export async function readJson(request: IncomingMessage): Promise<unknown> {
  const text = await readText(request);
  try {
    return JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

/** Path of a request, without query. */
export function pathOf(request: IncomingMessage): string {
  return (request.url ?? '/').split('?', 1)[0] ?? '/';
}

/** The bearer token of a request (RFC 6750 §2.1), if it has one. */
export function bearerOf(request: IncomingMessage): string | undefined {
  return /^Bearer +([\w.~+/-]+=*)$/i.exec(request.headers.authorization ?? '')?.[1];
}
