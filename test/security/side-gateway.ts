import { Writable } from 'node:stream';
import { type Coatcheck, type CoatcheckOptions, createCoatcheck } from '../../src/coatcheck.ts';
import { parseConfig } from '../../src/config.ts';
import { type Gateway, startGateway } from '../../src/gateway/server.ts';
import type { ConfigInput, World } from '../world.ts';

const listen = { host: '127.0.0.1', port: 0, adminHost: '127.0.0.1', adminPort: 0 };
const silence = (): Writable => new Writable({ write: (_chunk, _encoding, done) => done() });

/** Another gateway on a world's Redis whose configuration differs in some keys. */
export function startSideGateway(
  world: World,
  changes: ConfigInput,
  options: CoatcheckOptions = {},
): Promise<Gateway> {
  const config = parseConfig({ ...world.input, listen, ...changes }, {});
  return startGateway(config, { logDestination: silence(), ...options });
}

/** The parts of a gateway on a world's Redis, without its listeners. */
export function createSideCoatcheck(world: World, changes: ConfigInput = {}): Promise<Coatcheck> {
  return createCoatcheck(parseConfig({ ...world.input, ...changes }, {}), { logDestination: silence() });
}

/** Signs somebody in without a browser, and gives the cookie. */
export async function mintCookie({ sessions, now }: Coatcheck, subject: string): Promise<string> {
  const issuer = 'https://identity.example.com';
  const tokens = {
    issuer,
    subject,
    scope: 'openid',
    accessToken: `canary-token-of-${subject}`,
    refreshToken: `canary-refresh-token-of-${subject}`,
    accessTokenExpiresAtMs: now() + 900_000,
  };
  const claims = new Map([
    ['name', `canary-name-of-${subject}`],
    ['__proto__', 'canary-prototype'],
    ['constructor', 'canary-constructor'],
  ]);
  const user = { issuer, subject, claims };
  const { ticket } = await sessions.create({ user, tokenSets: new Map([['identity', tokens]]) });
  return `__Host-coatcheck=${ticket.value}`;
}
