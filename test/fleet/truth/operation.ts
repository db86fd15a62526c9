/** What a trial asks of its replicas and what they tell. Plain values: they travel between processes. */

import type { ErrorCode } from '../../../src/errors.ts';

/** One shape for several kinds. */
type Each<Kind extends string, Rest> = Kind extends string ? { readonly kind: Kind } & Rest : never;

/** One thing to do. `session` is the trial's number for it; ids of writes are unique in a trial. */
export type Operation =
  | {
      readonly kind: 'create';
      readonly session: number;
      readonly write: string;
      /** The session that the same browser had before. */
      readonly previous?: { readonly session: number; readonly ticket: string };
    }
  | Each<'load' | 'read' | 'destroy', { readonly session: number; readonly ticket: string }>
  | {
      readonly kind: 'replace';
      readonly session: number;
      readonly ticket: string;
      readonly write: string;
    }
  | {
      readonly kind: 'extend';
      readonly session: number;
      readonly ticket: string;
      readonly idleDeadlineMs: number;
    }
  | { readonly kind: 'lock'; readonly name: string; readonly owner: string; readonly holdMs: number }
  | Each<'put' | 'take', { readonly id: string }>;

/** When and where something was done. Times are ms of the machine's monotonic clock, the same in every process. */
export interface Span {
  readonly replica: number;
  readonly startMs: number;
  readonly endMs: number;
}

/** One version of a session: its generation and the write that made it. */
export interface Version {
  readonly generation: number;
  readonly write: string;
}

/** What was seen of a session. */
export interface Sighting extends Version {
  readonly kind: 'session';
  /** The write that this one was based on; empty for the first. */
  readonly base: string;
  readonly subject: string;
  readonly idleDeadlineMs: number;
  /** Whether parts of it are of different writes. */
  readonly torn: boolean;
}

/** The store did not answer, or not in time: whatever was asked may have happened, may yet, or may never. */
export interface Fault {
  readonly kind: 'fault';
  readonly code: ErrorCode;
}

/** What happened to one session. */
export type SessionEvent = Span &
  /** `load`: as a request does, perhaps from the near cache. `read`: from the store. */
  (
    | Each<
        'load' | 'read',
        { readonly answer: Sighting | { readonly kind: 'none'; readonly why: string } | Fault }
      >
    | {
        readonly kind: 'create';
        readonly write: string;
        readonly answer: { readonly kind: 'created'; readonly ticket: string } | Fault;
      }
    | {
        readonly kind: 'replace';
        readonly write: string;
        readonly base: Version;
        readonly answer:
          | { readonly kind: 'replaced'; readonly generation: number }
          | { readonly kind: 'conflict' | 'gone' }
          | Fault;
      }
    | {
        readonly kind: 'extend';
        readonly answer:
          | { readonly kind: 'extended'; readonly idleDeadlineMs: number }
          | { readonly kind: 'gone' }
          | Fault;
      }
    | {
        readonly kind: 'destroy';
        /** `ended`: there was one, and now there is none. `over`: there is none. */
        readonly answer: { readonly kind: 'ended' | 'over' } | Fault;
      }
  );

/** A lock was held for certain from `startMs` to `endMs`. */
export interface Hold extends Span {
  readonly name: string;
  readonly owner: string;
}

/** Somebody asked for bytes that only one may get. */
export interface Take extends Span {
  readonly id: string;
  readonly answer: 'got' | 'wrong' | 'nothing' | 'fault';
}

/** What a replica tells of one operation; a `replace` begins with a load. */
export type Told =
  | { readonly about: 'session'; readonly session: number; readonly event: SessionEvent }
  | { readonly about: 'lock'; readonly hold: Hold | undefined }
  | { readonly about: 'put'; readonly id: string; readonly stored: boolean }
  | { readonly about: 'take'; readonly take: Take };

/** A time during which a process did not run. */
export interface Stall {
  readonly startMs: number;
  readonly endMs: number;
}

/** A replica's answer to a batch of operations. */
export interface Report {
  readonly told: readonly Told[];
  readonly faults: number;
  readonly stalls: readonly Stall[];
}

/** Who is signed in in a session of that number. */
export function subjectOf(session: number): string {
  return `person-${session}`;
}

/** Now, on the clock of {@link Span}. */
export function nowMs(): number {
  return Number(process.hrtime.bigint()) / 1_000_000;
}
