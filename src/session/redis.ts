/** What the store and its scripts know of Redis: one connection for the time of an operation, however many nodes there are. */
import { ErrorReply, type RedisArgument } from '@redis/client';
import { CoatcheckError } from '../errors.ts';

/** One live connection, lent for the time of a {@link RedisConnection.run}. */
export interface Redis {
  /** Sends one command; strings come back as Buffers. Throws `store_unavailable` on any fault. */
  send(command: readonly RedisArgument[]): Promise<unknown>;
  /** Gives this connection up for a new one, because a reply was not what was asked: later ones cannot be trusted. */
  discard(): void;
}

/** Who wants to know of changes to what was read. */
export interface KeyWatch {
  /** A key has changed or is gone; `null` for all of them. */
  readonly onInvalidate: (key: string | null) => void;
  /** Changes may have been missed: a connection that would have told is lost. */
  readonly onLost: () => void;
}

/** The way to Redis, which outlives every single connection. */
export interface RedisConnection {
  /** Whether a command sent now would go out, whatever its key. */
  readonly connected: boolean;
  /** Whether what is read now is watched: every later change will be told, or the loss of the connection. */
  readonly tracking: boolean;
  /** Asks the server, where it can (`CLIENT TRACKING`), to tell of every change to what is read. To be called before `start`. */
  watch(watch: KeyWatch): void;
  /** Connects. Resolves once connected or after the deadline; keeps trying in the background, for ever. */
  start(): Promise<void>;
  /** Resolves once connected; throws `store_unavailable` after the deadline. */
  whenConnected(): Promise<void>;
  /**
   * Lends a connection to `use`, within the deadline. `key` is the one key that is touched, by which a cluster is routed;
   * where the cluster sends it elsewhere, `use` is called once more; likewise where the connection is lost under a command
   * that changes nothing. Throws `store_unavailable`: at once when there is no connection, unless the other end has closed
   * it just now and another is being made.
   */
  run<Result>(key: string | undefined, use: (redis: Redis) => Promise<Result>): Promise<Result>;
  /** Waits for what is in flight (at most the deadline), then disconnects for good. */
  close(): Promise<void>;
}

/** The error reply behind a fault, if there is one. */
export function errorReply(fault: unknown): ErrorReply | undefined {
  const cause = CoatcheckError.is(fault) ? fault.cause : fault;
  return cause instanceof ErrorReply ? cause : undefined;
}

/** The code of the error reply behind a fault (its first word, e.g. `NOSCRIPT`), if there is one. */
export function replyCode(fault: unknown): string | undefined {
  return errorReply(fault)?.message.split(' ', 1)[0];
}
