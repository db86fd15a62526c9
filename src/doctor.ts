/** `coatcheck doctor`: reaches everything that the configuration names, and says what is right, what is risky and what to do. */
import type { Config } from './config.ts';
import { type Finding, findingsOf } from './doctor/finding.ts';
import { examineGateway } from './doctor/gateway.ts';
import { examineProvider } from './doctor/provider.ts';
import { examineMemoryStore, examineStore } from './doctor/store.ts';
import { examineUpstreams } from './doctor/upstream.ts';
import { parseRedisAddress } from './session/redis-address.ts';
import { createRedisConnection } from './session/redis-connection.ts';
import { createRedisStore } from './session/redis-store.ts';
import { createTelemetry } from './telemetry.ts';

export type { Finding } from './doctor/finding.ts';
export { exitCodeOf, findingLine, summaryLine } from './doctor/report.ts';

/** Options of {@link runDoctor}. */
export interface DoctorOptions {
  /** Told of each finding, subject by subject, as soon as it and all before it are there. */
  readonly onFinding?: (finding: Finding) => void;
  /** Unix time in ms. Default `Date.now`. */
  readonly now?: () => number;
}

/** The longest that a command of the doctor may take: longer than any gateway would wait, so that slowness is seen too. */
const commandMs = 2000;

/** Examines everything at once. Leaves nothing behind. Never throws: what cannot be looked at is a finding. */
export async function runDoctor(config: Config, options: DoctorOptions = {}): Promise<Finding[]> {
  const { onFinding, now = Date.now } = options;
  const telemetry = createTelemetry({ level: 'silent' });
  const subjects = [
    examineGateway(config),
    findingsOf('store', () => examineConfiguredStore(config, now)),
    ...Object.entries(config.providers).map(([name, provider]) =>
      findingsOf(`providers.${name}`, () => examineProvider(name, provider, { config, telemetry, now })),
    ),
    ...examineUpstreams(config, now),
  ];
  const findings: Finding[] = [];
  for (const subject of subjects) {
    for (const finding of await subject) {
      findings.push(finding);
      onFinding?.(finding);
    }
  }
  return findings;
}

/** Over the gateway's own connection and store, so that whatever they can reach, the doctor can examine. */
async function examineConfiguredStore({ store: config }: Config, now: () => number): Promise<Finding[]> {
  if (config.url === 'memory://') return examineMemoryStore();
  const connection = createRedisConnection({ ...config, deadlineMs: commandMs, primaryOnly: false });
  const store = createRedisStore({ connection, keyPrefix: config.keyPrefix, now });
  try {
    connection.watch({ onInvalidate: () => undefined, onLost: () => undefined });
    await connection.start();
    return await examineStore({ config, address: parseRedisAddress(config.url), connection, store, now });
  } finally {
    await connection.close();
  }
}
