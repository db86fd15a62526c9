import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import fastify, { type FastifyInstance, type FastifyReply } from 'fastify';
import { type Coatcheck, type CoatcheckOptions, createCoatcheck } from '../coatcheck.ts';
import type { Config } from '../config.ts';
import { CoatcheckError } from '../errors.ts';
import { fastifyCoatcheck } from '../fastify.ts';
import { createAdmin } from './admin.ts';
import { faultAnswer } from './fault-answer.ts';
import { createProxy, type ProxyOptions, type UpstreamProxy } from './proxy.ts';
import { parseRequestTarget, type RequestTarget } from './request-path.ts';
import { forwardingRoutes, type Upstreams } from './routes.ts';
import { send } from './send.ts';
import { serverOptions } from './server-options.ts';
import { watchUnusedConnections } from './unused-connections.ts';

/** A running gateway. */
export interface Gateway {
  readonly publicUrl: string;
  /** Where it listens, as `http://host:port`. */
  readonly address: string;
  readonly adminAddress: string;
  /** Goes on with what of another configuration needs no restart; see {@link Coatcheck.reload}. */
  reload(next: Config): void;
  /** Drains: not ready at once, then no new connections, then what is in flight is finished, within the drain timeout. */
  close(): Promise<void>;
}

/** Builds a gateway from its configuration and starts both listeners. */
export async function startGateway(config: Config, options: CoatcheckOptions = {}): Promise<Gateway> {
  const coatcheck = await createCoatcheck(config, options);
  const upstreams = createUpstreams(config);
  let ready = false;
  const server = createServer({ coatcheck, upstreams, draining: () => !ready });
  const unused = watchUnusedConnections(server.server);
  const admin = createAdmin({ coatcheck, ready: () => ready });
  const { listen, limits } = config;

  async function close(): Promise<void> {
    coatcheck.telemetry.log('gateway.draining', { replica: listen.replicaName });
    const wasReady = ready;
    ready = false;
    if (wasReady) await delay(limits.drainDelayMs);
    const finished = server.close().then(() => closeUpstreams(upstreams));
    unused.close();
    // Node closes what is idle at first; what falls idle later would wait for its client.
    const sweep = setInterval(() => server.server.closeIdleConnections(), 50);
    await Promise.race([finished, delay(limits.drainTimeoutMs, undefined, { ref: false })]);
    clearInterval(sweep);
    server.server.closeAllConnections();
    await Promise.all([coatcheck.close(), admin.close()]);
    coatcheck.telemetry.log('gateway.stopped', { replica: listen.replicaName });
  }

  try {
    const adminAddress = await admin.listen({ host: listen.adminHost, port: listen.adminPort });
    const address = await server.listen({ host: listen.host, port: listen.port });
    ready = true;
    coatcheck.telemetry.log('gateway.started', { address, replica: listen.replicaName });
    let closing: Promise<void> | undefined;
    return {
      publicUrl: config.publicUrl,
      address,
      adminAddress,
      reload: (next) => coatcheck.reload(next),
      close() {
        closing ??= close();
        return closing;
      },
    };
  } catch (fault) {
    await close();
    throw fault;
  }
}

declare module 'fastify' {
  interface FastifyRequest {
    /** The one parse of the request target; routes and forwarding both go by it. */
    target: RequestTarget;
  }
}

interface ServerParts {
  readonly coatcheck: Coatcheck;
  readonly upstreams: Upstreams;
  readonly draining: () => boolean;
}

