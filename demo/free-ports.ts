import { createServer, type Server } from 'node:net';

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

/** Below the ports that systems give to outgoing connections and to listeners on port 0, which would come in between. */
const range = { first: 10_000, count: 20_000 };

/** Where this process looks next: not where others look, nor where it has looked a moment ago. */
let position = (process.pid * 97) % range.count;

/** Distinct free ports on 127.0.0.1, none of which is likely to be taken before it is used. */
export async function freePorts(count: number): Promise<number[]> {
  const ports: number[] = [];
  for (let tries = 0; ports.length < count && tries < range.count; tries += 1) {
    const port = range.first + position;
    position = (position + 1) % range.count;
    const server = await hold(port, '127.0.0.1');
    if (typeof server === 'string') continue;
    await release(server);
    ports.push(port);
  }
  if (ports.length < count) throw new Error('no port is free on 127.0.0.1');
  return ports;
}

/** One such port. */
export async function freePort(): Promise<number> {
  const [port = 0] = await freePorts(1);
  return port;
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
