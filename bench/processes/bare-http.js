/** The floor: `node:http` that answers without any session. */
import { createServer } from 'node:http';
import { announce, listen } from './contender.js';
import { answerTo, respond, sessionContent } from './content.js';

const { user, tokenSets } = sessionContent(0);
const server = createServer((_request, response) => {
  const { identity, notebook } = tokenSets;
  respond(response, answerTo(user.subject, identity.accessToken, notebook.accessToken));
});

announce(await listen(server), ['session=of-nobody']);
