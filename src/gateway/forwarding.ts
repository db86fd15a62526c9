import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Transform } from 'node:stream';
import type { Dispatcher } from 'undici';
import { CoatcheckError } from '../errors.ts';
import { type Placement, responseHeaders, rewriteLocation } from './forwarded-headers.ts';
import type { RequestTarget } from './request-path.ts';

/** One request on its way. Everything that belongs to a person is here and lives as long as the call. */
export interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  /** What `parseRequestTarget` said of `request.url`. */
  readonly target: RequestTarget;
  /** The access token for an API, without its scheme. Refused for the app, which never gets one. */
  readonly bearer?: string;
  /**
   * Another token in the place of the one that the upstream has refused with 401; `undefined` where there is none, and its answer
   * then goes to the client. Asked at most once, and only where the request can be sent again. What it throws is answered instead.
   */
  readonly renewBearer?: (rejected: string) => Promise<string | undefined>;
  /** Added to the request after everything else: claims, request id. */
  readonly requestHeaders?: Readonly<Record<string, string>>;
  /** Added to the answer after everything else. */
  readonly responseHeaders?: Readonly<Record<string, string>>;
  /** False on a public path: the app may let caches keep its answer. Default true: `no-store`. */
  readonly personal?: boolean;
}

type ResponseHeaders = Record<string, string | string[] | undefined>;

/** How a forwarded exchange ended, once an answer had begun or the client had left. */
export type ForwardingOutcome =
  /** The client has all of it. */
  | { readonly kind: 'answered'; readonly status: number }
  /** The client closed its connection; the upstream's request was aborted. */
  | { readonly kind: 'client-gone' }
  /** The upstream broke off midway or one side stood still; the client's connection was destroyed, so it can tell. */
  | { readonly kind: 'cut'; readonly status: number; readonly fault: CoatcheckError };

/** How one attempt ended. */
export type AttemptOutcome =
  | ForwardingOutcome
  /** Refused with 401; nothing has been sent to the client, and here is another token. */
  | { readonly kind: 'renewed'; readonly bearer: string };

/** What one forwarding needs to know. */
export interface ForwardingContext {
  readonly exchange: Exchange;
  readonly body: Transform | undefined;
  /** Path and query at the upstream. */
  readonly path: string;
  readonly placement: Placement;
  /** Values that the request carries and no answer may show. */
  readonly secrets: readonly string[];
  readonly headersTimeoutMs: number;
  readonly bodyTimeoutMs: number;
  /** Another token, where the request can be sent again with it. */
  readonly renewBearer?: (() => Promise<string | undefined> | undefined) | undefined;
  readonly resolve: (outcome: AttemptOutcome) => void;
  readonly reject: (fault: CoatcheckError) => void;
}

/**
 * One exchange between the HTTP library and the client's response. It ends exactly once, in `#end`; whatever arrives
 * afterwards finds it over.
 */
export class Forwarding implements Dispatcher.DispatchHandler {
  readonly #context: ForwardingContext;
  readonly #response: ServerResponse;
  #controller: Dispatcher.DispatchController | undefined;
  #timer: NodeJS.Timeout;
  #hasBodyBegun = false;
  #over = false;

