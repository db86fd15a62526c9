import type { SessionStore } from './store.ts';

/** The verbs of a store. */
export type StoreOperation = Exclude<keyof SessionStore, 'changes'>;

/** What is told of one finished store operation. */
export type StoreObserver = (operation: StoreOperation, outcome: 'ok' | 'fault', seconds: number) => void;

/** The same store, with every operation timed and told to `observe`. */
export function observeStore(store: SessionStore, observe: StoreObserver): SessionStore {
  const timed =
    <Arguments extends unknown[], Result>(
      operation: StoreOperation,
      run: (...values: Arguments) => Promise<Result>,
    ): ((...values: Arguments) => Promise<Result>) =>
    async (...values) => {
      const started = performance.now();
      let outcome: 'ok' | 'fault' = 'fault';
      try {
        const result = await run.apply(store, values);
        outcome = 'ok';
        return result;
      } finally {
        observe(operation, outcome, (performance.now() - started) / 1000);
      }
    };
  return {
    read: timed('read', store.read),
    create: timed('create', store.create),
    replace: timed('replace', store.replace),
    extend: timed('extend', store.extend),
    destroy: timed('destroy', store.destroy),
    putOnce: timed('putOnce', store.putOnce),
    takeOnce: timed('takeOnce', store.takeOnce),
    lock: timed('lock', store.lock),
    renewLock: timed('renewLock', store.renewLock),
    unlock: timed('unlock', store.unlock),
    indexAdd: timed('indexAdd', store.indexAdd),
    indexEpoch: timed('indexEpoch', store.indexEpoch),
    indexClose: timed('indexClose', store.indexClose),
    indexRemove: timed('indexRemove', store.indexRemove),
    indexList: timed('indexList', store.indexList),
    ping: timed('ping', store.ping),
    ...(store.changes === undefined ? {} : { changes: store.changes }),
    close: () => store.close(),
  };
}
