/** A TCP proxy before Redis that can turn into a black hole: sockets stay open, bytes go nowhere. */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

/** A running proxy. */
export interface SwallowingProxy {
  readonly port: number;
  /** Swallows whatever comes, over connections old and new. */
  swallow(): void;
  /** New connections work again; those that were there stay dead, and nobody tells them. */
  heal(): void;
  close(): Promise<void>;
}

/** Starts a proxy before the server on `port`. */
export async function startSwallowingProxy(port: number): Promise<SwallowingProxy> {
  const sockets = new Set<Socket>();
  let connections = new Set<{ dead: boolean }>();
  let swallowing = false;
  const server = createServer((client) => {
    const state = { dead: swallowing };
    connections.add(state);
    const upstream = connect(port, '127.0.0.1');
    for (const [socket, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(socket);
      socket.on('data', (bytes) => void (state.dead || other.write(bytes)));
      socket.on('error', () => other.destroy());
      socket.on('close', () => {
        sockets.delete(socket);
        if (!state.dead) other.destroy();
      });
    }
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    swallow() {
      swallowing = true;
      for (const state of connections) state.dead = true;
      connections = new Set();
    },
    heal() {
      swallowing = false;
    },
    async close() {
      server.close();
      for (const socket of sockets) socket.destroy();
      await once(server, 'close');
    },
  };
}
