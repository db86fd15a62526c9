import { afterAll, beforeAll, expect, test } from 'vitest';
import { ask, countCommands } from './redis-server.ts';
import { startWorld, type World } from './world.ts';

let world: World;
beforeAll(async () => {
  world = await startWorld();
});
afterAll(() => world.close());

/** How often Redis has written an idle deadline; only the script of `extend` does. */
async function deadlinesWritten(): Promise<number> {
  const statistics = String(await ask(world.redis, 'INFO', 'commandstats'));
  return Number(/^cmdstat_setrange:calls=(\d+)/m.exec(statistics)?.[1] ?? 0);
}

test('with sessions in memory, one in steady use costs three replicas one write per interval together', async () => {
  let aheadMs = 0;
  const now = (): number => Date.now() + aheadMs;
  const replicas = await Promise.all(Array.from({ length: 3 }, () => world.startReplica({ now })));
  const person = await world.signIn('ada');
  const cookie = `__Host-coatcheck=${person.cookies('localhost').get('__Host-coatcheck')}`;
  const interval = 180_000; // a twentieth of the idle timeout of an hour
  const intervals = 6;
  const stepsPerInterval = 10;
  const before = await deadlinesWritten();
  const commands = await countCommands(world.redis.url, async () => {
    for (let step = 0; step < intervals * stepsPerInterval; step += 1) {
      aheadMs += interval / stepsPerInterval;
      // All at once: each of them may find that the extension is due.
      const answers = await Promise.all(
        replicas.map(({ address }) => person.get(`${address}/auth/session`, { headers: { cookie } })),
      );
      expect(answers.map(({ status }) => status)).toEqual([200, 200, 200]);
    }
  });
  const written = (await deadlinesWritten()) - before;
  expect(written).toBeGreaterThanOrEqual(intervals - 1);
  expect(written).toBeLessThanOrEqual(intervals);
  const names = commands.map(([name = '']) => name.toUpperCase()).filter((name) => name !== 'PING');
  const asked = names.filter((name) => name === 'EVALSHA').length;
  expect(asked).toBeLessThanOrEqual(intervals * replicas.length); // who comes late is told that it is done
  expect(new Set(names)).toEqual(
    new Set(names.includes('EVAL') ? ['GET', 'EVALSHA', 'EVAL'] : ['GET', 'EVALSHA']),
  );
});
