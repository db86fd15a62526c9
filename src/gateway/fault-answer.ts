import type { IncomingHttpHeaders } from 'node:http';
import type { Coatcheck } from '../coatcheck.ts';
import { CoatcheckError } from '../errors.ts';
import type { LogEvent } from '../telemetry.ts';
import { type Answer, redirect } from './answer.ts';
import { errorAnswer } from './error-response.ts';
import { isPageNavigation } from './origin-check.ts';

/** A request that ended in a fault. */
export interface FaultyRequest {
  /** Whatever was thrown. */
  readonly fault: unknown;
  readonly method: string;
  /** The raw request target. */
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
  readonly requestId: string;
}

/** The one place where a fault becomes an answer, a log line and a count. */
export function faultAnswer(coatcheck: Coatcheck, request: FaultyRequest): Answer {
  const error = recognise(request.fault);
  tell(coatcheck, error, request);
  const asPage = isPageNavigation(request.method, request.headers);
  if (asPage && (error.code === 'no_session' || error.code === 'token_unavailable')) {
    return redirect(loginAddress(request.url, error.shown.provider));
  }
  return errorAnswer({ error, requestId: request.requestId, asPage });
}

/** The error that says which provider must be asked again, and where to go for that. */
export function tokenUnavailable(provider: string): CoatcheckError {
  return new CoatcheckError('token_unavailable', { shown: { provider, login: loginAddress('/', provider) } });
}

/** Of the whole login, or of the one provider that is to be asked again; it leads back to `url`. */
function loginAddress(url: string, provider: string | undefined): string {
  const parameters = [
    ...(provider === undefined ? [] : [`provider=${encodeURIComponent(provider)}`]),
    ...(url === '/' ? [] : [`return_to=${encodeURIComponent(url)}`]),
  ];
  return ['/auth/login', parameters.join('&')].filter(Boolean).join('?');
}

/** Fastify's own refusals carry a client error status; what else is not ours is a defect. */
function recognise(fault: unknown): CoatcheckError {
  if (fault instanceof Error && 'statusCode' in fault && !CoatcheckError.is(fault)) {
    if (fault.statusCode === 413) return new CoatcheckError('request_too_large', { cause: fault });
    if (fault.statusCode === 404) return new CoatcheckError('not_found', { cause: fault });
    if (typeof fault.statusCode === 'number' && fault.statusCode >= 400 && fault.statusCode < 500) {
      return new CoatcheckError('request_invalid', { cause: fault });
    }
  }
  return CoatcheckError.from(fault);
}

function tell(
  { telemetry }: Coatcheck,
  error: CoatcheckError,
  { requestId, method, url }: FaultyRequest,
): void {
  const event = eventOf(error, url);
  if (event === undefined) return;
  telemetry.log(event, { requestId, method, status: error.statusCode, error });
  if (event === 'login.failed') telemetry.metrics.logins.inc({ outcome: error.code });
}

/** Which faults are worth a line of their own. That somebody is not signed in is none. */
function eventOf(error: CoatcheckError, url: string): LogEvent | undefined {
  if (error.code === 'internal') return 'gateway.defect';
  const isLogout = url.startsWith('/auth/backchannel-logout/');
  if (/^(?:login|provider)_/.test(error.code) && !isLogout) return 'login.failed';
  return error.statusCode >= 500 ? 'gateway.fault' : undefined;
}
