import type { ChaosProxy } from './chaos-proxy.ts';
import type { Conditions } from './conditions.ts';
import type { Ledger } from './ledger.ts';
import type { WeatherKind } from './weather.ts';

/** How stale loads were, in one weather; ms. */
export interface StalenessSummary {
  readonly loads: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly mostMs: number;
}

/** What came of a trial. */
export interface Summary {
  readonly seed: number;
  /** Operations that did not end in a fault. */
  readonly operations: number;
  readonly faults: number;
  readonly sessions: number;
  readonly connections: number;
  readonly tookMs: number;
  /** All processes together. */
  readonly stalledMs: number;
  readonly weather: Readonly<Record<WeatherKind, number>>;
  readonly outcomes: Readonly<Record<string, number>>;
  /** Loads that told what was so no more, all of them excused. */
  readonly staleness: Readonly<Record<string, StalenessSummary>>;
  /** Connections on which a reply had come twice: given up by the client, after at most so many ms; or still in use. */
  readonly misled: { readonly noticed: number; readonly unnoticed: number; readonly mostMs: number };
  /** None where all is well. */
  readonly lies: readonly string[];
}

/** Sums a trial up. */
export function summarise(trial: {
  readonly seed: number;
  readonly ledger: Ledger;
  readonly proxy: ChaosProxy;
  readonly conditions: Conditions;
  readonly tookMs: number;
}): Summary {
  const { seed, ledger, proxy, conditions, tookMs } = trial;
  return {
    seed,
    operations: ledger.answered,
    faults: ledger.faults,
    sessions: ledger.judged,
    connections: proxy.connections,
    tookMs: Math.round(tookMs),
    stalledMs: Math.round(conditions.stalledMs),
    weather: { ...proxy.counts },
    outcomes: Object.fromEntries([...ledger.outcomes].sort()),
    staleness: stalenessByWeather(ledger),
    misled: {
      noticed: proxy.noticedAfterMs.length,
      unnoticed: proxy.unnoticed,
      mostMs: Math.round(Math.max(0, ...proxy.noticedAfterMs)),
    },
    lies: ledger.lies,
  };
}

function stalenessByWeather({ staleness }: Ledger): Record<string, StalenessSummary> {
  const byWeather = new Map<string, number[]>();
  for (const { weather, ms } of staleness) {
    const times = byWeather.get(weather) ?? [];
    times.push(ms);
    byWeather.set(weather, times);
  }
  return Object.fromEntries(
    [...byWeather].map(([weather, times]) => {
      times.sort((one, other) => one - other);
      const at = (share: number): number =>
        Number((times[Math.min(times.length - 1, Math.floor(times.length * share))] ?? 0).toFixed(2));
      return [weather, { loads: times.length, p50Ms: at(0.5), p99Ms: at(0.99), mostMs: at(1) }];
    }),
  );
}
