import { setTimeout as delay } from 'node:timers/promises';
import type { ChaosProxy } from './chaos-proxy.ts';
import { nowMs } from './operation.ts';

/**
 * What can be wrong between replicas and Redis.
 *
 * - `cut`: connections end, again and again; what was on its way may still arrive, or not.
 * - `delay`: every connection has a delay of its own, so what is sent on one overtakes what was sent on another.
 * - `blackhole`: connections stay open and nothing passes; afterwards all of it does, late.
 * - `mix`: replies come twice, or in each other's place.
 * - `deaf`: replies pass, but what the server tells of its own accord (invalidations) is swallowed.
 */
export type WeatherKind = 'cut' | 'delay' | 'blackhole' | 'mix' | 'deaf';

/** A time of such weather. `endMs` is infinite while it lasts. */
export interface Disturbance {
  readonly kind: WeatherKind;
  readonly startMs: number;
  endMs: number;
}

/** What excuses long is rare, so that most of a trial is judged by the short bounds. */
const kinds: readonly WeatherKind[] = [
  ...([
    'cut',
    'delay',
    'mix',
    'cut',
    'delay',
    'mix',
    'cut',
    'delay',
    'mix',
    'blackhole',
    'blackhole',
  ] as const),
  'deaf',
];

/** How long each lasts: at least, and at most. A blackhole may outlast the time after which a silent server is given up. */
const lengthsMs: Readonly<Record<WeatherKind, readonly [number, number]>> = {
  cut: [100, 600],
  delay: [200, 1000],
  blackhole: [100, 3000],
  mix: [100, 500],
  deaf: [200, 1000],
};
const quietMs = [300, 1200] as const;

/** Fair and foul weather in turn, until `ended`. Tells of each disturbance when it begins. */
export async function makeWeather(
  proxy: ChaosProxy,
  options: {
    readonly random: () => number;
    readonly ended: () => boolean;
    readonly disturbances: Disturbance[];
  },
): Promise<void> {
  const { random, ended, disturbances } = options;
  const between = ([least, most]: readonly [number, number]): number => least + random() * (most - least);
  while (!ended()) {
    await delay(between(quietMs));
    const kind = kinds[Math.floor(random() * kinds.length)] ?? 'cut';
    const disturbance: Disturbance = { kind, startMs: nowMs(), endMs: Number.POSITIVE_INFINITY };
    disturbances.push(disturbance);
    proxy.begin(kind);
    await delay(between(lengthsMs[kind]));
    proxy.calm();
    disturbance.endMs = nowMs();
  }
}
