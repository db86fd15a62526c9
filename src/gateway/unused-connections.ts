import type { IncomingMessage, Server } from 'node:http';
import type { Socket } from 'node:net';

/** Connections on which no request has come yet, such as those that browsers open ahead of need. */
export interface UnusedConnections {
  /** Closes them. Node waits for them when a server closes, though nobody waits for an answer on them. */
  close(): void;
}

/** Watches a server's connections. To be called before it listens. */
export function watchUnusedConnections(server: Server): UnusedConnections {
  const unused = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    unused.add(socket);
    socket.once('close', () => unused.delete(socket));
  });
  server.on('request', (request: IncomingMessage) => unused.delete(request.socket));
  return {
    close() {
      for (const socket of unused) socket.destroy();
    },
  };
}
