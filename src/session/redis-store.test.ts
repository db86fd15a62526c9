import { startRedisServer } from '../../test/redis-server.ts';
import { storeContract } from '../../test/store-contract.ts';
import { createRedisConnection } from './redis-connection.ts';
import { createRedisStore } from './redis-store.ts';

storeContract('the Redis store', async ({ now }) => {
  const server = await startRedisServer();
  const connection = createRedisConnection({ url: server.url });
  await connection.start();
  const store = createRedisStore({ connection, now });
  return {
    store,
    async close() {
      await store.close();
      await server.stop();
    },
  };
});
