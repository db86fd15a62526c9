/** Type tests: that this compiles is the assertion. The lines under `@ts-expect-error` must not. */
import {
  type AccessTokenResult,
  type Coatcheck,
  CoatcheckError,
  type ErrorCode,
  type LoadResult,
  type Session,
  type SessionStore,
  type SignedIn,
} from 'coatcheck';

declare const coatcheck: Coatcheck;
declare const loaded: LoadResult;
declare const token: AccessTokenResult;
declare const session: Session;
declare const signedIn: SignedIn;
declare const store: SessionStore;

// A result must be looked at before it is used: there is no session on `none`.
export const found: Session | undefined = loaded.kind === 'session' ? loaded.session : undefined;
// @ts-expect-error TS2339
export const unseen: Session = loaded.session;

// @ts-expect-error TS2339: a token is there only where the kind says so
export const unchecked: string = token.accessToken;

// Sessions are read-only.
// @ts-expect-error TS2540
session.idleDeadlineMs = 0;

// The codes are a closed set.
export const code: ErrorCode = 'store_unavailable';
// @ts-expect-error TS2322
export const unknown: ErrorCode = 'store_is_down';
// @ts-expect-error TS2345
export const refused: CoatcheckError = new CoatcheckError('store_is_down');

// A provider is named by text, a session is not; and without its ticket it gives no token.
export const result: Promise<AccessTokenResult> = coatcheck.sessions.accessToken(signedIn, 'notebook');
// @ts-expect-error TS2345
export const confused: Promise<AccessTokenResult> = coatcheck.sessions.accessToken('notebook', signedIn);
// @ts-expect-error TS2345
export const ticketless: Promise<AccessTokenResult> = coatcheck.sessions.accessToken(session, 'notebook');

// A miss and a fault are different things: read answers the first and throws the second.
export const reading: Promise<'found' | 'miss' | 'unreadable'> = store.read('id').then(({ kind }) => kind);
