/** What is in every session of every contender: a person, and two tokens of 1,200 characters with what is known of them. */
import { randomBytes } from 'node:crypto';

/** Of sessions, everywhere. */
export const idleTimeoutMs = 3_600_000;

const tokenExpiresAtMs = Date.now() + 8 * idleTimeoutMs;

/** Plain JSON, as an app would put it into `request.session`. */
export const sessionContent = (number, tokenCharacters = 1200) => {
  const tokens = (name) => ({
    issuer: `https://${name}.example.com`,
    subject: `person-${number}`,
    scope: 'openid profile email',
    accessTokenExpiresAtMs: tokenExpiresAtMs,
    accessToken: randomBytes(tokenCharacters).toString('base64url').slice(0, tokenCharacters),
  });
  return {
    user: {
      issuer: 'https://identity.example.com',
      subject: `person-${number}`,
      claims: { name: 'Ada Lovelace', email: `person-${number}@example.com` },
    },
    tokenSets: { identity: tokens('identity'), notebook: tokens('notebook') },
  };
};

/** What every endpoint answers: it shows whose session it was, and that both tokens were at hand. */
export const answerTo = (subject, one, other) =>
  JSON.stringify({ subject, tokenCharacters: one.length + other.length });

/** The answer on bare `node:http` and on Express alike. */
export const respond = (response, body) => {
  response.writeHead(200, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) });
  response.end(body);
};

/** The answer where nobody is signed in. */
export const refuse = (response) => {
  response.writeHead(401, { 'content-length': 0 });
  response.end();
};
