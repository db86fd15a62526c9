import type { Redis } from './redis.ts';

/** Who we are to Redis. */
export interface RedisCredentials {
  /** Empty for the default user. */
  readonly username: string;
  readonly password: string;
}

/** Where credentials come from that change while connections live. */
export interface CredentialSource {
  /** Asked for each connection, and again for each that lasts. */
  current(): Promise<RedisCredentials>;
  /** How long a connection goes on before it asks again, in ms; another answer each time, so that a fleet does not ask at once. */
  renewAfterMs(): number;
}

/** Calls `work` after so many ms, unless what it returns is called before. */
export type StartTimer = (work: () => void, afterMs: number) => () => void;

/** Options of {@link startRenewal}. */
export interface CredentialRenewal {
  readonly source: CredentialSource;
  /** Told of each attempt that failed. The connection goes on for as long as the server lets it. */
  readonly onFault?: (fault: unknown) => void;
  /** Default: `setTimeout`, which keeps no process alive. */
  readonly startTimer?: StartTimer;
}

/** A connection, and the credentials with which it came in. */
export interface SignedIn {
  readonly shown: RedisCredentials;
  readonly redis: Redis;
}

/** After a failure: soon enough for what is left of an hour, late enough for a source that is overrun. */
const retryAfterMs = (): number => 10_000 + 20_000 * Math.random();

/**
 * Keeps a live connection signed in: asks the source again and again, and shows the server whatever is new. Goes on until
 * what it returns is called.
 */
export function startRenewal(renewal: CredentialRenewal, { shown, redis }: SignedIn): () => void {
  const { source, onFault, startTimer = startTimeout } = renewal;
  let last = shown;
  let stopped = false;
  const renew = async (): Promise<void> => {
    let nextMs = source.renewAfterMs();
    try {
      const next = await source.current();
      if (stopped) return;
      const { username, password } = next;
      if (username !== last.username || password !== last.password)
        await redis.send(['AUTH', ...(username === '' ? [] : [username]), password]);
      last = next;
    } catch (fault) {
      if (stopped) return;
      onFault?.(fault);
      nextMs = Math.min(nextMs, retryAfterMs());
    }
    wait(nextMs);
  };
  let cancel = (): void => undefined;
  const wait = (afterMs: number): void => {
    if (!stopped) cancel = startTimer(() => void renew(), afterMs);
  };
  wait(source.renewAfterMs());
  return () => {
    stopped = true;
    cancel();
  };
}

function startTimeout(work: () => void, afterMs: number): () => void {
  const timeout = setTimeout(work, afterMs).unref();
  return () => clearTimeout(timeout);
}
