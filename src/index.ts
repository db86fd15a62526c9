/** Coatcheck: several OAuth tokens per signed-in person, at any replica. */
export { type Coatcheck, type CoatcheckOptions, createCoatcheck } from './coatcheck.ts';
export { type Config, parseConfig, readConfig } from './config.ts';
export {
  CoatcheckError,
  type CoatcheckErrorOptions,
  type ErrorCode,
  type ErrorMeaning,
  errorRegistry,
} from './errors.ts';
export { type Gateway, startGateway } from './gateway/server.ts';
export type { Callback, Login, LoginStep } from './oauth/login.ts';
export type { Person, PersonSession, PersonSessions } from './person-sessions.ts';
export type { Session, TokenSet, TokenState, User } from './session/session.ts';
export type { SessionStore } from './session/store.ts';
export type {
  AccessTokenResult,
  LoadResult,
  NewSession,
  SessionManager,
  SignedIn,
} from './session-manager.ts';
