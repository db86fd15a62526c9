import type { CredentialRenewal } from './credential-renewal.ts';
import type { RedisTarget } from './redis-client.ts';

/** Options of a connection to one node. */
export interface NodeConnectionOptions {
  /** Where this leads, for faults: `host:port`. */
  readonly name: string;
  /** Asked before each connection is made. A fault is one more failed attempt. */
  readonly target: () => Promise<RedisTarget>;
  /** Time limit of every command, in ms. */
  readonly deadlineMs: number;
  /** How a live connection gets new credentials. Default: it needs none. */
  readonly renewal?: CredentialRenewal;
  /** Whether only a primary will do (`HELLO` tells), for what `target` was told, or the name it gave, may be out of date. */
  readonly primaryOnly?: boolean;
  /** Replies after which the address is looked up again. Default: those of a node that is not, or no longer, the one to ask. */
  readonly wrongNode?: ReadonlySet<string>;
  /** Told when it begins to answer, and when it is lost or falls silent. */
  readonly onStateChange?: (connected: boolean) => void;
  /** Told once per answer of a server whether it tells of changes. */
  readonly onTracking?: (tracking: boolean) => void;
}
