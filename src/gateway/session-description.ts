import type { PersonSession } from '../person-sessions.ts';

/** A session in the words of our JSON. Times are ISO 8601. */
export interface SessionDescription {
  /** Names the session; opens nothing. */
  readonly session: string;
  readonly createdAt: string;
  /** To within a twentieth of the idle timeout; absent near the session's end. */
  readonly lastUsedAt?: string;
  readonly idleExpiresAt: string;
  readonly absoluteExpiresAt: string;
}

/** The same, for operators: who it is and how the providers stand. Never a token. */
export interface FullSessionDescription extends SessionDescription {
  readonly user: {
    readonly issuer: string;
    readonly subject: string;
    readonly claims: Readonly<Record<string, string>>;
  };
  /** By provider name. `expired` says of the access token alone: it may be refreshed at its next use. */
  readonly providers: Readonly<
    Record<
      string,
      { readonly state: 'ok' | 'expired'; readonly accessTokenExpiresAt: string; readonly scope: string }
    >
  >;
}

/** What a session needs beside itself to be described. */
export interface DescriptionContext {
  readonly idleTimeoutMs: number;
  readonly nowMs: number;
}

/** What the person themself may see of one of their sessions. */
export function describePersonSession(
  { reference, createdAtMs, idleDeadlineMs, absoluteDeadlineMs }: PersonSession,
  { idleTimeoutMs }: Pick<DescriptionContext, 'idleTimeoutMs'>,
): SessionDescription {
  const isCut = idleDeadlineMs >= absoluteDeadlineMs;
  const lastUsedAtMs = Math.max(idleDeadlineMs - idleTimeoutMs, createdAtMs);
  return {
    session: reference,
    createdAt: at(createdAtMs),
    ...(isCut ? {} : { lastUsedAt: at(lastUsedAtMs) }),
    idleExpiresAt: at(idleDeadlineMs),
    absoluteExpiresAt: at(absoluteDeadlineMs),
  };
}

/** What an operator may see. */
export function describeForOperator(
  session: PersonSession,
  context: DescriptionContext,
): FullSessionDescription {
  const { issuer, subject, claims } = session.user;
  const providers = [...session.providers].map(([name, { accessTokenExpiresAtMs, scope }]) => {
    const state = context.nowMs < accessTokenExpiresAtMs ? 'ok' : 'expired';
    return [name, { state, accessTokenExpiresAt: at(accessTokenExpiresAtMs), scope }] as const;
  });
  return {
    ...describePersonSession(session, context),
    user: { issuer, subject, claims: Object.fromEntries(claims) },
    providers: Object.fromEntries(providers),
  };
}

function at(timeMs: number): string {
  return new Date(timeMs).toISOString();
}