  constructor(context: ForwardingContext) {
    this.#context = context;
    this.#response = context.exchange.response;
    this.#timer = setTimeout(() => this.#onStandstill(), context.headersTimeoutMs);
    if (context.body) {
      context.exchange.request.on('data', () => this.#over || this.#timer.refresh());
      context.body.on('error', (error) => this.#fail(CoatcheckError.from(error)));
    }
    this.#response.on('drain', () => this.#onDrain());
    this.#response.once('close', () => this.#onClose());
    // A write that races with the client's leaving is reported here; `close` follows and decides.
    this.#response.on('error', () => undefined);
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    if (this.#over) controller.abort(new CoatcheckError('upstream_unavailable'));
  }

  onResponseStart(controller: Dispatcher.DispatchController, status: number, headers: ResponseHeaders): void {
    if (this.#over || status < 200) return;
    if (status > 599 || /[^,\s]/.test(String(headers['transfer-encoding'] ?? '').replace(/^chunked$/i, ''))) {
      this.#fail(
        new CoatcheckError('upstream_unavailable', { detail: 'the upstream answered outside of HTTP' }),
      );
      return;
    }
    clearTimeout(this.#timer);
    const renewal = status === 401 && mayConcernToken(headers) ? this.#context.renewBearer?.() : undefined;
    if (renewal === undefined) {
      this.#begin(status, headers);
      return;
    }
    controller.pause();
    renewal.then(
      (bearer) => this.#onRenewal(bearer, () => this.#begin(status, headers)),
      (fault: unknown) => this.#fail(CoatcheckError.from(fault)),
    );
  }

  /** The answer waits: it becomes the client's, unless there is another token to try. */
  #onRenewal(bearer: string | undefined, begin: () => void): void {
    if (this.#over) return;
    if (bearer === undefined) {
      begin();
      this.#controller?.resume();
      return;
    }
    this.#end();
    this.#abort();
    this.#context.resolve({ kind: 'renewed', bearer });
  }

  #begin(status: number, headers: ResponseHeaders): void {
    this.#timer = setTimeout(() => this.#onStandstill(), this.#context.bodyTimeoutMs);
    const { exchange, path, placement } = this.#context;
    const list = responseHeaders(headers, {
      kind: placement.kind,
      personal: exchange.personal ?? true,
      secrets: this.#context.secrets,
      location: (value) => rewriteLocation(value, path, placement),
      ownHeaders: exchange.responseHeaders ?? {},
    });
    this.#response.writeHead(status, list);
    // Together with the first bytes of the body where those are at hand; alone where they may take a while.
    process.nextTick(() => {
      if (!this.#over && !this.#hasBodyBegun && !this.#response.writableEnded) this.#response.flushHeaders();
    });
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.#over) return;
    this.#hasBodyBegun = true;
    this.#timer.refresh();
    if (!this.#response.write(chunk)) controller.pause();
  }

  onResponseEnd(): void {
    if (!this.#over) this.#response.end();
  }

  onResponseError(_controller: Dispatcher.DispatchController | undefined, error: Error): void {
    this.#fail(faultOf(error));
  }

  #onDrain(): void {
    if (this.#over) return;
    this.#timer.refresh();
    this.#controller?.resume();
  }

  #onClose(): void {
    if (this.#over) return;
    const { statusCode: status, writableFinished } = this.#response;
    this.#end();
    if (!writableFinished) this.#abort();
    this.#context.resolve(writableFinished ? { kind: 'answered', status } : { kind: 'client-gone' });
  }

  /** Nothing has moved for the whole time limit. Who is to blame decides what the client is told. */
  #onStandstill(): void {
    const { body, exchange } = this.#context;
    const clientIsSilent =
      body && !exchange.request.complete && body.readableLength + body.writableLength === 0;
    this.#fail(
      new CoatcheckError(this.#controller && clientIsSilent ? 'request_timeout' : 'upstream_timeout'),
    );
  }

  #fail(fault: CoatcheckError): void {
    if (this.#over) return;
    this.#end();
    this.#abort();
    if (this.#response.headersSent) {
      this.#response.destroy();
      this.#context.resolve({ kind: 'cut', status: this.#response.statusCode, fault });
    } else if (this.#response.destroyed) {
      this.#context.resolve({ kind: 'client-gone' });
    } else {
      this.#context.reject(fault);
    }
  }

  #end(): void {
    this.#over = true;
    clearTimeout(this.#timer);
    this.#context.body?.destroy();
  }

  #abort(): void {
    this.#controller?.abort(new CoatcheckError('upstream_unavailable'));
  }
}

/** RFC 6750 §3.1: any 401, unless it names another reason than the token. Many APIs name none. */
function mayConcernToken({ 'www-authenticate': challenge }: ResponseHeaders): boolean {
  const error = /\berror\s*=\s*"?([\w-]+)/i.exec(String(challenge ?? ''))?.[1];
  return error === undefined || error === 'invalid_token';
}

const timeouts: ReadonlySet<string> = new Set(['UND_ERR_CONNECT_TIMEOUT', 'ETIMEDOUT']);
const drains: ReadonlySet<string> = new Set(['UND_ERR_CLOSED', 'UND_ERR_DESTROYED']);
const defects: ReadonlySet<string> = new Set(['UND_ERR_INVALID_ARG', 'UND_ERR_NOT_SUPPORTED']);

function faultOf(error: Error): CoatcheckError {
  if (CoatcheckError.is(error)) return error;
  const code = 'code' in error ? String(error.code) : '';
  if (timeouts.has(code)) return new CoatcheckError('upstream_timeout', { cause: error });
  if (drains.has(code)) return new CoatcheckError('draining', { cause: error });
  if (defects.has(code)) return new CoatcheckError('internal', { cause: error });
  return new CoatcheckError('upstream_unavailable', { cause: error });
}
