import { type ServerResponse, STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import { securityHeaders } from './answer.ts';

/** The limits of the public listener; `Config['limits']` fits. */
export interface ServerLimits {
  /** Longest wait for a request's head. */
  readonly headersTimeoutMs: number;
  /** Longest wait for a whole request, body included. */
  readonly requestTimeoutMs: number;
}

/** What the proxy relies on in the server above it; spread it into Fastify's options. */
export interface ServerOptions {
  readonly http: {
    readonly insecureHTTPParser: false;
    readonly maxHeaderSize: number;
    readonly headersTimeout: number;
    readonly requestTimeout: number;
    readonly connectionsCheckingInterval: number;
    readonly keepAliveTimeout: number;
    readonly requireHostHeader: true;
  };
  readonly requestTimeout: number;
  readonly keepAliveTimeout: number;
  readonly connectionTimeout: number;
  readonly trustProxy: false;
  readonly exposeHeadRoutes: false;
  readonly requestIdHeader: false;
  readonly clientErrorHandler: (error: Error & { readonly code?: string }, socket: Socket) => void;
}

/** Longer than the idle time of common load balancers (60 s), so that they close first. */
const keepAliveTimeoutMs = 65_000;

/**
 * Options of the Fastify server in front of the proxy: the strict parser, every wait bounded, nothing believed that a
 * client says about itself.
 */
export function serverOptions({ headersTimeoutMs, requestTimeoutMs }: ServerLimits): ServerOptions {
  return {
    http: {
      insecureHTTPParser: false,
      maxHeaderSize: 16_384,
      headersTimeout: headersTimeoutMs,
      requestTimeout: requestTimeoutMs,
      connectionsCheckingInterval: Math.max(50, Math.min(1000, headersTimeoutMs)),
      keepAliveTimeout: keepAliveTimeoutMs,
      requireHostHeader: true,
    },
    // Fastify sets these after it has made the server, so they are needed twice.
    requestTimeout: requestTimeoutMs,
    keepAliveTimeout: keepAliveTimeoutMs,
    // Off: it would cut answers whose upstream is allowed to take its time; the proxy watches for standstill itself.
    connectionTimeout: 0,
    trustProxy: false,
    exposeHeadRoutes: false,
    requestIdHeader: false,
    clientErrorHandler: answerMalformed,
  };
}

const statuses: Readonly<Record<string, number>> = {
  ERR_HTTP_REQUEST_TIMEOUT: 408,
  HPE_CHUNK_EXTENSIONS_OVERFLOW: 413,
  HPE_HEADER_OVERFLOW: 431,
};

/**
 * Answers what the parser refused, then closes: after a malformed request nobody can say where the next one begins. Where
 * an answer is under way already, a second one in the middle of it would be taken for its body, so there it only closes.
 */
function answerMalformed(error: Error & { readonly code?: string }, socket: Socket): void {
  const current = (socket as Socket & { readonly _httpMessage?: ServerResponse | null })._httpMessage;
  if (!socket.writable || error.code === 'ECONNRESET' || current?.headersSent) {
    socket.destroy();
    return;
  }
  const status = statuses[error.code ?? ''] ?? 400;
  const title = STATUS_CODES[status] ?? 'Bad Request';
  const problem = JSON.stringify({ type: 'about:blank', title, status, code: 'request_invalid' });
  socket.write(
    [
      `HTTP/1.1 ${status} ${title}`,
      'content-type: application/problem+json',
      `content-length: ${Buffer.byteLength(problem)}`,
      ...Object.entries(securityHeaders).map(([name, value]) => `${name}: ${value}`),
      'connection: close',
      '',
      problem,
    ].join('\r\n'),
  );
  socket.destroySoon();
}
