import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { countLost, type Member, signInCrowd, signInMember } from './crowd.ts';
import { describeLoad, Load } from './load.ts';
import { Orchestrator } from './orchestrator.ts';

const people = 40;
const [k1, k2] = ['k1', 'k2'].map((id) => ({ id, secret: randomBytes(32).toString('base64') }));

let fleet: Orchestrator;
let crowd: Member[];
beforeAll(async () => {
  fleet = await Orchestrator.start({
    simulators: { extraPeople: 10 * people },
    config: () => ({ keys: [k1] }),
  });
  crowd = await signInCrowd(fleet, people);
});
afterAll(() => fleet?.close());

const nobodyLost = (): Record<string, number> => Object.fromEntries(fleet.names.map((name) => [name, 0]));

test('S-067 a new sealing key, rolled out under load while people sign in, signs nobody out', async () => {
  const systemsAudience = fleet.simulators.systems.audience;
  const load = new Load({ url: fleet.url, crowd, systemsAudience, concurrency: 8 });
  onTestFinished(async () => void (await load.stop()));
  const newcomers: Member[] = [];
  let rotating = true;
  const rotate = async (): Promise<void> => {
    // Every replica must know the new key before the first one seals with it.
    await fleet.replaceAll({ keys: [k1, k2] });
    await fleet.replaceAll({ keys: [k2, k1] });
    rotating = false;
  };
  const keepSigningIn = async (): Promise<void> => {
    for (const person of fleet.simulators.people.slice(4, -people)) {
      if (!rotating) return;
      const member = await signInMember(fleet, person);
      newcomers.push(member);
      load.add(member);
    }
  };
  await Promise.all([rotate(), keepSigningIn()]);
  const report = await load.stop();
  console.log(`keys rotated on 3 replicas, ${newcomers.length} signed in meanwhile: ${describeLoad(report)}`);
  expect(report).toMatchObject({ wrong: [], redirected: [], unauthorized: [], failed: [] });
  expect(newcomers.length).toBeGreaterThan(0);
  expect(await countLost(fleet, [...crowd, ...newcomers])).toEqual(nobodyLost());
});

test('S-067 the old key taken away ends the sessions that it sealed, and no other', async () => {
  const after = await signInMember(fleet, fleet.simulators.people[0] ?? never());
  await fleet.replaceAll({ keys: [k2] });
  expect(await countLost(fleet, [after])).toEqual(nobodyLost());
  const lost = Object.fromEntries(fleet.names.map((name) => [name, crowd.length]));
  expect(await countLost(fleet, crowd)).toEqual(lost);
});

function never(): never {
  throw new RangeError('there are always demo people');
}
