/**
 * The simulators as a process: `node --import tsx sim/main.ts '{"publicUrls":["http://127.0.0.1:8080"]}'`. Prints one
 * JSON line with all facts when ready; stops on SIGTERM or SIGINT.
 */
import { type SimulatorsOptions, startSimulators } from './simulators.ts';

const options = JSON.parse(process.argv[2] ?? '{"publicUrls":[]}') as SimulatorsOptions;
const { faults: _faults, revokeAll: _revokeAll, close, ...facts } = await startSimulators(options);
for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => void close());
process.stdout.write(`${JSON.stringify(facts)}\n`);
