import { createHash, timingSafeEqual } from 'node:crypto';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { Coatcheck } from '../coatcheck.ts';
import { CoatcheckError } from '../errors.ts';
import type { Person } from '../person-sessions.ts';
import { json } from './answer.ts';
import { errorAnswer } from './error-response.ts';
import { send } from './send.ts';
import { describeForOperator } from './session-description.ts';

/**
 * `/admin/sessions`, for operators who show `listen.adminToken`. The person is named by `subject` and, unless it is that of the
 * first provider, `issuer`, in the query; a session by its reference.
 */
export function addSessionRoutes(admin: FastifyInstance, coatcheck: Coatcheck): void {
  const { people, config, telemetry } = coatcheck;
  const { adminToken } = config.listen;
  if (adminToken === undefined) return;
  const described = async (person: Person): Promise<readonly ReturnType<typeof describeForOperator>[]> =>
    (await people.list(person)).map((session) =>
      describeForOperator(session, { ...config.session, nowMs: coatcheck.now() }),
    );

  admin.register(async (scope) => {
    scope.addHook('onRequest', async ({ headers }) => {
      if (!isBearer(headers.authorization, adminToken)) throw new CoatcheckError('admin_refused');
    });
    scope.setErrorHandler((fault, request, reply) => {
      const error = recognise(fault);
      const { id: requestId, method } = request;
      if (error.statusCode >= 500) telemetry.log('gateway.fault', { requestId, method, error });
      if (error.code === 'admin_refused') reply.header('www-authenticate', 'Bearer');
      return send(reply, errorAnswer({ error, requestId, asPage: false }));
    });

    // A person's sessions, newest first.
    scope.get('/admin/sessions', async (request, reply) =>
      send(reply, json(200, { sessions: await described(personOf(request, config)) })),
    );

    // One of them.
    scope.get('/admin/sessions/:session', async (request, reply) => {
      const sessions = await described(personOf(request, config));
      const found = sessions.find(({ session }) => session === referenceOf(request));
      if (found === undefined) throw new CoatcheckError('not_found');
      return send(reply, json(200, found));
    });

    // Ends all of a person's sessions and logins under way, or all but the one that `others_than` names.
    scope.delete('/admin/sessions', async (request, reply) => {
      const person = personOf(request, config);
      const kept = single(request, 'others_than');
      const ended = await (kept === undefined ? people.endAll(person) : people.endOthers(person, kept));
      if (ended === undefined) throw new CoatcheckError('not_found');
      return send(reply, json(200, { ended }));
    });

    // Ends one of them.
    scope.delete('/admin/sessions/:session', async (request, reply) => {
      const ended = await people.end(personOf(request, config), referenceOf(request));
      if (!ended) throw new CoatcheckError('not_found');
      return send(reply, json(200, { ended: 1 }));
    });
  });
}

/** Compared by digests of one length, so that the time tells nothing (RFC 6750 §2.1). */
function isBearer(header: string | undefined, token: string): boolean {
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest();
  const shown = /^Bearer +(\S+)$/i.exec(header ?? '')?.[1] ?? '';
  return timingSafeEqual(digest(shown), digest(token));
}

function personOf(request: FastifyRequest, { login, providers }: Coatcheck['config']): Person {
  const subject = single(request, 'subject');
  const issuer = single(request, 'issuer') ?? providers[login[0] ?? '']?.issuer;
  if (subject === undefined || issuer === undefined) {
    throw new CoatcheckError('request_invalid', { shown: { parameter: 'subject' } });
  }
  return { issuer, subject };
}

/** A parameter that may be given once; repeated it might mean another person to whoever checked the call. */
function single(request: FastifyRequest, name: string): string | undefined {
  const value = (request.query as Record<string, string | string[] | undefined>)[name];
  if (value === undefined || (typeof value === 'string' && value !== '')) return value;
  throw new CoatcheckError('request_invalid', { shown: { parameter: name } });
}

function referenceOf(request: FastifyRequest): string {
  return (request.params as { readonly session: string }).session;
}

/** Fastify's own refusals are the caller's fault. */
function recognise(fault: unknown): CoatcheckError {
  const isRefusal = fault instanceof Error && 'statusCode' in fault && Number(fault.statusCode) < 500;
  return isRefusal && !CoatcheckError.is(fault)
    ? new CoatcheckError('request_invalid', { cause: fault })
    : CoatcheckError.from(fault);
}
