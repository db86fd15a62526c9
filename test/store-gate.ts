/** A TCP proxy before Redis that stops a client at a given script. */
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';

/** Where to stop. `before`: the script is not sent. `after`: it is, and its answer does not come. `cut`: the connection ends. */
export interface StoreGateRule {
  readonly at: 'before' | 'after' | 'cut';
  /** SHA-1 of the script. */
  readonly sha: string;
}

/** A running proxy. */
export interface StoreGate {
  readonly url: string;
  /** From now on: stop there, or let everything pass. With `cut`, nobody can connect either. */
  rule: StoreGateRule | undefined;
  /** How many connections were stopped under the present rule. */
  readonly stopped: number;
  close(): Promise<void>;
}

/** Starts a proxy before the server on `port`. */
export async function startStoreGate(port: number): Promise<StoreGate> {
  const sockets = new Set<Socket>();
  let rule: StoreGateRule | undefined;
  let stopped = 0;
  const server = createServer((client) => {
    if (rule?.at === 'cut' && stopped > 0) {
      client.destroy();
      return;
    }
    const upstream = connect(port, '127.0.0.1');
    let isDeaf = false;
    let isMute = false;
    client.on('data', (bytes) => {
      const isMet = rule !== undefined && !isDeaf && bytes.includes(rule.sha);
      if (isMet) {
        stopped += 1;
        isMute = true;
        isDeaf = rule?.at === 'before';
        if (rule?.at === 'cut') client.destroy();
      }
      if (!isDeaf && !client.destroyed) upstream.write(bytes);
    });
    upstream.on('data', (bytes) => isMute || client.write(bytes));
    for (const [socket, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(socket);
      socket.on('error', () => other.destroy());
      socket.on('close', () => {
        sockets.delete(socket);
        other.destroy();
      });
    }
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('No port was given');
  return {
    url: `redis://127.0.0.1:${address.port}`,
    get rule() {
      return rule;
    },
    set rule(next) {
      rule = next;
      stopped = 0;
    },
    get stopped() {
      return stopped;
    },
    async close() {
      server.close();
      for (const socket of sockets) socket.destroy();
      await once(server, 'close');
    },
  };
}
