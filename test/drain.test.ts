import { once } from 'node:events';
import { connect } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { startWorld, type World } from './world.ts';

let world: World | undefined;
afterEach(() => world?.close());

test('a connection that a browser opened ahead of need does not hold up the drain', async () => {
  world = await startWorld({
    config: (input) => ({ ...input, limits: { drainDelay: '0ms', drainTimeout: '60s' } }),
  });
  const unused = connect(Number(new URL(world.publicUrl).port), '127.0.0.1');
  await once(unused, 'connect');
  unused.on('error', () => undefined);
  const closed = once(unused, 'close');
  await Promise.all([world.gateway.close(), closed]);
});

test('an answer that is under way is finished, and only then the gateway is gone', async () => {
  world = await startWorld({
    config: (input) => ({ ...input, limits: { drainDelay: '0ms', drainTimeout: '60s' } }),
  });
  const person = await world.signIn('ada');
  world.simulators.faults.set('facade', { kind: 'slow', delayMs: 700 });
  const answer = person.get(`${world.publicUrl}/api/eln/entities`);
  await expect.poll(() => world?.simulators.faults.requests['facade GET /entities']).toBe(1);
  const order: string[] = [];
  await Promise.all([
    answer.then(({ status }) => order.push(`answered ${status}`)),
    world.gateway.close().then(() => order.push('gone')),
  ]);
  expect(order).toEqual(['answered 200', 'gone']);
});
