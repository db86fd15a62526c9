import { expect, onTestFinished } from 'vitest';
import { createCoatcheck } from '../../src/coatcheck.ts';
import { parseConfig } from '../../src/config.ts';
import type { Session } from '../../src/session/session.ts';
import type { Json } from '../fake-provider.ts';

/** One process of a fleet, without its gateway: sessions by ticket. */
export interface SideReplica {
  /** Signs somebody in; the ticket. `previous` is the ticket that the browser had until now. */
  signIn(subject: string, previous?: string): Promise<string>;
  /** `undefined` where there is no session; a fault of the store is thrown. */
  load(ticket: string): Promise<Session | undefined>;
  destroy(ticket: string): Promise<boolean>;
}

/** What may differ between replicas. */
export interface SideReplicaOptions {
  /** `store` of the configuration. */
  readonly store: Json;
  readonly session?: Json;
  /** Unix time in ms. Default `Date.now`. */
  readonly now?: () => number;
}

const issuer = 'https://identity.example.com';
/** The same in every replica; it protects nothing here. */
const key = Buffer.alloc(32, 'replica').toString('base64');

/** Opens one, with the near cache as it is by default, until the test is over. */
export async function openReplica(options: SideReplicaOptions): Promise<SideReplica> {
  const { store, session = {}, now = Date.now } = options;
  const config = parseConfig(
    {
      publicUrl: 'https://apps.example.com',
      // A busy machine is not an outage.
      store: { acknowledgedBy: 0, deadline: '2s', ...store },
      session,
      keys: [{ id: 'k1', secret: key }],
      providers: { identity: { issuer, clientId: 'apps', clientAuthentication: 'none' } },
      login: ['identity'],
      log: { level: 'silent' },
    },
    {},
  );
  const coatcheck = await createCoatcheck(config, { now });
  onTestFinished(() => coatcheck.close());
  await expect.poll(() => coatcheck.storeState().connected, { timeout: 10_000 }).toBe(true);
  const { sessions } = coatcheck;
  return {
    async signIn(subject, previousTicket) {
      const accessToken = `token of ${subject}`;
      const accessTokenExpiresAtMs = now() + 86_400_000;
      const tokens = { issuer, subject, scope: 'openid', accessToken, accessTokenExpiresAtMs };
      const user = { issuer, subject, claims: new Map<string, string>() };
      const login = { user, tokenSets: new Map([['identity', tokens]]), previousTicket };
      return (await sessions.create(login)).ticket.value;
    },
    async load(ticket) {
      const loaded = await sessions.load(ticket);
      return loaded.kind === 'session' ? loaded.session : undefined;
    },
    destroy: (ticket) => sessions.destroy(ticket),
  };
}
