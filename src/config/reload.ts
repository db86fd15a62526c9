/** What of a changed configuration a running process can take over. */
import { isDeepStrictEqual } from 'node:util';
import type { Config } from '../config.ts';
import { keyPath } from './problem.ts';

/** Which keys have changed, by their paths; never a value. */
export interface Reloaded {
  readonly taken: readonly string[];
  readonly needsRestart: readonly string[];
}

interface Change {
  readonly path: readonly string[];
  readonly value: unknown;
}

/** Secrets, the level of the log and `validFrom`: what changes without anybody meaning another gateway. */
const reloadable: readonly RegExp[] = [
  /^keys$/,
  /^log\.level$/,
  /^session\.validFrom$/,
  /^providers\.[^.]+\.clientSecret$/,
  /^upstreams\.[^.]+\.headers\./,
];

/** Takes over, into the running configuration itself, what can be; whoever reads it there goes on with the new values. */
export function reloadConfig(running: Config, next: Config): Reloaded {
  const changes = changesBetween(running, next);
  const taken = changes.filter(isReloadable);
  for (const { path, value } of taken) set(running, path, value);
  const names = (some: readonly Change[]): string[] =>
    some.map(({ path }) => keyPath(path).replace(/(?:Ms|Bytes)$/, ''));
  return { taken: names(taken), needsRestart: names(changes.filter((change) => !taken.includes(change))) };
}

function isReloadable({ path, value }: Change): boolean {
  // Whether there is a secret at all is a matter of how we prove who we are, which needs a restart.
  if (path.at(-1) === 'clientSecret' && value === undefined) return false;
  return reloadable.some((pattern) => pattern.test(path.join('.')));
}

function changesBetween(one: unknown, other: unknown, path: readonly string[] = []): Change[] {
  if (isDeepStrictEqual(one, other)) return [];
  if (!isSection(one) || !isSection(other)) return [{ path, value: other }];
  const names = new Set([...Object.keys(one), ...Object.keys(other)]);
  return [...names].flatMap((name) => changesBetween(one[name], other[name], [...path, name]));
}

function isSection(value: unknown): value is Record<string, unknown> {
  const isObject = typeof value === 'object' && value !== null;
  return isObject && !Array.isArray(value) && !(value instanceof Date) && !Buffer.isBuffer(value);
}

function set(config: Config, path: readonly string[], value: unknown): void {
  const section = path.slice(0, -1).reduce<unknown>((at, name) => Reflect.get(Object(at), name), config);
  const name = path.at(-1) ?? '';
  if (value === undefined) Reflect.deleteProperty(Object(section), name);
  else Reflect.set(Object(section), name, value);
}
