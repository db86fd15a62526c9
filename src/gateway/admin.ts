import fastify, { type FastifyInstance } from 'fastify';
import type { Coatcheck } from '../coatcheck.ts';
import { addSessionRoutes } from './admin-sessions.ts';

/** What the admin listener needs to know of the gateway. */
export interface AdminOptions {
  readonly coatcheck: Coatcheck;
  /** Whether the gateway takes new requests. */
  readonly ready: () => boolean;
}

/** The second listener, never the public one: probes, metrics and, behind a token, people's sessions. */
export function createAdmin({ coatcheck, ready }: AdminOptions): FastifyInstance {
  const admin = fastify({ logger: false });

  // The process runs. Says nothing of what it depends on: restarting us mends nobody else.
  admin.get('/livez', async () => ({ live: true }));

  // This replica takes requests. A store that is away is told but does not count: another replica has the same store.
  admin.get('/readyz', async (_request, reply) => {
    const isReady = ready();
    const { connected, sinceMs } = coatcheck.storeState();
    return reply.code(isReady ? 200 : 503).send({
      ready: isReady,
      store: connected ? 'connected' : 'disconnected',
      storeSince: new Date(sinceMs).toISOString(),
      // What holds meanwhile.
      ...(connected ? {} : { outage: coatcheck.config.outage }),
    });
  });

  // Prometheus text format.
  admin.get('/metrics', async (_request, reply) => {
    const { registry } = coatcheck.telemetry;
    return reply.header('content-type', registry.contentType).send(await registry.metrics());
  });

  addSessionRoutes(admin, coatcheck);
  return admin;
}
