/** @fastify/session with connect-redis. With the argument `rolling` (its default) every answer prolongs the session. */
import cookie from '@fastify/cookie';
import session from '@fastify/session';
import fastify from 'fastify';
import { announce, eachSession, redisUrl } from './contender.js';
import { answerTo, idleTimeoutMs, sessionContent } from './content.js';
import { openStore } from './peer-store.js';

const { store } = await openStore(redisUrl);

const app = fastify();
await app.register(cookie);
await app.register(session, {
  store,
  secret: 'a secret of the benchmark, 32 characters',
  cookieName: 'session',
  rolling: process.argv[2] === 'rolling',
  saveUninitialized: false,
  cookie: { maxAge: idleTimeoutMs, secure: false },
});
app.get('/sign-in/:number', (request) => {
  Object.assign(request.session, sessionContent(Number(request.params.number)));
  return {};
});
app.get('/', (request, reply) => {
  const { user, tokenSets } = request.session;
  if (user === undefined) return reply.code(401).send();
  return reply
    .header('content-type', 'application/json')
    .send(answerTo(user.subject, tokenSets.identity.accessToken, tokenSets.notebook.accessToken));
});

const cookies = await eachSession(async (number) => {
  const { headers } = await app.inject(`/sign-in/${number}`);
  return String(headers['set-cookie']).split(';', 1)[0];
});
await app.listen({ port: 0, host: '127.0.0.1' });
announce(app.server.address().port, cookies);
