/** Stores of the alternatives, as their guides set them up. */
import connectPgSimple from 'connect-pg-simple';
import { RedisStore } from 'connect-redis';
import pg from 'pg';
import { createClient } from 'redis';

/** connect-redis, but without the timer per command that halves the client's throughput. */
export const openStore = async (url) => {
  const client = createClient({ url, commandOptions: { timeout: 0 } });
  await client.connect();
  return { client, store: new RedisStore({ client }) };
};

/** connect-pg-simple. `writtenBytes`: length of the write-ahead log so far. */
export const openPostgresStore = async (url, session) => {
  const pool = new pg.Pool({ connectionString: url });
  const store = new (connectPgSimple(session))({ pool, createTableIfMissing: true });
  const writtenBytes = async () => {
    const { rows } = await pool.query("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn AS bytes");
    return Number(rows[0].bytes);
  };
  return { store, writtenBytes };
};
