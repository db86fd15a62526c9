import type { FastifyInstance, FastifyPluginAsync, FastifyReply, FastifyRequest } from 'fastify';
import fastifyPlugin from 'fastify-plugin';
import type { Coatcheck } from './coatcheck.ts';
import { CoatcheckError } from './errors.ts';
import { type AuthRoute, authRoutes, refuseUnlessOurs } from './gateway/auth-routes.ts';
import { backchannelRoute } from './gateway/backchannel-route.ts';
import { faultAnswer } from './gateway/fault-answer.ts';
import { personRoutes } from './gateway/person-routes.ts';
import { send } from './gateway/send.ts';
import { accessSession, accessToken, requireSession, type SessionAccess } from './gateway/session-access.ts';
import type { Session } from './session/session.ts';

/** What a Fastify handler can ask about its request. */
export interface RequestCoatcheck {
  /** The session, or `undefined` where nobody is signed in. At most one store command per request. Throws `store_unavailable`. */
  session(): Promise<Session | undefined>;
  /** The session; throws `no_session` where nobody is signed in. */
  requireSession(): Promise<Session>;
  /**
   * The person's access token at one provider, refreshed where it has ended. Throws `no_session`, `token_unavailable`,
   * `provider_unavailable`, and `origin_refused` where a request that changes something came from another site.
   */
  accessToken(provider: string): Promise<string>;
}

declare module 'fastify' {
  interface FastifyRequest {
    /** Session and tokens of the person who sent this request. */
    coatcheck: RequestCoatcheck;
  }
}

/** Options of {@link fastifyCoatcheck}. */
export interface FastifyCoatcheckOptions {
  readonly coatcheck: Coatcheck;
  /** Answer every error of the app as a problem document, not only Coatcheck's. Default false. */
  readonly answerEveryFault?: boolean;
}

const plugin: FastifyPluginAsync<FastifyCoatcheckOptions> = async (
  app,
  { coatcheck, answerEveryFault = false },
) => {
  app.decorateRequest('coatcheck', null as unknown as RequestCoatcheck);
  app.addHook('onRequest', async (request) => {
    request.coatcheck = requestCoatcheck(coatcheck, request);
  });
  app.setErrorHandler((fault, request, reply) => {
    if (!answerEveryFault && !CoatcheckError.is(fault)) throw fault;
    return sendFault(coatcheck, { fault, request, reply });
  });
  for (const route of [...authRoutes, ...personRoutes]) addRoute(app, coatcheck, route);
  app.register(async (scope) => {
    // The app's own ways with bodies and errors play no part here.
    scope.removeAllContentTypeParsers();
    const form = 'application/x-www-form-urlencoded';
    scope.addContentTypeParser(form, { parseAs: 'string', bodyLimit: 16_384 }, (_request, body, done) =>
      done(null, body),
    );
    scope.setErrorHandler((fault, request, reply) => sendFault(coatcheck, { fault, request, reply }));
    addRoute(scope, coatcheck, backchannelRoute);
  });
};

interface Faulty {
  readonly fault: unknown;
  readonly request: FastifyRequest;
  readonly reply: FastifyReply;
}

function sendFault(coatcheck: Coatcheck, { fault, request, reply }: Faulty): FastifyReply {
  const { method, headers, id: requestId } = request;
  const url = request.raw.url ?? '/';
  return send(reply, faultAnswer(coatcheck, { fault, method, headers, requestId, url }));
}

function addRoute(app: FastifyInstance, coatcheck: Coatcheck, route: AuthRoute): void {
  app.route({
    method: route.method,
    url: route.path,
    exposeHeadRoute: false,
    async handler(request, reply) {
      const queryStart = request.raw.url?.indexOf('?') ?? -1;
      const { provider, session } = request.params as Record<string, string | undefined>;
      const answer = await route.answer(coatcheck, {
        method: request.method,
        query: queryStart < 0 ? '' : (request.raw.url ?? '').slice(queryStart + 1),
        headers: request.headers,
        ...(provider === undefined ? {} : { provider }),
        ...(session === undefined ? {} : { session }),
        ...(typeof request.body === 'string' && { body: request.body }),
      });
      return send(reply, answer);
    },
  });
}

/**
 * Coatcheck in a Fastify 5 app: the endpoints under `/auth`, `request.coatcheck`, and answers to its errors. One instance
 * serves one app.
 */
export const fastifyCoatcheck: FastifyPluginAsync<FastifyCoatcheckOptions> = fastifyPlugin(plugin, {
  fastify: '5.x',
  name: 'coatcheck',
});

function requestCoatcheck(coatcheck: Coatcheck, request: FastifyRequest): RequestCoatcheck {
  let accessing: Promise<SessionAccess> | undefined;
  const access = (): Promise<SessionAccess> => {
    const path = (request.raw.url ?? '/').split('?', 1)[0] ?? '/';
    accessing ??= accessSession(coatcheck, request.headers, path);
    return accessing;
  };
  const requireOwnSession = async (): Promise<Session> => requireSession(await access());
  const session = async (): Promise<Session | undefined> => {
    const { kind } = await access();
    return kind === 'session' || kind === 'stale' ? requireOwnSession() : undefined;
  };
  return {
    session,
    requireSession: requireOwnSession,
    async accessToken(provider) {
      refuseUnlessOurs(coatcheck, request.method, request.headers);
      return accessToken(coatcheck, await access(), provider);
    },
  };
}
