import type { AddressInfo } from 'node:net';
import { fastify } from 'fastify';
import { CoatcheckError } from '../src/errors.ts';
import type { Exchange, ForwardingOutcome } from '../src/gateway/forwarding.ts';
import { createProxy, type ProxyOptions, type UpstreamProxy } from '../src/gateway/proxy.ts';
import { parseRequestTarget } from '../src/gateway/request-path.ts';
import { serverOptions } from '../src/gateway/server-options.ts';

/** A real Fastify server with one route and one proxy behind it: as much of the gateway as the proxy needs. */
export interface ProxyFront {
  readonly url: string;
  readonly port: number;
  readonly proxy: UpstreamProxy;
  readonly outcomes: (ForwardingOutcome | CoatcheckError)[];
  close(): Promise<void>;
}

/** What a test may set; the rest has everyday values. */
export interface ProxyFrontOptions extends Partial<ProxyOptions> {
  readonly url: string;
  /** What belongs to one request: its bearer, for example. */
  readonly personal?: (path: string) => Partial<Exchange>;
  readonly headersTimeoutOfServerMs?: number;
  readonly requestTimeoutOfServerMs?: number;
}

/** Starts the front on loopback. */
export async function startProxyFront(options: ProxyFrontOptions): Promise<ProxyFront> {
  const {
    personal,
    headersTimeoutOfServerMs = 10_000,
    requestTimeoutOfServerMs = 30_000,
    ...given
  } = options;
  const proxy = createProxy({
    kind: 'api',
    routePrefix: '/api/eln',
    publicUrl: 'https://apps.example.com',
    methods: ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'],
    headers: {},
    connections: 32,
    headersTimeoutMs: 5000,
    bodyTimeoutMs: 5000,
    maxRequestBodyBytes: 1_048_576,
    ...given,
  });
  const outcomes: (ForwardingOutcome | CoatcheckError)[] = [];
  const server = fastify({
    ...serverOptions({
      headersTimeoutMs: headersTimeoutOfServerMs,
      requestTimeoutMs: requestTimeoutOfServerMs,
    }),
    frameworkErrors: (_error, _request, reply) => {
      reply.raw.writeHead(400).end();
    },
  });
  server.removeAllContentTypeParsers();
  server.addContentTypeParser('*', (_request, _payload, done) => done(null));
  server.setErrorHandler((error, _request, reply) => {
    const fault = CoatcheckError.from(error);
    outcomes.push(fault);
    reply.code(fault.status).headers(fault.shown).send({ code: fault.code });
  });
  server.all('/*', async (request, reply) => {
    const target = parseRequestTarget(request.raw.url ?? '');
    if (target.kind === 'refused') throw new CoatcheckError('path_refused', { detail: target.why });
    const own = personal?.(target.path);
    outcomes.push(await proxy.forward({ request: request.raw, response: reply.raw, target, ...own }));
    reply.hijack();
  });
  await server.listen({ host: '127.0.0.1', port: 0 });
  const { port } = server.server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    port,
    proxy,
    outcomes,
    close: async () => {
      server.server.closeAllConnections();
      await server.close();
      await proxy.destroy();
    },
  };
}
