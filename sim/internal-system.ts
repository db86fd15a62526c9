import { randomUUID } from 'node:crypto';
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import { createRemoteJWKSet, errors, type JWTVerifyGetKey, jwtVerify } from 'jose';
import { echo } from './echo.ts';
import { answerJson, asListener, bearerOf, pathOf, readJson, startHttpServer } from './http-server.ts';
import type { PersonClaims } from './openid-provider.ts';
import { type Seen, setSeenHeaders } from './seen.ts';

/** Options of {@link startInternalSystem}. */
export interface InternalSystemOptions {
  /** Default 0: any free port. */
  readonly port?: number;
  readonly issuer: string;
  readonly jwksUri: string;
  readonly audience: string;
  /** Subject → person, for `GET /employees/me`. */
  readonly employees: ReadonlyMap<string, PersonClaims>;
  /** Default: nothing. */
  readonly guard?: (listener: RequestListener) => RequestListener;
}

/** A running internal system. */
export interface InternalSystem {
  readonly url: string;
  close(): Promise<void>;
}

interface Call {
  readonly options: InternalSystemOptions;
  readonly keys: JWTVerifyGetKey;
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
}

/** Starts a system that believes the corporate provider's JWT access tokens (RFC 9068), meant for it, and nothing else. */
export async function startInternalSystem(options: InternalSystemOptions): Promise<InternalSystem> {
  const keys = createRemoteJWKSet(new URL(options.jwksUri));
  await keys.reload();
  const server = await startHttpServer(options.port);
  const listener = asListener((request, response) => answer({ options, keys, request, response }));
  server.serve(options.guard ? options.guard(listener) : listener);
  return { url: server.url, close: () => server.close() };
}

async function answer(call: Call): Promise<void> {
  const { options, request, response } = call;
  const token = bearerOf(request);
  const seen = token === undefined ? undefined : await verify(call, token);
  if (!seen) {
    request.resume();
    response.setHeader('www-authenticate', token === undefined ? 'Bearer' : 'Bearer error="invalid_token"');
    return answerJson(response, 401, { error: token === undefined ? 'token not provided' : 'invalid token' });
  }
  setSeenHeaders(response, seen);
  switch (`${request.method} ${pathOf(request)}`) {
    case 'GET /employees/me': {
      const employee = options.employees.get(seen.subject);
      return answerJson(response, employee ? 200 : 404, { employee: employee ?? null, seen });
    }
    case 'POST /registrations': {
      const registration = await readJson(request);
      if (registration === undefined) return answerJson(response, 400, { error: 'not JSON', seen });
      return answerJson(response, 201, { id: randomUUID(), registration, registeredBy: seen.subject, seen });
    }
    default:
      return answerJson(response, 200, { ...(await echo(request)), seen });
  }
}

/** A key set that cannot be had says nothing about the token. */
const keySetFaults: ReadonlySet<string> = new Set([
  errors.JOSEError.code,
  errors.JWKSTimeout.code,
  errors.JWKSInvalid.code,
]);

async function verify({ options, keys }: Call, token: string): Promise<Seen | undefined> {
  try {
    const { payload } = await jwtVerify(token, keys, {
      issuer: options.issuer,
      audience: options.audience,
      algorithms: ['RS256'],
      typ: 'at+jwt',
      requiredClaims: ['sub', 'exp', 'client_id'],
    });
    return {
      subject: String(payload.sub),
      audience: options.audience,
      clientId: String(payload.client_id),
    };
  } catch (error) {
    if (error instanceof errors.JOSEError && !keySetFaults.has(error.code)) return undefined;
    throw error;
  }
}
