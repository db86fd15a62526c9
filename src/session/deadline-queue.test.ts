import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { expect, test, vi } from 'vitest';
import { DeadlineQueue } from './deadline-queue.ts';

test('only what is not settled in time is late, in order', async () => {
  const queue = new DeadlineQueue(20);
  const late: string[] = [];
  const start = performance.now();
  const add = (name: string) => queue.add(() => late.push(name));
  const settled = add('a');
  add('b');
  add('c').settle();
  add('d');
  settled.settle();
  await vi.waitFor(() => expect(late).toEqual(['b', 'd']), { interval: 1 });
  expect(performance.now() - start).toBeGreaterThanOrEqual(20);
});

test('one timer serves any number of deadlines', async () => {
  const timers = vi.spyOn(globalThis, 'setTimeout');
  const queue = new DeadlineQueue(10);
  let late = 0;
  for (let count = 0; count < 10_000; count++) queue.add(() => late++);
  expect(timers).toHaveBeenCalledOnce();
  timers.mockRestore();
  await vi.waitFor(() => expect(late).toBe(10_000));
});

test('after a stall of the event loop, what has meanwhile arrived is not late', async () => {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const here = connect(port, '127.0.0.1');
  const [there] = (await once(server, 'connection')) as [Socket];
  const queue = new DeadlineQueue(10);
  const late = vi.fn();
  const deadline = queue.add(late);
  here.on('data', () => deadline.settle());
  there.write('answer');
  const blockedUntilMs = performance.now() + 50;
  while (performance.now() < blockedUntilMs);
  await once(here, 'data');
  expect(late).not.toHaveBeenCalled();
  here.destroy();
  server.close();
});
