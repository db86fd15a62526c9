/**
 * express-session: no save of what is unchanged, no empty sessions, and the touch that keeps one alive. Its argument is where
 * sessions are: `redis`, `postgres` or `memory`.
 */
import { createServer } from 'node:http';
import { sign } from 'cookie-signature';
import express from 'express';
import session from 'express-session';
import { announce, eachSession, listen, postgresUrl, redisUrl } from './contender.js';
import { answerTo, idleTimeoutMs, refuse, respond, sessionContent } from './content.js';
import { openPostgresStore, openStore } from './peer-store.js';

const secret = 'a secret of the benchmark, 32 characters';
const opened = {
  redis: () => openStore(redisUrl),
  postgres: () => openPostgresStore(postgresUrl, session),
  memory: () => ({ store: new session.MemoryStore() }),
};
const { store, writtenBytes } = await opened[process.argv[2]]();

const app = express();
app.disable('x-powered-by');
app.use(
  session({
    store,
    secret,
    name: 'session',
    resave: false,
    saveUninitialized: false,
    cookie: { maxAge: idleTimeoutMs },
  }),
);
app.get('/', (request, response) => {
  const { user, tokenSets } = request.session;
  if (user === undefined) return refuse(response);
  respond(response, answerTo(user.subject, tokenSets.identity.accessToken, tokenSets.notebook.accessToken));
});

const keep = (id, content) =>
  new Promise((resolve, reject) => store.set(id, content, (fault) => (fault ? reject(fault) : resolve())));

const cookies = await eachSession(async (number) => {
  const id = `express-${number}-0123456789abcdef`;
  await keep(id, {
    cookie: new session.Cookie({ maxAge: idleTimeoutMs, originalMaxAge: idleTimeoutMs }),
    ...sessionContent(number),
  });
  return `session=${encodeURIComponent(`s:${sign(id, secret)}`)}`;
});
announce(await listen(createServer(app)), cookies, writtenBytes);
