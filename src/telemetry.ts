import { createHmac } from 'node:crypto';
import { context, INVALID_TRACEID, type Span, SpanStatusCode, type Tracer, trace } from '@opentelemetry/api';
import pino, { type DestinationStream, type Logger } from 'pino';
import { collectDefaultMetrics, Registry } from 'prom-client';
import { describeError } from './described-error.ts';
import { CoatcheckError } from './errors.ts';
import { createMetrics, type Metrics } from './metrics.ts';

/**
 * With metrics.ts the only place that names log events, log fields, metrics and spans. What may be written is a closed set, so a secret
 * has no field to stand in; a last filter on the written line catches what should never get there.
 */

/** The closed set of log events. */
export type LogEvent =
  | 'gateway.started'
  | 'gateway.draining'
  | 'gateway.stopped'
  | 'gateway.request'
  | 'gateway.fault'
  | 'gateway.defect'
  | 'config.reloaded'
  | 'config.needs_restart'
  | 'store.available'
  | 'store.unavailable'
  | 'store.unacknowledged'
  | 'store.unauthenticated'
  | 'store.untracked'
  | 'session.created'
  | 'session.moved'
  | 'session.destroyed'
  | 'session.ended'
  | 'session.unreadable'
  | 'session.extend_failed'
  | 'login.started'
  | 'login.continued'
  | 'login.failed'
  | 'logout.incomplete'
  | 'logout.received'
  | 'logout.refused'
  | 'origin.refused'
  | 'token.refreshed'
  | 'token.refused'
  | 'token.refresh_failed'
  | 'token.misconfigured'
  | 'token.lost'
  | 'token.discarded'
  | 'token.not_revoked'
  | 'upstream.cut';

/** Each event's level and the sentence that stands in the line. */
export const logEvents: Readonly<Record<LogEvent, readonly ['info' | 'warn' | 'error', string]>> = {
  'gateway.started': ['info', 'the gateway listens'],
  'gateway.draining': ['info', 'draining: no new requests, finishing those in flight'],
  'gateway.stopped': ['info', 'the gateway has stopped'],
  'gateway.request': ['info', 'request answered'],
  'gateway.fault': ['warn', 'request ended in a fault'],
  'gateway.defect': ['error', 'request ended in a fault that no rule foresaw'],
  'config.reloaded': ['info', 'the configuration was read again; `why` names what has changed'],
  'config.needs_restart': ['warn', 'what else has changed in the configuration needs a restart'],
  'store.available': ['info', 'the session store answers'],
  'store.unavailable': ['error', 'the session store does not answer'],
  'store.unacknowledged': ['warn', 'the store has no WAIT or INFO: a failover may lose the latest sign-ins'],
  'store.unauthenticated': ['warn', 'new credentials were not had or not taken; the connection goes on'],
  'store.untracked': [
    'warn',
    'the store tells of no changes (CLIENT TRACKING): the near cache is off, every request asks the store',
  ],
  'session.created': ['info', 'a person has signed in'],
  'session.moved': ['info', 'a person has signed in at one provider again; the session has a new ticket'],
  'session.destroyed': ['info', 'a person has signed out'],
  'session.ended': ['info', 'a session was ended from elsewhere, or by the limit'],
  'session.unreadable': ['warn', 'a stored session could not be opened and counts as none'],
  'session.extend_failed': ['warn', 'a session could not be extended; it lives until its idle deadline'],
  'login.started': ['info', 'a login has begun'],
  'login.continued': ['info', 'one provider has answered, the next is asked'],
  'login.failed': ['warn', 'a login has failed'],
  'logout.incomplete': ['warn', 'a logout has not reached a provider; here the session has ended'],
  'logout.received': ['info', 'a provider has ended sessions; `why` names the claim by which'],
  'logout.refused': ['warn', 'a logout token was refused'],
  'upstream.cut': ['warn', 'an upstream broke off in the middle of an answer'],
  'origin.refused': ['warn', 'a request from another site was refused'],
  'token.refreshed': ['info', 'a token was refreshed'],
  'token.refused': ['warn', 'a provider refuses to refresh a token: the person must sign in there again'],
  'token.refresh_failed': ['warn', 'a token could not be refreshed; that is tried again'],
  'token.misconfigured': [
    'error',
    'a provider refuses to refresh tokens because of how this client is configured',
  ],
  'token.lost': ['error', 'a token was refreshed and could not be stored'],
  'token.discarded': ['warn', 'a token was refreshed in vain: the session has ended or has newer ones'],
  'token.not_revoked': ['warn', 'a token could not be revoked at its provider; it lasts until it expires'],
};

/** Every field a log line may have. None of them may hold a secret. */
export interface LogFields {
  readonly requestId?: string | undefined;
  readonly route?: string | undefined;
  readonly method?: string | undefined;
  readonly status?: number | undefined;
  readonly durationMs?: number | undefined;
  readonly provider?: string | undefined;
  readonly upstream?: string | undefined;
  /** A keyed hash of the session id; see {@link Telemetry.sessionReference}. */
  readonly session?: string | undefined;
  readonly why?: string | undefined;
  readonly address?: string | undefined;
  readonly replica?: string | undefined;
  readonly version?: string | undefined;
  /** Written as code, detail and the names and codes of what lies beneath; never messages of foreign errors. */
  readonly error?: unknown;
}

