import { afterAll, beforeAll, expect, test } from 'vitest';
import { Person } from '../person.ts';
import { BrowserTrace } from './browser-trace.ts';
import { Orchestrator } from './orchestrator.ts';

let fleet: Orchestrator;
beforeAll(async () => {
  fleet = await Orchestrator.start();
});
afterAll(() => fleet?.close());

const replicasOf = ({ served }: BrowserTrace): string[] => served.map(({ replica }) => replica);

test('each step of a login and each request of its session is served by another replica', async () => {
  const trace = new BrowserTrace();
  const person = new Person({ username: 'ada', agent: trace.agent });
  expect((await person.signIn(fleet.url, '/auth/session')).status).toBe(200);
  expect(trace.served.map(({ url }) => url.pathname)).toEqual([
    '/auth/login',
    '/auth/callback/identity',
    '/auth/callback/notebook',
    '/auth/session',
  ]);
  for (let round = 0; round < 3; round += 1) {
    for (const path of ['/api/eln/entities', '/api/systems/employees/me', '/auth/session', '/auth/verify']) {
      expect((await person.get(`${fleet.url}${path}`)).status).toBeLessThan(300);
    }
  }
  expect((await person.request('POST', `${fleet.url}/auth/logout`)).status).toBe(303);
  for (const name of fleet.names) {
    const answer = await person.get(`${fleet.urlOf(name)}/auth/session`);
    expect(answer.status, `${name} after the logout`).toBe(401);
  }
  // Strict turns: whichever comes first, each is followed by the same other one.
  const served = replicasOf(trace).slice(0, 4 + 12 + 1);
  const [first, second, third] = served;
  expect(new Set([first, second, third])).toEqual(new Set(fleet.names));
  expect(served).toEqual(served.map((_, at) => [first, second, third][at % 3]));
  await trace.agent.close();
});

test('all replicas are replaced while a person is between the two providers, and the login completes', async () => {
  const former = fleet.names;
  const trace = new BrowserTrace();
  let replaced: string[] = [];
  trace.onRequest = (url) => {
    if (url.origin !== fleet.simulators.notebook.issuer || replaced.length > 0) return undefined;
    const replacing = fleet.replaceAll();
    return replacing.then((names) => {
      replaced = names;
    });
  };
  const person = new Person({ username: 'rosalind', agent: trace.agent });
  const answer = await person.signIn(fleet.url, '/auth/session');
  expect(answer.status).toBe(200);
  const rosalind = fleet.simulators.people.find(({ username }) => username === 'rosalind');
  expect(answer.json()).toMatchObject({ user: { subject: rosalind?.subjects.identity } });
  const served = replicasOf(trace);
  expect(served).toHaveLength(4);
  for (const replica of served.slice(0, 2)) expect(former).toContain(replica);
  for (const replica of served.slice(2)) expect(replaced).toContain(replica);
  expect(replaced.filter((name) => former.includes(name))).toEqual([]);
  await trace.agent.close();
});

test('all replicas are replaced before each step of a login, and it completes', async () => {
  const trace = new BrowserTrace();
  const person = new Person({ username: 'lise', agent: trace.agent });
  trace.onRequest = (url) => (url.pathname.startsWith('/auth/callback/') ? fleet.replaceAll() : undefined);
  expect((await person.signIn(fleet.url, '/auth/session')).status).toBe(200);
  expect(new Set(replicasOf(trace)).size).toBe(4);
  await trace.agent.close();
});
