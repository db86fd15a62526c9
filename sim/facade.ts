import { randomUUID } from 'node:crypto';
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import { pipeline } from 'node:stream/promises';
import { Agent, type Dispatcher } from 'undici';
import { echo } from './echo.ts';
import { answerJson, asListener, bearerOf, pathOf, startHttpServer } from './http-server.ts';
import { internalHeaders } from './notebook-api.ts';
import { type Seen, setSeenHeaders } from './seen.ts';

/** Options of {@link startFacade}. */
export interface FacadeOptions {
  /** Default 0: any free port. */
  readonly port?: number;
  /** Expected in the headers `client_id` and `client_secret`. */
  readonly clientId: string;
  readonly clientSecret: string;
  readonly notebookApiUrl: string;
  readonly internalSecret: string;
  /** What a bearer token is worth to the notebook's provider. */
  readonly introspect: (token: string) => Promise<Seen | undefined>;
  /** Default: nothing. */
  readonly guard?: (listener: RequestListener) => RequestListener;
}

/** A running facade. */
export interface Facade {
  readonly url: string;
  close(): Promise<void>;
}

/**
 * Starts a MuleSoft-like facade in front of the notebook: it wants the calling application in `client_id` and
 * `client_secret`, and the person in a bearer token. Anything at or below `/echo` it answers itself.
 */
export async function startFacade(options: FacadeOptions): Promise<Facade> {
  const agent = new Agent();
  const server = await startHttpServer(options.port);
  const listener = asListener((request, response) => answer({ options, agent, request, response }));
  server.serve(options.guard ? options.guard(listener) : listener);
  return {
    url: server.url,
    close: async () => {
      await server.close();
      await agent.destroy();
    },
  };
}

interface Call {
  readonly options: FacadeOptions;
  readonly agent: Dispatcher;
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
}

async function answer(call: Call): Promise<void> {
  const { options, request, response } = call;
  const correlationId = String(request.headers['x-correlation-id'] ?? randomUUID());
  response.setHeader('x-correlation-id', correlationId);
  const { client_id: clientId, client_secret: clientSecret } = request.headers;
  if (clientId !== options.clientId || clientSecret !== options.clientSecret) {
    return refuse(call, 401, 'invalid client');
  }
  if (request.headers.authorization === undefined) return refuse(call, 400, 'token not provided');
  const token = bearerOf(request);
  const seen = token === undefined ? undefined : await options.introspect(token);
  if (!seen) return refuse(call, 401, 'invalid token');
  setSeenHeaders(response, seen);
  if (/^\/echo(\/|$)/.test(pathOf(request))) {
    return answerJson(response, 200, { ...(await echo(request)), correlationId, seen });
  }
  await forward(call, seen, correlationId);
}

function refuse({ request, response }: Call, status: number, error: string): void {
  request.resume();
  answerJson(response, status, { error });
}

async function forward(
  { options, agent, request, response }: Call,
  seen: Seen,
  correlationId: string,
): Promise<void> {
  const hasBody = request.headers['content-length'] !== undefined || 'transfer-encoding' in request.headers;
  const answered = await agent.request({
    origin: options.notebookApiUrl,
    path: request.url ?? '/',
    method: (request.method ?? 'GET') as Dispatcher.HttpMethod,
    headers: {
      'content-type': request.headers['content-type'] ?? 'application/json',
      'x-correlation-id': correlationId,
      [internalHeaders.secret]: options.internalSecret,
      [internalHeaders.seen]: JSON.stringify(seen),
    },
    body: hasBody ? request : null,
  });
  response.writeHead(answered.statusCode, { 'content-type': String(answered.headers['content-type']) });
  await pipeline(answered.body, response);
}
