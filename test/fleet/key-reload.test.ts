import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { countLost, type Member, signInCrowd, signInMember } from './crowd.ts';
import { describeLoad, Load } from './load.ts';
import { Orchestrator } from './orchestrator.ts';

const people = 20;
const [k1, k2] = ['k1', 'k2'].map((id) => ({ id, secret: randomBytes(32).toString('base64') }));

let fleet: Orchestrator;
let crowd: Member[];
beforeAll(async () => {
  fleet = await Orchestrator.start({
    simulators: { extraPeople: 10 * people },
    config: () => ({ keys: [k1], log: { level: 'info' } }),
  });
  crowd = await signInCrowd(fleet, people);
});
afterAll(() => fleet?.close());

test('S-138 a sealing key is rotated under load by SIGHUP alone, and nobody is signed out', async () => {
  const before = fleet.names;
  const systemsAudience = fleet.simulators.systems.audience;
  const load = new Load({ url: fleet.url, crowd, systemsAudience, concurrency: 6 });
  onTestFinished(async () => void (await load.stop()));
  const newcomers: Member[] = [];
  const signIn = async (at: number): Promise<void> => {
    const person = fleet.simulators.people[4 + at];
    if (person === undefined) throw new RangeError('too few people');
    const member = await signInMember(fleet, person);
    newcomers.push(member);
    load.add(member);
  };
  let signedIn = 0;
  // Every replica must know the new key before the first one seals with it.
  for (const keys of [
    [k1, k2],
    [k2, k1],
  ]) {
    for (const name of fleet.names) {
      await fleet.reload(name, { keys });
      await signIn(signedIn);
      signedIn += 1;
    }
  }
  const report = await load.stop();
  console.log(
    `keys rotated by SIGHUP on 3 replicas, ${signedIn} signed in meanwhile: ${describeLoad(report)}`,
  );
  expect(report).toMatchObject({ wrong: [], redirected: [], unauthorized: [], failed: [] });
  expect(fleet.names).toEqual(before);
  const nobody = Object.fromEntries(before.map((name) => [name, 0]));
  expect(await countLost(fleet, [...crowd, ...newcomers])).toEqual(nobody);

  // It was the new key that sealed at the end: without the old one the last newcomer stays, the crowd goes.
  for (const name of fleet.names) await fleet.reload(name, { keys: [k2] });
  expect(await countLost(fleet, newcomers.slice(-1))).toEqual(nobody);
  const all = Object.fromEntries(before.map((name) => [name, crowd.length]));
  expect(await countLost(fleet, crowd)).toEqual(all);
});
