import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { expect, test } from 'vitest';

/** Which source file imports which, as paths below `src/`; with `running`, leaving out what is only a type. */
function importGraph(running = false): Map<string, string[]> {
  const files = readdirSync('src', { recursive: true, encoding: 'utf8' });
  const sources = files.filter((file) => file.endsWith('.ts') && !file.endsWith('.test.ts'));
  return new Map(
    sources.map((name) => {
      const file = join('src', name);
      const text = readFileSync(file, 'utf8').replaceAll(
        running ? /^(?:import|export) type [^;]*;/gm : /$^/g,
        '',
      );
      const targets = [...text.matchAll(/(?:from|import\()\s*'(\.[^']+)'/g)];
      return [below(file), targets.map(([, target = '']) => below(normalize(join(dirname(file), target))))];
    }),
  );
}

function below(file: string): string {
  return file.replace(/^src\//, '');
}

const graph = importGraph();

/** What each part may import beside itself. */
const allowed: Readonly<Record<string, readonly RegExp[]>> = {
  'session/': [/^errors\.ts$/],
  'oauth/': [/^session\//, /^(?:errors|config|telemetry)\.ts$/],
  'config/': [/^(?:errors|config|policy)\.ts$/],
  'config.ts': [/^config\//, /^(?:errors|policy)\.ts$/],
  'policy.ts': [],
  'session-manager.ts': [
    /^session-manager-options\.ts$/,
    /^session\//,
    /^oauth\/(?:refresh|reauthorization)\.ts$/,
    /^(?:errors|person-sessions|telemetry)\.ts$/,
  ],
  'session-manager-options.ts': [/^session\//, /^oauth\/refresh\.ts$/, /^telemetry\.ts$/],
  'person-sessions.ts': [/^session\//, /^(?:errors|telemetry)\.ts$/],
  'telemetry.ts': [/^(?:described-error|errors|metrics)\.ts$/],
  'described-error.ts': [/^errors\.ts$/],
  'metrics.ts': [],
  'errors.ts': [],
  'coatcheck.ts': [
    /^(?:session|oauth)\//,
    /^(?:config|config\/reload|errors|telemetry|session-manager|person-sessions)\.ts$/,
  ],
  'doctor/': [
    /^session\/(?:redis|redis-address|store)\.ts$/,
    /^oauth\/(?:client-key|provider-fetch)\.ts$/,
    /^config\/quantity\.ts$/,
    /^(?:config|errors|policy|telemetry)\.ts$/,
  ],
  'doctor.ts': [
    /^doctor\//,
    /^session\/redis-(?:address|connection|store)\.ts$/,
    /^(?:config|telemetry)\.ts$/,
  ],
  'gateway/': [
    /^(?:session|oauth)\//,
    /^(?:coatcheck|config|errors|policy|telemetry|session-manager|person-sessions|fastify)\.ts$/,
  ],
};

test.each(Object.entries(allowed))('imports point one way: %s', (part, patterns) => {
  const wrong = [...graph]
    .filter(([file]) => file.startsWith(part))
    .flatMap(([file, targets]) => targets.map((target) => [file, target] as const))
    .filter(([, target]) => !target.startsWith(part) && !patterns.some((pattern) => pattern.test(target)));
  expect(wrong).toEqual([]);
});

test('no file imports itself by a detour', () => {
  const running = importGraph(true);
  const cycles: string[] = [];
  const visit = (file: string, path: readonly string[]): void => {
    if (path.includes(file)) {
      cycles.push([...path.slice(path.indexOf(file)), file].join(' → '));
      return;
    }
    for (const target of running.get(file) ?? []) visit(target, [...path, file]);
  };
  for (const file of running.keys()) visit(file, []);
  expect(cycles).toEqual([]);
});

test('only the composition roots construct', () => {
  const constructs =
    /\b(?:new SessionManager|new Login|createProvider|createKeyring|createRedisStore|createMemoryStore|createProxy)\(/;
  const constructing = [...graph.keys()].filter((file) => {
    const text = readFileSync(join('src', file), 'utf8').replaceAll(/export function \w+\(/g, '');
    return constructs.test(text);
  });
  expect(constructing.sort()).toEqual(['coatcheck.ts', 'doctor.ts', 'gateway/server.ts']);
});

test('functions, files and parameter lists stay within what the eye can hold', () => {
  const long = [...graph.keys()].filter(
    (file) => readFileSync(join('src', file), 'utf8').split('\n').length > 300,
  );
  expect(long).toEqual([]);
});
