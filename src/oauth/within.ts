import { setTimeout as delay } from 'node:timers/promises';

/** The result of work that is done in time; `undefined` otherwise. The work goes on in any case. */
export async function within<Result>(work: Promise<Result>, timeoutMs: number): Promise<Result | undefined> {
  const timer = new AbortController();
  try {
    return await Promise.race([work, delay(timeoutMs, undefined, { signal: timer.signal })]);
  } finally {
    timer.abort();
  }
}
