import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { FastifyInstance } from 'fastify';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { stringify } from 'yaml';
import { freePort } from '../demo/free-ports.ts';
import { createApp } from '../examples/fastify.ts';
import { type Simulators, startSimulators } from '../sim/simulators.ts';
import { Person } from './person.ts';
import { usualConfig } from './world.ts';

let directory: string;
let publicUrl: string;
let simulators: Simulators;
let app: FastifyInstance;

beforeAll(async () => {
  const port = await freePort();
  publicUrl = `http://localhost:${port}`;
  simulators = await startSimulators({ publicUrls: [publicUrl] });
  directory = mkdtempSync(join(tmpdir(), 'coatcheck-example-'));
  const configFile = join(directory, 'coatcheck.yaml');
  writeFileSync(
    configFile,
    stringify({
      ...usualConfig({ publicUrl, port, redisUrl: 'memory://', simulators }),
      log: { level: 'silent' },
    }),
  );
  app = await createApp(configFile);
  await app.listen({ host: '127.0.0.1', port });
});

afterAll(async () => {
  await Promise.all([app.close(), simulators.close()]);
  rmSync(directory, { recursive: true });
});

test('the example sends a page visitor to sign in and brings them back', async () => {
  const person = new Person({ username: 'ada' });
  const answer = await person.follow(`${publicUrl}/`);
  expect([answer.status, answer.json()]).toEqual([200, { hello: 'Ada Lovelace' }]);
});

test("the example calls the notebook with the person's own token", async () => {
  const person = new Person({ username: 'gregor' });
  await person.signIn(publicUrl);
  const answer = await person.get(`${publicUrl}/notebook-entries`);
  const gregor = simulators.people.find(({ username }) => username === 'gregor');
  expect(answer.json()).toMatchObject({
    status: 200,
    entries: { seen: { subject: gregor?.subjects.notebook } },
  });
});

test('the example answers a script without session with a problem document', async () => {
  const answer = await new Person().get(`${publicUrl}/notebook-entries`);
  expect([answer.status, answer.headers['content-type']]).toEqual([401, 'application/problem+json']);
  expect(answer.json()).toMatchObject({ code: 'no_session', status: 401 });
});

test('errors of the app itself stay with the app', async () => {
  const answer = await new Person().get(`${publicUrl}/nowhere`);
  expect([answer.status, answer.json()]).toMatchObject([404, { error: 'Not Found' }]);
});
