/** One server, without replicas: what an operator does to it, and what a network does. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { freePort } from '../../../demo/free-ports.ts';
import { type Authority, createAuthority } from '../../certificates.ts';
import { ask, type RedisServer, startRedisServer, until } from '../../redis-server.ts';
import { type BareAddress, missingAt, probeBarely } from './bare-client.ts';
import type { Play, Scenario } from './play.ts';
import { startSwallowingProxy } from './swallowing-proxy.ts';

const key = 'cc:probe';

async function isUp(server: RedisServer): Promise<void> {
  await until('the server answers', async () => (await ask(server, 'PING')) === 'PONG');
}

/** What all of them have in common; `address` is asked anew each time, as an operator may have changed it. */
function common(server: RedisServer, address: () => BareAddress): Pick<Play, 'probe' | 'missing' | 'mend'> {
  return {
    probe: () => probeBarely(address(), { key }),
    missing: (sessionIds) => missingAt(address(), sessionIds),
    mend: () => isUp(server),
  };
}

async function startEmptied(): Promise<Play> {
  const server = await startRedisServer();
  return {
    store: { url: server.url },
    ...common(server, () => server),
    async strike() {
      await server.kill('SIGKILL');
      await delay(1500);
      await server.restart();
    },
    stop: () => server.stop(),
  };
}

/** Each connection of the fleet, and the bare client's, five times within half a second. */
async function killClients(server: RedisServer): Promise<void> {
  for (let time = 0; time < 5; time += 1) {
    await ask(server, 'CLIENT', 'KILL', 'TYPE', 'normal');
    await delay(100);
  }
}

async function startKilledClients(): Promise<Play> {
  const server = await startRedisServer();
  return {
    store: { url: server.url },
    ...common(server, () => server),
    strike: () => killClients(server),
    stop: () => server.stop(),
  };
}

async function startSwallowed(): Promise<Play> {
  const server = await startRedisServer();
  const proxy = await startSwallowingProxy(server.port);
  return {
    store: { url: `redis://127.0.0.1:${proxy.port}` },
    ...common(server, () => proxy),
    async strike() {
      proxy.swallow();
      await delay(3500);
      proxy.heal();
    },
    async stop() {
      await proxy.close();
      await server.stop();
    },
  };
}

/** How long the fleet has to do without what it needs, where an operator is late. */
const lateMs = 1500;

async function startCertificates(): Promise<Play> {
  const authorities: Authority[] = [];
  const directory = mkdtempSync(join(tmpdir(), 'coatcheck-failover-'));
  const caFile = join(directory, 'ca.pem');
  /** A certificate of a new authority. Takes a moment, and all of this process, so it is done beforehand. */
  const make = (): { readonly ca: string; readonly certFile: string; readonly keyFile: string } => {
    const authority = createAuthority();
    authorities.push(authority);
    return { ...authority.issue('IP:127.0.0.1', 2), ca: readFileSync(authority.caFile, 'utf8') };
  };
  const trust = (...cas: readonly string[]): void => writeFileSync(caFile, cas.join(''));
  let present = make();
  let made = [make(), make()] as const;
  trust(present.ca);
  const port = await freePort();
  const files = ['--tls-cert-file', present.certFile, '--tls-key-file', present.keyFile];
  const server = await startRedisServer({
    args: ['--tls-port', String(port), ...files, '--tls-auth-clients', 'no'],
  });
  const install = async (next: typeof present): Promise<void> => {
    await ask(server, 'CONFIG', 'SET', 'tls-cert-file', next.certFile, 'tls-key-file', next.keyFile);
    await killClients(server);
  };
  return {
    store: { url: `rediss://127.0.0.1:${port}`, caFile },
    ...common(server, () => ({ port, ca: readFileSync(caFile, 'utf8') })),
    async strike() {
      const [inOrder, late] = made;
      trust(present.ca, inOrder.ca);
      await install(inOrder);
      trust(inOrder.ca);
      await delay(1000);
      await install(late);
      await delay(lateMs);
      trust(late.ca);
      present = late;
    },
    async mend() {
      made = [make(), make()];
    },
    async stop() {
      await server.stop();
      for (const authority of authorities) authority.remove();
      rmSync(directory, { recursive: true });
    },
  };
}

async function startPasswords(): Promise<Play> {
  const server = await startRedisServer();
  const directory = mkdtempSync(join(tmpdir(), 'coatcheck-failover-'));
  const passwordFile = join(directory, 'password');
  const rules = ['on', '~cc:*', '+@all', '-@dangerous', '+info'];
  let number = 1;
  const present = (): string => `password-${number}`;
  await ask(server, 'ACL', 'SETUSER', 'apps', ...rules, `>${present()}`);
  writeFileSync(passwordFile, present());
  /** Takes the former password away, and ends what came in by it. */
  const drop = async (former: string): Promise<void> => {
    await ask(server, 'ACL', 'SETUSER', 'apps', `<${former}`);
    await ask(server, 'CLIENT', 'KILL', 'USER', 'apps').catch(() => undefined);
  };
  /** The password that was and the one that now is valid too. */
  const add = async (): Promise<string> => {
    const former = present();
    number += 1;
    await ask(server, 'ACL', 'SETUSER', 'apps', `>${present()}`);
    return former;
  };
  return {
    store: { url: server.url.replace('//', '//apps@'), passwordFile },
    ...common(server, () => ({
      port: server.port,
      username: 'apps',
      password: readFileSync(passwordFile, 'utf8'),
    })),
    async strike() {
      const first = await add();
      writeFileSync(passwordFile, present());
      await drop(first);
      await delay(1000);
      await drop(await add());
      await delay(lateMs);
      writeFileSync(passwordFile, present());
    },
    async stop() {
      await server.stop();
      rmSync(directory, { recursive: true });
    },
  };
}

/** Every one of them. */
export const singleScenarios: readonly Scenario[] = [
  {
    name: 'emptied',
    topology: 'single',
    what: 'SIGKILL; 1.5 s later it starts again, with nothing in it',
    empties: true,
    quick: true,
    start: startEmptied,
  },
  {
    name: 'client-kill',
    topology: 'single',
    what: '`CLIENT KILL` of every connection, five times within half a second',
    quick: true,
    start: startKilledClients,
  },
  {
    name: 'black-hole',
    topology: 'single',
    what: 'For 3.5 s a proxy swallows all bytes, over old and new connections; old ones stay dead and open',
    quick: true,
    start: startSwallowed,
  },
  {
    name: 'certificate-swap',
    topology: 'single',
    what: 'A certificate of a new authority, and all connections killed: first in the right order, then with `caFile` 1.5 s late',
    start: startCertificates,
  },
  {
    name: 'password-rotation',
    topology: 'single',
    what: 'A new ACL password, and all connections killed: first in the right order, then with `passwordFile` 1.5 s late',
    start: startPasswords,
  },
];
