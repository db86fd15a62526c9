import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import { z } from 'zod';
import { answerJson, asListener, type HttpServer, pathOf, readJson, startHttpServer } from './http-server.ts';

/** The simulators that can be made to fail. */
export const targets = ['identity', 'notebook', 'facade', 'systems'] as const;

/** One of {@link targets}. */
export type Target = (typeof targets)[number];

/** How a target fails: not; late, before or after doing what it was asked; with a status; or by destroying the socket. */
export type Fault =
  | { readonly kind: 'none' }
  | { readonly kind: 'slow'; readonly delayMs: number }
  | { readonly kind: 'late'; readonly delayMs: number }
  | { readonly kind: 'error'; readonly status: number }
  | { readonly kind: 'drop' };

/** Fault switches and request counts of all targets. */
export class Faults {
  readonly #faults = new Map<Target, Fault>();
  readonly #requests = new Map<string, number>();

  /** Applies to requests that arrive from now on. */
  set(target: Target, fault: Fault): void {
    this.#faults.set(target, fault);
  }

  /** All targets work again. */
  clear(): void {
    this.#faults.clear();
  }

  /** The fault of each target. */
  get all(): Record<Target, Fault> {
    const faultOf = (target: Target): Fault => this.#faults.get(target) ?? { kind: 'none' };
    return {
      identity: faultOf('identity'),
      notebook: faultOf('notebook'),
      facade: faultOf('facade'),
      systems: faultOf('systems'),
    };
  }

  /** Requests that reached a target, failed ones included: `identity POST /token` → count. First path segment only. */
  get requests(): Record<string, number> {
    return Object.fromEntries(this.#requests);
  }

  /** Starts counting anew. */
  clearRequests(): void {
    this.#requests.clear();
  }

  /** The listener behind the switch of a target. */
  guard(target: Target, listener: RequestListener): RequestListener {
    return (request, response) => {
      const key = `${target} ${request.method} /${pathOf(request).split('/', 2)[1] ?? ''}`;
      this.#requests.set(key, (this.#requests.get(key) ?? 0) + 1);
      const fault = this.#faults.get(target) ?? { kind: 'none' };
      switch (fault.kind) {
        case 'none':
          return listener(request, response);
        case 'slow': {
          const timer = setTimeout(() => listener(request, response), fault.delayMs);
          return void response.once('close', () => clearTimeout(timer));
        }
        case 'late':
          return listener(request, lateAnswer(response, fault.delayMs));
        case 'error':
          request.resume();
          return answerJson(response, fault.status, { error: 'fault' });
        case 'drop':
          return void request.socket.destroy();
      }
    };
  }
}

/** The same response, whose end is sent late. */
function lateAnswer(response: ServerResponse, delayMs: number): ServerResponse {
  const end = response.end.bind(response) as (...values: unknown[]) => ServerResponse;
  response.end = ((...values: unknown[]) => {
    setTimeout(() => end(...values), delayMs);
    return response;
  }) as typeof response.end;
  return response;
}

/**
 * Starts the admin port: `GET /faults`, `PUT /faults/:target` with a {@link Fault}, `DELETE /faults`;
 * `GET /requests`, `DELETE /requests`.
 */
export async function startFaultsAdmin(faults: Faults, port = 0): Promise<HttpServer> {
  const server = await startHttpServer(port);
  server.serve(asListener((request, response) => answerAdmin(faults, request, response)));
  return server;
}

async function answerAdmin(
  faults: Faults,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const route = `${request.method} ${pathOf(request)}`;
  const target = targets.find((name) => route === `PUT /faults/${name}`);
  if (target) {
    const fault = faultSchema.safeParse(await readJson(request)).data;
    if (!fault) return answerJson(response, 400, { error: 'not a fault' });
    faults.set(target, fault);
  } else if (route === 'DELETE /faults') {
    faults.clear();
  } else if (route === 'GET /requests' || route === 'DELETE /requests') {
    const requests = faults.requests;
    if (request.method === 'DELETE') faults.clearRequests();
    return answerJson(response, 200, requests);
  } else if (route !== 'GET /faults') {
    return answerJson(response, 404, { error: 'not found' });
  }
  answerJson(response, 200, faults.all);
}

const faultSchema = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('none') }),
  z.object({ kind: z.literal('slow'), delayMs: z.int().min(0).max(600_000) }),
  z.object({ kind: z.literal('late'), delayMs: z.int().min(0).max(600_000) }),
  z.object({ kind: z.literal('error'), status: z.int().min(400).max(599) }),
  z.object({ kind: z.literal('drop') }),
]);
