import { randomBytes } from 'node:crypto';
import { Writable } from 'node:stream';
import { onTestFinished } from 'vitest';
import { freePort } from '../../demo/free-ports.ts';
import type { CoatcheckOptions } from '../../src/coatcheck.ts';
import { parseConfig } from '../../src/config.ts';
import { type Gateway, startGateway } from '../../src/gateway/server.ts';
import { type FakeProvider, type Json, startFakeProvider } from '../fake-provider.ts';
import { type Answer, Person } from '../person.ts';

/** One gateway and its scripted providers, for one test. */
export interface Stage {
  readonly publicUrl: string;
  /** The first provider of the login. */
  readonly first: FakeProvider;
  /** The second; not part of the login unless asked for. */
  readonly second: FakeProvider;
  readonly logLines: string[];
  /** Another gateway with the same configuration. */
  startReplica(): Promise<Gateway>;
}

/** Options of {@link startStage}. */
export interface StageOptions {
  /** Whether the login asks both providers. Default false. */
  readonly both?: boolean;
  /** Changes of the first provider's configuration. */
  readonly provider?: (first: FakeProvider) => Json;
  /** Changes of the second provider's configuration. */
  readonly later?: Json;
  /** Changes of the whole configuration. */
  readonly config?: Json;
  readonly coatcheck?: CoatcheckOptions;
}

/** Starts a stage and ends it with the test. Both providers give the same person unless told otherwise. */
export async function startStage(options: StageOptions = {}): Promise<Stage> {
  const [port, first, second] = await Promise.all([freePort(), startFakeProvider(), startFakeProvider()]);
  const publicUrl = `http://localhost:${port}`;
  const input = {
    publicUrl,
    listen: { host: '127.0.0.1', port, adminHost: '127.0.0.1', adminPort: 0 },
    store: { url: 'memory://' },
    keys: [{ id: 'k1', secret: randomBytes(32).toString('base64') }],
    providers: {
      first: first.config({ timeout: '1s', ...options.provider?.(first) }),
      second: second.config({ sameUser: 'email', timeout: '1s', ...options.later }),
    },
    login: options.both ? ['first', 'second'] : ['first'],
    limits: { drainDelay: '0ms' },
    log: { level: 'debug' },
    ...options.config,
  };
  const logLines: string[] = [];
  const logDestination = new Writable({
    write(chunk: Buffer, _encoding, done) {
      logLines.push(chunk.toString());
      done();
    },
  });
  const gateways: Gateway[] = [];
  const start = async (listen: Json): Promise<Gateway> => {
    const config = parseConfig({ ...input, listen }, {});
    const gateway = await startGateway(config, { logDestination, ...options.coatcheck });
    gateways.push(gateway);
    return gateway;
  };
  onTestFinished(async () => {
    await Promise.all([...gateways, first, second].map((part) => part.close()));
  });
  await start(input.listen);
  return {
    publicUrl,
    first,
    second,
    logLines,
    startReplica: () => start({ ...input.listen, port: 0 }),
  };
}

/** A browser without fetch metadata: the gateway's faults come as problem documents, whose `code` tests can read. */
export function newBrowser(): Person {
  return new Person({ fetchMetadata: false });
}

/** Starts a login; the address at the provider to which the browser is sent. */
export async function begin(browser: Person, { publicUrl }: Stage, query = ''): Promise<URL> {
  const answer = await browser.get(`${publicUrl}/auth/login${query}`);
  if (answer.headers.location === undefined) throw new Error(`no redirect but ${answer.body}`);
  return new URL(answer.headers.location);
}

/** Signs in at a fake provider; the callback to which it sends the browser. */
export async function authorize(address: URL | string): Promise<URL> {
  const response = await fetch(address, { redirect: 'manual' });
  return new URL(response.headers.get('location') ?? '');
}

/** Goes through a whole login; the gateway's last answer. */
export async function attempt(browser: Person, { publicUrl }: Stage): Promise<Answer> {
  let answer = await browser.get(`${publicUrl}/auth/login?return_to=/here`);
  for (let location = answer.headers.location; location?.startsWith('http'); ) {
    answer = await browser.get((await authorize(location)).href);
    location = answer.headers.location;
  }
  return answer;
}

/** Status and code of a refusal, and whether the browser has got a session nevertheless. */
export async function outcome(browser: Person, stage: Stage, answer: Answer): Promise<unknown[]> {
  const refused = answer.headers['content-type'] === 'application/problem+json';
  const session = await browser.get(`${stage.publicUrl}/auth/session`);
  return [
    answer.status,
    refused ? answer.json<{ code: string }>().code : answer.headers.location,
    session.status === 200 ? 'signed in' : 'nobody',
  ];
}

/** The outcome of a login that succeeds. */
export const signedIn: readonly unknown[] = [303, '/here', 'signed in'];