/** Logs, metrics and spans of one Coatcheck. */
export interface Telemetry {
  readonly metrics: Metrics;
  readonly registry: Registry;
  log(event: LogEvent, fields?: LogFields): void;
  /** Goes on with another level and another key of the references. */
  configure(options: Required<Pick<TelemetryOptions, 'level' | 'referenceKey'>>): void;
  /** A short keyed hash that joins the log lines of one session and leads nowhere else. */
  sessionReference(sessionId: string): string;
  /** Runs `work` in an OpenTelemetry span; a thrown error marks it by its code alone. */
  span<Result>(name: SpanName, attributes: SpanAttributes, work: () => Promise<Result>): Promise<Result>;
}

/** Every span there is. */
export type SpanName =
  | 'coatcheck.login.begin'
  | 'coatcheck.login.resume'
  | 'coatcheck.session.load'
  | 'coatcheck.upstream'
  | 'coatcheck.provider';

/** Every attribute a span may have. */
export interface SpanAttributes {
  readonly 'coatcheck.provider'?: string;
  readonly 'coatcheck.upstream'?: string;
  readonly 'http.request.method'?: string;
}

/** Options of {@link createTelemetry}. */
export interface TelemetryOptions {
  /** Least level that is written. Default `info`. */
  readonly level?: string;
  /** Where lines go. Default: standard output. */
  readonly destination?: DestinationStream;
  /** Key of the session references; any secret of this deployment. Default: references differ per process. */
  readonly referenceKey?: Buffer;
  /** Adds the Node process's own metrics (memory, event loop). Default false. */
  readonly processMetrics?: boolean;
}

/** Makes the telemetry of one Coatcheck, with a metrics registry of its own. */
export function createTelemetry(options: TelemetryOptions = {}): Telemetry {
  const logger = createLogger(options);
  const registry = new Registry();
  if (options.processMetrics === true) collectDefaultMetrics({ register: registry });
  const tracer: Tracer = trace.getTracer('coatcheck');
  let referenceKey = referenceKeyOf(options.referenceKey ?? process.hrtime.bigint().toString());

  return {
    registry,
    metrics: createMetrics(registry),
    log(event, { error, ...fields } = {}) {
      const [level, message] = logEvents[event];
      logger[level](
        { event, ...fields, ...(error === undefined ? {} : { error: describeError(error) }) },
        message,
      );
    },
    configure(next) {
      logger.level = next.level;
      referenceKey = referenceKeyOf(next.referenceKey);
    },
    sessionReference: (sessionId) =>
      createHmac('sha256', referenceKey).update(sessionId).digest('base64url').slice(0, 12),
    span(name, attributes, work) {
      const span = tracer.startSpan(name, { attributes: { ...attributes } });
      // Where nobody has registered OpenTelemetry, this is all that it costs.
      if (span.spanContext().traceId === INVALID_TRACEID) return work();
      return context.with(trace.setSpan(context.active(), span), () => finish(span, work));
    },
  };
}

function referenceKeyOf(secret: Buffer | string): Buffer {
  return createHmac('sha256', secret).update('coatcheck/reference/1').digest();
}

async function finish<Result>(span: Span, work: () => Promise<Result>): Promise<Result> {
  try {
    return await work();
  } catch (error) {
    span.setStatus({ code: SpanStatusCode.ERROR, message: CoatcheckError.from(error).code });
    throw error;
  } finally {
    span.end();
  }
}

function createLogger({ level = 'info', destination }: TelemetryOptions): Logger {
  const settings = {
    level,
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
    hooks: { streamWrite: (line: string) => escapeControls(redact(line)) },
  };
  return destination === undefined ? pino(settings) : pino(settings, destination);
}

/** What a secret of ours looks like, wherever it stands. Linear patterns only: the text may come from outside. */
const secretShapes: readonly RegExp[] = [
  /\beyJ[\w-]+\.[\w-]+(?:\.[\w-]*)*/g, // JWTs
  /\b[vl]1\.[\w-]{43}/g, // tickets and login cookies
  /(?<=\b(?:code|state|nonce)=)[^&"\\\s]+/g, // in a query; as a key of JSON these words mean other things
  /(?<=\b(?:code_verifier|access_token|refresh_token|id_token|client_secret|password)(?:=|\\?":\s?\\?"))[^&"\\\s]+/g,
  /(?<=\b(?:Bearer|Basic|DPoP)\s)[\w.~+/=-]+/gi,
  /(?<=:\/\/[^\s/:@]{0,64}:)[^\s/@]{1,256}(?=@)/g, // passwords in URLs
];

/** Replaces whatever looks like a secret. The last line of defence: what is logged is chosen field by field before. */
export function redact(line: string): string {
  return secretShapes.reduce((text, shape) => text.replace(shape, '[redacted]'), line);
}

/** JSON leaves these as they are, but a terminal or a line reader may act on them. They stand in strings only. */
function escapeControls(line: string): string {
  return line.replace(
    /[\x7f-\x9f\u2028\u2029]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}
