/** Coatcheck's library on bare `node:http`. Its argument is the mode of the near cache. */
import { createServer } from 'node:http';
import { accessSession } from '../../dist/gateway/session-access.js';
import { createSession, openCoatcheck } from './coatcheck-sessions.js';
import { announce, eachSession, listen, redisUrl } from './contender.js';
import { answerTo, refuse, respond } from './content.js';

const coatcheck = await openCoatcheck(redisUrl, process.argv[2]);

const server = createServer(async (request, response) => {
  const access = await accessSession(coatcheck, request.headers, request.url);
  if (access.kind !== 'session') return refuse(response);
  const { session } = access;
  const identity = await coatcheck.sessions.accessToken(access, 'identity');
  const notebook = await coatcheck.sessions.accessToken(access, 'notebook');
  if (identity.kind !== 'token' || notebook.kind !== 'token') return refuse(response);
  respond(response, answerTo(session.user.subject, identity.accessToken, notebook.accessToken));
});

const cookies = await eachSession(
  async (number) => `__Host-coatcheck=${await createSession(coatcheck, number)}`,
);
announce(await listen(server), cookies);
