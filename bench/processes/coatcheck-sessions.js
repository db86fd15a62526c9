/** A Coatcheck as the benchmark uses it, from the built package. */
import { createCoatcheck, parseConfig } from '../../dist/index.js';
import { idleTimeoutMs, sessionContent } from './content.js';

const provider = (name) => ({
  issuer: `https://${name}.example.com`,
  clientId: 'bench',
  clientAuthentication: 'none',
});

/** The same in every process, as in a fleet; it protects nothing here. */
const key = Buffer.alloc(32, 'bench').toString('base64');

/** `mode` of the near cache, and what else is to be set of it. */
export const openCoatcheck = (url, mode, nearCache = {}) =>
  createCoatcheck(
    parseConfig(
      {
        publicUrl: 'https://apps.example.com',
        store: { url, deadline: '5s', nearCache: { mode, ...nearCache } },
        keys: [{ id: 'bench', secret: key }],
        session: { idleTimeout: `${idleTimeoutMs / 1000}s` },
        providers: { identity: provider('identity'), notebook: { ...provider('notebook'), sameUser: 'sub' } },
        login: ['identity', 'notebook'],
        log: { level: 'silent' },
      },
      {},
    ),
  );

/** The cookie value of a new session. */
export const createSession = async (coatcheck, number, tokenCharacters) => {
  const { user, tokenSets } = sessionContent(number, tokenCharacters);
  const { ticket } = await coatcheck.sessions.create({
    user: { ...user, claims: new Map(Object.entries(user.claims)) },
    tokenSets: new Map(Object.entries(tokenSets)),
  });
  return ticket.value;
};
