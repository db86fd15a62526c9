import type { SessionStore } from '../../../src/session/store.ts';

/**
 * What can be wrong with a replica on purpose. `deaf`: it ignores what the store tells of changes. `careless`: it replaces
 * whatever generation is there. `reviving`: it writes back a session that has ended.
 */
export type Sabotage = 'deaf' | 'careless' | 'reviving';

/** The store, as a replica with that fault would use it. */
export function sabotage(store: SessionStore, wrong: Sabotage | undefined): SessionStore {
  const changes: Partial<SessionStore> =
    wrong === 'deaf'
      ? { changes: { watching: () => true, listen: () => undefined } }
      : wrong === 'reviving'
        ? { destroy: revive(store) }
        : {};
  if (Object.keys(changes).length === 0) return store;
  return new Proxy(store, {
    get(target, name: keyof SessionStore) {
      const part = changes[name] ?? target[name];
      return typeof part === 'function' ? part.bind(target) : part;
    },
  });
}

function revive(store: SessionStore): SessionStore['destroy'] {
  return async (sessionId) => {
    const before = await store.read(sessionId);
    const existed = await store.destroy(sessionId);
    if (before.kind === 'found') await store.create(sessionId, before.record);
    return existed;
  };
}
