import { Counter, Gauge, Histogram, type Registry } from 'prom-client';

/** The metrics, by what they tell. */
export interface Metrics {
  readonly requests: Counter<'route' | 'method' | 'status'>;
  readonly requestSeconds: Histogram<'route'>;
  readonly storeSeconds: Histogram<'operation' | 'outcome'>;
  readonly storeUp: Gauge;
  readonly sessionLoads: Counter<'outcome'>;
  readonly outageDecisions: Counter<'decision'>;
  readonly refreshes: Counter<'provider' | 'outcome'>;
  readonly revocations: Counter<'provider' | 'outcome'>;
  readonly backchannelLogouts: Counter<'provider' | 'outcome'>;
  readonly logins: Counter<'outcome'>;
  readonly providerSeconds: Histogram<'provider' | 'outcome'>;
  readonly upstreamSeconds: Histogram<'upstream' | 'outcome'>;
}

const fastBuckets = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5];
const slowBuckets = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

/** The metrics of one Coatcheck, in a registry. */
export function createMetrics(registry: Registry): Metrics {
  const { counter, slow, fast } = kinds(registry);
  return {
    requests: counter('requests', 'Requests answered by the gateway.', 'route', 'method', 'status'),
    requestSeconds: slow('request', 'From request headers to the end of the answer.', 'route'),
    storeSeconds: fast(
      'store_operation',
      'Store operations; outcome `fault` means that it did not answer.',
      'operation',
      'outcome',
    ),
    storeUp: new Gauge({
      registers: [registry],
      name: 'coatcheck_store_up',
      help: '1 while the store answers.',
    }),
    sessionLoads: counter('session_loads', 'Session look-ups by outcome.', 'outcome'),
    outageDecisions: counter(
      'outage_decisions',
      'Requests that the store had no answer for, by what the outage policy made of them.',
      'decision',
    ),
    logins: counter('logins', 'Logins by outcome: started, completed, or the error code.', 'outcome'),
    refreshes: counter(
      'token_refreshes',
      'Refreshes of tokens by outcome: refreshed, refused, failed; or gone, superseded, away, where the answer could not be stored.',
      'provider',
      'outcome',
    ),
    revocations: counter('token_revocations', 'Revocations of tokens by outcome.', 'provider', 'outcome'),
    backchannelLogouts: counter(
      'backchannel_logouts',
      'Logout tokens of providers by outcome: ended, nobody, refused, or failed where it is to be sent again.',
      'provider',
      'outcome',
    ),
    providerSeconds: slow(
      'provider_request',
      'Calls to providers (discovery, keys, token, userinfo, revocation).',
      'provider',
      'outcome',
    ),
    upstreamSeconds: slow(
      'upstream_request',
      'From forwarding to the end of the upstream answer.',
      'upstream',
      'outcome',
    ),
  };
}

/** The ways in which things are measured here. */
function kinds(registry: Registry) {
  const registers = [registry];
  const counter = <Label extends string>(
    name: string,
    help: string,
    ...labelNames: Label[]
  ): Counter<Label> => new Counter({ registers, name: `coatcheck_${name}_total`, help, labelNames });
  const timer =
    (buckets: number[]) =>
    <Label extends string>(name: string, help: string, ...labelNames: Label[]): Histogram<Label> =>
      new Histogram({ registers, name: `coatcheck_${name}_duration_seconds`, help, labelNames, buckets });
  return { counter, fast: timer(fastBuckets), slow: timer(slowBuckets) };
}
