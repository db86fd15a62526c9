import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { startWorld, type World, type WorldOptions } from '../world.ts';

/** A world whose browser speaks to its gateway through a wire that is tapped. */
export interface TappedWorld extends World {
  /** Every byte that browsers have got from the gateway so far. */
  received(): string;
  /** The values of one header, in every answer so far; the name in lower case. */
  headerValues(name: string): string[];
}

/** Starts a world, with the gateway behind a wiretap on `publicUrl`. */
export async function startTappedWorld(options: WorldOptions = {}): Promise<TappedWorld> {
  const world = await startWorld({
    ...options,
    config: (usual, simulators) => {
      const input = options.config?.(usual, simulators) ?? usual;
      return { ...input, listen: { ...(input.listen as object), port: 0 } };
    },
  });
  const chunks: Buffer[] = [];
  const sockets = new Set<Socket>();
  const target = Number(new URL(world.gateway.address).port);
  const tap = createServer((browser) => {
    const gateway = connect(target, '127.0.0.1');
    gateway.on('data', (chunk) => chunks.push(chunk));
    browser.pipe(gateway).pipe(browser);
    for (const [socket, other] of [
      [browser, gateway],
      [gateway, browser],
    ] as const) {
      sockets.add(socket);
      socket.on('error', () => other.destroy());
      socket.on('close', () => other.destroy());
    }
  }).listen(Number(new URL(world.publicUrl).port), '127.0.0.1');
  await once(tap, 'listening');
  const received = (): string => Buffer.concat(chunks).toString('latin1');
  return {
    ...world,
    received,
    headerValues: (name) =>
      Array.from(received().matchAll(new RegExp(`^${name}: (.*)\\r$`, 'gim')), ([, value = '']) => value),
    async close() {
      for (const socket of sockets) socket.destroy();
      tap.close();
      await world.close();
    },
  };
}
