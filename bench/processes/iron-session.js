/** iron-session on bare `node:http`: the whole session sealed in the cookie, so no store, and no way to end one early. */
import { createServer } from 'node:http';
import { getIronSession, sealData } from 'iron-session';
import { announce, eachSession, listen } from './contender.js';
import { answerTo, idleTimeoutMs, refuse, respond, sessionContent } from './content.js';

const settings = {
  password: 'a secret of the benchmark, 32 characters',
  cookieName: 'session',
  ttl: idleTimeoutMs / 1000,
};

const server = createServer(async (request, response) => {
  const { user, tokenSets } = await getIronSession(request, response, settings);
  if (user === undefined) return refuse(response);
  respond(response, answerTo(user.subject, tokenSets.identity.accessToken, tokenSets.notebook.accessToken));
});

const cookies = await eachSession(
  async (number) => `session=${await sealData(sessionContent(number), settings)}`,
);
announce(await listen(server), cookies);
