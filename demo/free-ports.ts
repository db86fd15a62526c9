import { type AddressInfo, createServer, type Server } from 'node:net';

/** Listens for a moment. `absent`: this machine has no such address. */
async function hold(port: number, host: string): Promise<Server | 'taken' | 'absent'> {
  const server = createServer();
  return await new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE' || error.code === 'EACCES') resolve('taken');
      else if (error.code === 'EADDRNOTAVAIL' || error.code === 'EAFNOSUPPORT') resolve('absent');
      else reject(error);
    });
    server.listen(port, host, () => resolve(server));
  });
}

const release = (server: Server): Promise<void> => new Promise((resolve) => server.close(() => resolve()));

/** Distinct free ports on 127.0.0.1: held all at once, so that none comes twice. */
export async function freePorts(count: number): Promise<number[]> {
  const held: Server[] = [];
  while (held.length < count) {
    const server = await hold(0, '127.0.0.1');
    if (typeof server === 'string') throw new Error('no port is free on 127.0.0.1');
    held.push(server);
  }
  const ports = held.map((server) => (server.address() as AddressInfo).port);
  await Promise.all(held.map(release));
  return ports;
}

/** `wanted`, or the next port above it, that is free on both addresses that browsers try for `localhost`. */
export async function nextFreePort(wanted: number): Promise<number> {
  for (let port = wanted; port <= 65_535; port += 1) {
    const held = [await hold(port, '127.0.0.1'), await hold(port, '::1')];
    await Promise.all(held.filter((server) => typeof server !== 'string').map(release));
    if (!held.includes('taken')) return port;
  }
  throw new Error(`no port is free from ${wanted} up`);
}