function createServer({ coatcheck, upstreams, draining }: ServerParts): FastifyInstance {
  const { config, telemetry } = coatcheck;
  const ownHeaders = constantHeaders(config);
  const server = fastify({
    ...serverOptions(config.limits),
    logger: false,
    // What comes while we close is answered as usual; balancers have been told by then.
    return503OnClosing: false,
    genReqId: (request) => requestIdOf(request.headers['x-request-id']),
    // Refusals before routing, such as malformed percent-encoding; no hook runs for them.
    frameworkErrors: (fault, request, reply) => {
      const { method, headers, id: requestId } = request;
      reply.headers({ ...ownHeaders, 'x-request-id': requestId });
      send(reply, faultAnswer(coatcheck, { fault, method, headers, requestId, url: '/' }));
    },
  });
  server.server.maxConnections = config.limits.connections;
  server.removeAllContentTypeParsers();
  server.addContentTypeParser('*', (_request, _payload, done) => done(null));
  server.decorateRequest('target', null as unknown as RequestTarget);
  server.addHook('onRequest', async (request, reply) => {
    reply.headers({ ...ownHeaders, 'x-request-id': request.id });
    if (draining()) reply.header('connection', 'close');
    request.target = acceptTarget(request.raw.url);
  });
  server.addHook('onResponse', async (request, reply) => {
    const route = request.routeOptions.url ?? 'none';
    const { method, id: requestId } = request;
    const status = reply.raw.statusCode;
    telemetry.metrics.requests.inc({ route, method, status: String(status) });
    telemetry.metrics.requestSeconds.observe({ route }, reply.elapsedTime / 1000);
    telemetry.log('gateway.request', {
      requestId,
      route,
      method,
      status,
      durationMs: Math.round(reply.elapsedTime),
    });
  });
  server.register(fastifyCoatcheck, { coatcheck, answerEveryFault: true });
  server.register(async (scope) => addForwardingRoutes(scope, { coatcheck, upstreams, draining }));
  return server;
}

function addForwardingRoutes(scope: FastifyInstance, { coatcheck, upstreams }: ServerParts): void {
  for (const { path, forward } of forwardingRoutes) {
    scope.all(path, async (request, reply) => {
      const exchange = {
        request: request.raw,
        response: reply.raw,
        target: request.target,
        requestHeaders: { 'x-request-id': request.id },
        responseHeaders: headersSoFar(reply),
      };
      // Faults are thrown only while nothing has been sent, so the error handler can still answer.
      await forward({ coatcheck, upstreams, exchange });
      reply.hijack();
    });
  }
  scope.setNotFoundHandler(() => {
    throw new CoatcheckError('not_found');
  });
}

function headersSoFar(reply: FastifyReply): Record<string, string> {
  return Object.fromEntries(Object.entries(reply.getHeaders()).map(([name, value]) => [name, String(value)]));
}

/** On every answer, ours or an upstream's. */
function constantHeaders({ publicUrl, listen }: Config): Readonly<Record<string, string>> {
  return {
    ...(publicUrl.startsWith('https:')
      ? { 'strict-transport-security': 'max-age=31536000; includeSubDomains' }
      : {}),
    ...(listen.replicaName === undefined ? {} : { 'coatcheck-replica': listen.replicaName }),
  };
}

/** A well-formed id of the proxy before us is kept, so that its logs and ours can be joined. */
function requestIdOf(header: string | string[] | undefined): string {
  return typeof header === 'string' && /^[\w-]{8,64}$/.test(header) ? header : randomUUID();
}

function acceptTarget(url = ''): RequestTarget {
  const target = parseRequestTarget(url);
  if (target.kind === 'ok') return target;
  throw new CoatcheckError('path_refused', { detail: `the request target has ${target.why}` });
}

function createUpstreams(config: Config): Upstreams {
  const { publicUrl, limits } = config;
  const common = { publicUrl, maxRequestBodyBytes: limits.requestBodyBytes };
  const apis = Object.entries(config.upstreams).map(([name, upstream]): [string, UpstreamProxy] => [
    name,
    createProxy({ ...common, ...upstream, kind: 'api', routePrefix: `/api/${name}` }),
  ]);
  const app =
    config.app === undefined
      ? undefined
      : createProxy({ ...common, ...appDefaults, kind: 'app', routePrefix: '', url: config.app.url });
  return { apis: new Map(apis), app };
}

/** How the app behind the gateway is called; it is a neighbour, and its own limits hold. */
const appDefaults: Pick<
  ProxyOptions,
  'methods' | 'headers' | 'connections' | 'headersTimeoutMs' | 'bodyTimeoutMs'
> = {
  methods: ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'],
  headers: {},
  connections: 256,
  headersTimeoutMs: 30_000,
  bodyTimeoutMs: 300_000,
};

async function closeUpstreams({ apis, app }: Upstreams): Promise<void> {
  await Promise.all([...apis.values(), ...(app === undefined ? [] : [app])].map((proxy) => proxy.close()));
}
