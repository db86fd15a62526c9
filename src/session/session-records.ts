import type { NearCache } from './near-cache.ts';
import type { Keyring } from './seal.ts';
import type { Session, TokenSet } from './session.ts';
import { type OpenResult, openRecord, reopenRecord, sealRecord } from './session-record.ts';
import type { ReplaceResult, SessionStore, StoreChange, StoredRecord } from './store.ts';
import type { Ticket } from './ticket.ts';

/** Parts of {@link SessionRecords}. */
export interface SessionRecordsOptions {
  readonly store: SessionStore;
  readonly keyring: Keyring;
  /** A stored record counts as no session: it is not ours, of another format, or does not open. */
  readonly onUnreadable: (sessionId: string, why: 'format' | 'foreign' | 'sealed') => void;
  /** A use of the session moves its idle deadline this far. */
  readonly idleTimeoutMs: number;
  readonly nearCache?: NearCache;
  /** Default `tracked`. */
  readonly cacheMode?: 'tracked' | 'dangerously-untracked' | 'off';
  /** Whether a session is to count at this moment. */
  readonly isValid: (session: Session) => boolean;
  readonly now: () => number;
}

/** Waits for what happens to one session. */
export interface SessionWatch {
  /** Resolves when the session has changed, or may have, since this was last asked; after `timeoutMs` in any case, with false. */
  changed(timeoutMs: number): Promise<boolean>;
  stop(): void;
}

/** Ends a session in the store and in this process's memory. True if there was one. One command. */
export async function endSession(
  { store, nearCache }: Pick<SessionRecordsOptions, 'store' | 'nearCache'>,
  sessionId: string,
): Promise<boolean> {
  // Before: from now on nobody here is served from memory. After: nor by a read that was under way.
  nearCache?.invalidate(sessionId);
  const existed = await store.destroy(sessionId);
  nearCache?.invalidate(sessionId);
  return existed;
}

/** Sessions as the store has them: read, replaced and watched, and the near cache kept true meanwhile. */
export class SessionRecords {
  readonly #options: SessionRecordsOptions;
  readonly #watchers = new Map<string, Set<() => void>>();

  constructor(options: SessionRecordsOptions) {
    this.#options = options;
    if (this.#follows) options.store.changes?.listen((change) => this.#hear(change));
  }

  /** What the near cache knows to be in the store. */
  cached(sessionId: string): Session | undefined {
    const session = this.#options.nearCache?.get(sessionId);
    return session !== undefined && this.#options.isValid(session) ? session : undefined;
  }

  /** One command: what the store has under this ticket, opened. The near cache keeps it. */
  async read(ticket: Ticket): Promise<Session | 'unknown' | 'unreadable'> {
    const filling = this.#options.nearCache?.begin(ticket.sessionId, this.#mayAnswer());
    try {
      const found = await this.#read(ticket);
      if (typeof found === 'string') filling?.drop();
      else filling?.keep(found);
      return found;
    } finally {
      filling?.abandon();
    }
  }

  /**
   * One command: writes `session` with another token set of one provider, if the store still has the generation that it was
   * read from. That counts as a use: the idle deadline moves.
   */
  async replace(
    ticket: Ticket,
    session: Session,
    [provider, tokens]: readonly [provider: string, tokens: TokenSet],
  ): Promise<ReplaceResult> {
    const { store, keyring, nearCache, now, idleTimeoutMs } = this.#options;
    const tokenSets = new Map(session.tokenSets).set(provider, tokens);
    const idleDeadlineMs = Math.max(session.idleDeadlineMs, now() + idleTimeoutMs);
    const record = sealRecord({ ...session, tokenSets, idleDeadlineMs }, ticket, keyring);
    try {
      return await store.replace(session.id, session.generation, record);
    } finally {
      // The server tells of it too, but perhaps after this answer.
      nearCache?.invalidate(session.id);
      this.#wake(session.id);
    }
  }

  /** Watches a session that was read before. Where `isTold` is false, only time passes. */
  watch(sessionId: string): SessionWatch {
    // What is no longer in the near cache was told of already.
    let isChanged = this.isTold && this.cached(sessionId) === undefined;
    let wake: (() => void) | undefined;
    const watcher = (): void => {
      isChanged = true;
      wake?.();
    };
    const watchers = this.#watchers.get(sessionId) ?? new Set();
    this.#watchers.set(sessionId, watchers.add(watcher));
    return {
      changed: async (timeoutMs) => {
        if (!isChanged) {
          await new Promise<void>((resolve) => {
            const timer = setTimeout(resolve, timeoutMs);
            wake = () => {
              clearTimeout(timer);
              resolve();
            };
          });
        }
        const answer = isChanged;
        isChanged = false;
        return answer;
      },
      stop: () => {
        watchers.delete(watcher);
        if (watchers.size === 0 && this.#watchers.get(sessionId) === watchers)
          this.#watchers.delete(sessionId);
      },
    };
  }

  /** Whether the store tells of changes to what was read. */
  get isTold(): boolean {
    return this.#follows && this.#options.store.changes?.watching() === true;
  }

  get #follows(): boolean {
    const { nearCache, cacheMode } = this.#options;
    return nearCache !== undefined && cacheMode !== 'off';
  }

  /** Whether what is read now may answer later loads. */
  #mayAnswer(): boolean {
    return this.#options.cacheMode === 'dangerously-untracked' || this.isTold;
  }

  async #read(ticket: Ticket): Promise<Session | 'unknown' | 'unreadable'> {
    const { store, onUnreadable, isValid } = this.#options;
    const stored = await store.read(ticket.sessionId);
    if (stored.kind === 'miss') return 'unknown';
    const opened = stored.kind === 'found' ? this.#open(stored.record, ticket) : stored;
    if (opened.kind === 'unreadable') {
      onUnreadable(ticket.sessionId, stored.kind === 'unreadable' ? stored.why : 'sealed');
      return 'unreadable';
    }
    return isValid(opened.session) ? opened.session : 'unknown';
  }

  #open(record: StoredRecord, ticket: Ticket): OpenResult {
    const { keyring, nearCache } = this.#options;
    const known = nearCache?.lastVerified(ticket.sessionId)?.session;
    const session = known === undefined ? undefined : reopenRecord(record, known);
    return session === undefined ? openRecord(record, ticket, keyring) : { kind: 'opened', session };
  }

  #hear(change: StoreChange): void {
    const { nearCache } = this.#options;
    if (change.kind === 'changed') {
      nearCache?.invalidate(change.sessionId);
      this.#wake(change.sessionId);
      return;
    }
    if (change.kind === 'cleared') nearCache?.clear();
    else nearCache?.doubt();
    for (const sessionId of this.#watchers.keys()) this.#wake(sessionId);
  }

  #wake(sessionId: string): void {
    for (const watcher of this.#watchers.get(sessionId) ?? []) watcher();
  }
}
