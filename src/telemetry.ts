import { createHmac } from 'node:crypto';
import { context, type Span, SpanStatusCode, type Tracer, trace } from '@opentelemetry/api';
import pino, { type DestinationStream, type Logger } from 'pino';
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import { CoatcheckError } from './errors.ts';

/**
 * The only place that names log events, log fields, metrics and spans. What may be written is a closed set, so a secret
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
  | 'store.available'
  | 'store.unavailable'
  | 'store.unacknowledged'
  | 'store.untracked'
  | 'session.created'
  | 'session.destroyed'
  | 'session.unreadable'
  | 'session.extend_failed'
  | 'login.started'
  | 'login.continued'
  | 'login.failed'
  | 'origin.refused'
  | 'upstream.cut';

/** Each event's level and the sentence that stands in the line. */
export const logEvents: Readonly<Record<LogEvent, readonly ['info' | 'warn' | 'error', string]>> = {
  'gateway.started': ['info', 'the gateway listens'],
  'gateway.draining': ['info', 'draining: no new requests, finishing those in flight'],
  'gateway.stopped': ['info', 'the gateway has stopped'],
  'gateway.request': ['info', 'request answered'],
  'gateway.fault': ['warn', 'request ended in a fault'],
  'gateway.defect': ['error', 'request ended in a fault that no rule foresaw'],
  'store.available': ['info', 'the session store answers'],
  'store.unavailable': ['error', 'the session store does not answer'],
  'store.unacknowledged': ['warn', 'the store has no WAIT or INFO: a failover may lose the latest sign-ins'],
  'store.untracked': [
    'warn',
    'the store tells of no changes (CLIENT TRACKING): the near cache is off, every request asks the store',
  ],
  'session.created': ['info', 'a person has signed in'],
  'session.destroyed': ['info', 'a person has signed out'],
  'session.unreadable': ['warn', 'a stored session could not be opened and counts as none'],
  'session.extend_failed': ['warn', 'a session could not be extended; it lives until its idle deadline'],
  'login.started': ['info', 'a login has begun'],
  'login.continued': ['info', 'one provider has answered, the next is asked'],
  'login.failed': ['warn', 'a login has failed'],
  'upstream.cut': ['warn', 'an upstream broke off in the middle of an answer'],
  'origin.refused': ['warn', 'a request from another site was refused'],
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

/** The metrics, by what they tell. */
export interface Metrics {
  readonly requests: Counter<'route' | 'method' | 'status'>;
  readonly requestSeconds: Histogram<'route'>;
  readonly storeSeconds: Histogram<'operation' | 'outcome'>;
  readonly storeUp: Gauge;
  readonly sessionLoads: Counter<'outcome'>;
  readonly outageDecisions: Counter<'decision'>;
  readonly logins: Counter<'outcome'>;
  readonly providerSeconds: Histogram<'provider' | 'outcome'>;
  readonly upstreamSeconds: Histogram<'upstream' | 'outcome'>;
}

/** Logs, metrics and spans of one Coatcheck. */
export interface Telemetry {
  readonly metrics: Metrics;
  readonly registry: Registry;
  log(event: LogEvent, fields?: LogFields): void;
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
  const referenceKey = createHmac('sha256', options.referenceKey ?? process.hrtime.bigint().toString())
    .update('coatcheck/reference/1')
    .digest();

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
    sessionReference: (sessionId) =>
      createHmac('sha256', referenceKey).update(sessionId).digest('base64url').slice(0, 12),
    span(name, attributes, work) {
      const span = tracer.startSpan(name, { attributes: { ...attributes } });
      return context.with(trace.setSpan(context.active(), span), () => finish(span, work));
    },
  };
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

interface DescribedError {
  readonly code: string;
  readonly detail: string;
  readonly causes: readonly string[];
  readonly frames?: readonly string[];
}

/** Foreign messages may quote what they choked on, so of foreign errors only name, code and stack frames are kept. */
function describeError(value: unknown): DescribedError {
  const error = CoatcheckError.from(value);
  const causes: string[] = [];
  for (let cause = error.cause; cause instanceof Error && causes.length < 5; cause = cause.cause) {
    const code = 'code' in cause && typeof cause.code === 'string' ? ` ${cause.code}` : '';
    causes.push(`${cause.name}${code}`);
  }
  const described = { code: error.code, detail: error.message, causes };
  if (error.code !== 'internal' || !(error.cause instanceof Error)) return described;
  return { ...described, frames: framesOf(error.cause) };
}

/** Only what follows the message, whose lines may look like frames. */
function framesOf({ stack = '', message }: Error): string[] {
  const lines = stack.slice(Math.max(stack.indexOf(message), 0) + message.length).split('\n');
  return lines
    .filter((line) => line.startsWith('    at '))
    .slice(0, 8)
    .map((frame) => frame.trim());
}

const fastBuckets = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5];
const slowBuckets = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

function createMetrics(registry: Registry): Metrics {
  const registers = [registry];
  return {
    requests: new Counter({
      registers,
      name: 'coatcheck_requests_total',
      help: 'Requests answered by the gateway.',
      labelNames: ['route', 'method', 'status'],
    }),
    requestSeconds: new Histogram({
      registers,
      name: 'coatcheck_request_duration_seconds',
      help: 'From request headers to the end of the answer.',
      labelNames: ['route'],
      buckets: slowBuckets,
    }),
    storeSeconds: new Histogram({
      registers,
      name: 'coatcheck_store_operation_duration_seconds',
      help: 'Store operations; outcome `fault` means that it did not answer.',
      labelNames: ['operation', 'outcome'],
      buckets: fastBuckets,
    }),
    storeUp: new Gauge({
      registers,
      name: 'coatcheck_store_up',
      help: '1 while the store answers.',
    }),
    sessionLoads: new Counter({
      registers,
      name: 'coatcheck_session_loads_total',
      help: 'Session look-ups by outcome.',
      labelNames: ['outcome'],
    }),
    outageDecisions: new Counter({
      registers,
      name: 'coatcheck_outage_decisions_total',
      help: 'Requests that the store had no answer for, by what the outage policy made of them.',
      labelNames: ['decision'],
    }),
    logins: new Counter({
      registers,
      name: 'coatcheck_logins_total',
      help: 'Logins by outcome: started, completed, or the error code.',
      labelNames: ['outcome'],
    }),
    providerSeconds: new Histogram({
      registers,
      name: 'coatcheck_provider_request_duration_seconds',
      help: 'Calls to providers (discovery, keys, token, userinfo).',
      labelNames: ['provider', 'outcome'],
      buckets: slowBuckets,
    }),
    upstreamSeconds: new Histogram({
      registers,
      name: 'coatcheck_upstream_request_duration_seconds',
      help: 'From forwarding to the end of the upstream answer.',
      labelNames: ['upstream', 'outcome'],
      buckets: slowBuckets,
    }),
  };
}
