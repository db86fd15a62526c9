import { Agent, request } from 'undici';
import { expect, test } from 'vitest';
import { seededRandom } from '../random.ts';
import { startWorld } from '../world.ts';

test('S-063 of 1,000 mixed parallel calls of 20 people, many broken off, none is answered for somebody else', async () => {
  const people = 20;
  const world = await startWorld({
    simulators: { extraPeople: people },
    // All of it shares one process: a burst of sign-ins must not look like a store that is away.
    config: (input) => ({ ...input, store: { ...(input.store as object), deadline: '5s' } }),
  });
  const replica = await world.startReplica();
  const random = seededRandom(63);
  const dispatcher = new Agent();
  const signedIn = await Promise.all(
    world.simulators.people.slice(-people).map(async ({ username, subjects }) => {
      const ticket = (await world.signIn(username)).cookies('localhost').get('__Host-coatcheck');
      return { subjects, cookie: `__Host-coatcheck=${ticket}` };
    }),
  );
  const outcomes = { right: 0, wrong: 0, aborted: 0, faulty: 0 };
  const call = async ({ subjects, cookie }: (typeof signedIn)[number]): Promise<void> => {
    const paths = [
      ['/api/eln/echo', subjects.notebook],
      ['/api/eln/entities', subjects.notebook],
      ['/api/systems/employees/me', subjects.identity],
      ['/auth/session', subjects.identity],
    ] as const;
    const [path, subject] = paths[Math.floor(random() * paths.length)] ?? paths[0];
    const base = random() < 0.5 ? world.publicUrl : replica.address;
    const signal = random() < 0.3 ? AbortSignal.timeout(Math.ceil(random() * 20)) : null;
    try {
      const { statusCode, headers, body } = await request(base + path, {
        headers: { cookie },
        signal,
        dispatcher,
      });
      const text = await body.text();
      if (statusCode !== 200) outcomes.faulty += 1;
      else {
        const seen =
          headers['x-seen-subject'] ?? (JSON.parse(text) as { user: { subject: string } }).user.subject;
        outcomes[seen === subject && text.includes(subject) ? 'right' : 'wrong'] += 1;
      }
    } catch (error) {
      if (!signal?.aborted) throw error;
      outcomes.aborted += 1;
    }
  };
  for (let round = 0; round < 10; round += 1) {
    await Promise.all(signedIn.flatMap((one) => [one, one, one, one, one].map(call)));
  }
  expect(outcomes).toMatchObject({ wrong: 0, faulty: 0 });
  expect(outcomes.right).toBeGreaterThan(300);
  expect(outcomes.aborted).toBeGreaterThan(20);
  // Connections that were opened for a call that was broken off would hold up the gateways' drain.
  await dispatcher.destroy();
  await world.close();
}, 60_000);
