/** What a client sees that knows nothing of Coatcheck: one fresh connection per question, and no patience. */
import { createClient } from '@redis/client';

/** A server, and how to come in. */
export interface BareAddress {
  readonly port: number;
  readonly username?: string;
  readonly password?: string;
  /** Authorities (PEM) to trust; TLS where there are any. */
  readonly ca?: string;
  /** How long to wait for the connection and all that is asked on it. Default 250. */
  readonly patienceMs?: number;
}

/** The replies to `commands`, in order, on a connection of their own. Throws where they do not come in time. */
export async function askBarely(address: BareAddress, ...commands: string[][]): Promise<unknown[]> {
  const { port, username, password, ca, patienceMs = 250 } = address;
  const client = createClient({
    ...(username !== undefined && { username }),
    ...(password !== undefined && { password }),
    disableOfflineQueue: true,
    socket: {
      host: '127.0.0.1',
      port,
      reconnectStrategy: false,
      ...(ca !== undefined && { tls: true, ca }),
    },
  });
  client.on('error', () => undefined);
  const work = (async () => {
    await client.connect();
    return await Promise.all(commands.map((command) => client.sendCommand(command)));
  })();
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`port ${port} does not answer`)), patienceMs);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
    work.catch(() => undefined);
    client.destroy();
  }
}

/** Those of the sessions that the server does not have, asked at leisure. */
export async function missingAt(address: BareAddress, sessionIds: readonly string[]): Promise<string[]> {
  const questions = sessionIds.map((sessionId) => ['EXISTS', `cc:s:{${sessionId}}`]);
  const there = await askBarely({ ...address, patienceMs: 5000 }, ...questions);
  return sessionIds.filter((_, at) => there[at] !== 1);
}

/** Writes and reads one key; throws unless it is there. So many replicas must have it. */
export async function probeBarely(
  address: BareAddress,
  { key, replicas = 0 }: { readonly key: string; readonly replicas?: number },
): Promise<void> {
  const wait = replicas > 0 ? [['WAIT', String(replicas), '100']] : [];
  const value = String(performance.now());
  const [, read, had] = await askBarely(address, ['SET', key, value, 'PX', '60000'], ['GET', key], ...wait);
  if (read !== value) throw new Error(`port ${address.port} does not keep what is written`);
  if (replicas > 0 && !(Number(had) >= replicas))
    throw new Error(`${had} of ${replicas} replicas of port ${address.port} have it`);
}
