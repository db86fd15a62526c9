import { type AddressInfo, createServer, type Server } from 'node:net';

/** Listens for a moment; undefined where the port is taken. Port 0 is any free one. */
async function hold(port: number, host: string): Promise<Server | undefined> {
  const server = createServer();
  return await new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) =>
      error.code === 'EADDRINUSE' || error.code === 'EACCES' ? resolve(undefined) : reject(error),
    );
    server.listen(port, host, () => resolve(server));
  });
}

const release = (server: Server): Promise<void> => new Promise((resolve) => server.close(() => resolve()));

/** Distinct free ports on loopback: held all at once, so that none comes twice. */
export async function freePorts(count: number): Promise<number[]> {
  const held: Server[] = [];
  while (held.length < count) {
    const server = await hold(0, '127.0.0.1');
    if (server !== undefined) held.push(server);
  }
  const ports = held.map((server) => (server.address() as AddressInfo).port);
  await Promise.all(held.map(release));
  return ports;
}

/** `wanted`, or the next port above it that is free on both loopback addresses. */
export async function nextFreePort(wanted: number): Promise<number> {
  for (let port = wanted; port <= 65_535; port += 1) {
    const server = await hold(port, '127.0.0.1');
    if (server === undefined) continue;
    await release(server);
    return port;
  }
  throw new Error(`no free port at or above ${wanted}`);
}
