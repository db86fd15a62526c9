import type { Coatcheck } from '../coatcheck.ts';
import { CoatcheckError } from '../errors.ts';
import type { Session } from '../session/session.ts';
import { type Answer, json } from './answer.ts';
import { type AuthRequest, type AuthRoute, logOut, refuseUnlessOurs } from './auth-routes.ts';
import { accessSession, requireSession } from './session-access.ts';
import { describePersonSession } from './session-description.ts';

/** What people can do about their own sessions on other devices. */
export const personRoutes: readonly AuthRoute[] = [
  // Lists the person's sessions, newest first, with the one that asks marked; each with a reference, never an id.
  { method: 'GET', path: '/auth/sessions', answer: listSessions },
  // Ends one of them, by its reference; the one that asks is logged out.
  { method: 'POST', path: '/auth/sessions/:session/logout', answer: endSession },
  // Ends all but the one that asks, and whatever login of the person is under way.
  { method: 'POST', path: '/auth/logout-others', answer: endOthers },
  // Ends all of them, and logs out.
  { method: 'POST', path: '/auth/logout-everywhere', answer: endEverywhere },
];

async function listSessions(coatcheck: Coatcheck, request: AuthRequest): Promise<Answer> {
  const session = await sessionOf(coatcheck, request);
  const current = coatcheck.telemetry.sessionReference(session.id);
  const sessions = await coatcheck.people.list(session.user);
  return json(200, {
    sessions: sessions.map((one) => ({
      ...describePersonSession(one, coatcheck.config.session),
      current: one.reference === current,
    })),
  });
}

async function endSession(coatcheck: Coatcheck, request: AuthRequest): Promise<Answer> {
  const { user, id } = await ownSession(coatcheck, request);
  const { session: reference = '' } = request;
  if (reference === coatcheck.telemetry.sessionReference(id)) return logOut(coatcheck, request);
  if (!(await coatcheck.people.end(user, reference))) throw new CoatcheckError('not_found');
  return json(200, { ended: 1 });
}

async function endOthers(coatcheck: Coatcheck, request: AuthRequest): Promise<Answer> {
  const { user, id } = await ownSession(coatcheck, request);
  const ended = await coatcheck.people.endOthers(user, coatcheck.telemetry.sessionReference(id));
  // Ended by somebody else since it was loaded.
  if (ended === undefined) throw new CoatcheckError('no_session');
  return json(200, { ended });
}

async function endEverywhere(coatcheck: Coatcheck, request: AuthRequest): Promise<Answer> {
  const { user, id } = await ownSession(coatcheck, request);
  // The one that asks comes last: it can ask again until all others have ended, and only its own ticket opens its tokens.
  const others = await coatcheck.people.endOthers(user, coatcheck.telemetry.sessionReference(id));
  if (others === undefined) await coatcheck.people.endAll(user);
  return logOut(coatcheck, request);
}

/** For what changes something: only at the word of our own pages. */
function ownSession(coatcheck: Coatcheck, request: AuthRequest): Promise<Session> {
  refuseUnlessOurs(coatcheck, request.method, request.headers);
  return sessionOf(coatcheck, request);
}

async function sessionOf(coatcheck: Coatcheck, { headers }: AuthRequest): Promise<Session> {
  return requireSession(await accessSession(coatcheck, headers, '/auth/sessions'));
}
