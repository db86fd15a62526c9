/**
 * The app behind the gateway: static files, and a control with which a signed-in person kills a replica. It knows
 * nothing of sign-in and never sees a token; the gateway lets only signed-in people past the public paths.
 */
import { readFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { json } from 'node:stream/consumers';

/** A replica as people see it. */
export interface ReplicaState {
  readonly name: string;
  readonly state: 'ready' | 'starting' | 'killed';
}

/** What the workbench can do with the fleet. */
export interface WorkbenchOptions {
  replicas(): readonly ReplicaState[];
  /** False where no replica of that name is running. */
  kill(replica: string): boolean;
}

/** A running workbench. */
export interface Workbench {
  /** Origin, on loopback. */
  readonly url: string;
  close(): Promise<void>;
}

/** Paths that need no session. Whatever is not under them does. */
export const publicPaths: readonly string[] = ['/', '/workbench/*'];

const files: Readonly<Record<string, readonly [file: string, type: string]>> = {
  '/': ['index.html', 'text/html; charset=utf-8'],
  '/workbench/workbench.css': ['workbench.css', 'text/css; charset=utf-8'],
  '/workbench/workbench.js': ['workbench.js', 'text/javascript; charset=utf-8'],
  '/workbench/icon.svg': ['icon.svg', 'image/svg+xml'],
};

const headers = {
  'content-security-policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
  'cache-control': 'no-cache',
  'cross-origin-opener-policy': 'same-origin',
  // Not `no-referrer`: with that, browsers send `Origin: null` with the form that signs out.
  'referrer-policy': 'same-origin',
  'x-content-type-options': 'nosniff',
};

function answer(response: ServerResponse, status: number, content: object): void {
  response.writeHead(status, { ...headers, 'content-type': 'application/json' }).end(JSON.stringify(content));
}

async function serveFile(response: ServerResponse, [file, type]: readonly [string, string]): Promise<void> {
  const content = await readFile(new URL(`workbench/${file}`, import.meta.url));
  response.writeHead(200, { ...headers, 'content-type': type }).end(content);
}

async function control(
  incoming: IncomingMessage,
  response: ServerResponse,
  options: WorkbenchOptions,
): Promise<void> {
  // The gateway sets this header for signed-in people only, and removes a forged one.
  if (incoming.headers['x-coatcheck-subject'] === undefined)
    return answer(response, 403, { title: 'Sign in first' });
  if (incoming.method === 'GET' && incoming.url === '/workbench-control/replicas') {
    return answer(response, 200, { replicas: options.replicas() });
  }
  if (incoming.method === 'POST' && incoming.url === '/workbench-control/kill') {
    const { replica } = (await json(incoming)) as { replica: string };
    const killed = options.kill(replica);
    return answer(
      response,
      killed ? 202 : 404,
      killed ? { replica, state: 'killed' } : { title: 'No such replica is running' },
    );
  }
  answer(response, 404, { title: 'There is nothing here' });
}

/** Starts the workbench on a free port of loopback. */
export async function startWorkbench(options: WorkbenchOptions): Promise<Workbench> {
  const server = createServer((incoming, response) => {
    const file = files[(incoming.url ?? '').split('?', 1)[0] ?? ''];
    const served = file === undefined ? control(incoming, response, options) : serveFile(response, file);
    served.catch(() => answer(response, 400, { title: 'The request is malformed' }));
  });
  server.keepAliveTimeout = 65_000;
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
