import { storeContract } from '../../test/store-contract.ts';
import { createMemoryStore } from './memory-store.ts';

storeContract('the memory store', async ({ now }) => {
  const store = createMemoryStore({ now });
  return { store, close: () => store.close() };
});
