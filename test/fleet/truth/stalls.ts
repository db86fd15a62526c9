import { setTimeout as delay } from 'node:timers/promises';
import { createClient } from '@redis/client';
import { nowMs, type Stall } from './operation.ts';

/** Times during which a process was not let run: a busy machine must not pass for a store that tells late. */
export interface StallClock {
  /** The stalls since the last call. */
  take(): Stall[];
  stop(): void;
}

const tickMs = 5;
const worthTellingMs = 5;

/** Watches this process. */
export function startStallClock(): StallClock {
  const stalls: Stall[] = [];
  let lastMs = nowMs();
  const timer = setInterval(() => {
    const tickAtMs = nowMs();
    if (tickAtMs - lastMs > tickMs + worthTellingMs) stalls.push({ startMs: lastMs, endMs: tickAtMs });
    lastMs = tickAtMs;
  }, tickMs);
  return {
    take: () => stalls.splice(0),
    stop: () => clearInterval(timer),
  };
}

/** Watches a Redis, by asking it again and again. */
export async function startStoreClock(url: string): Promise<StallClock> {
  const stalls: Stall[] = [];
  const redis = createClient({ url });
  await redis.connect();
  let stopped = false;
  const watch = async (): Promise<void> => {
    while (!stopped) {
      const startMs = nowMs();
      await redis.ping();
      const endMs = nowMs();
      if (endMs - startMs > worthTellingMs) stalls.push({ startMs, endMs });
      await delay(tickMs);
    }
    redis.destroy();
  };
  void watch();
  return {
    take: () => stalls.splice(0),
    stop() {
      stopped = true;
    },
  };
}
