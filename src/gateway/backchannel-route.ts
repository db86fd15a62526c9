import type { Coatcheck } from '../coatcheck.ts';
import { CoatcheckError } from '../errors.ts';
import { type Answer, securityHeaders } from './answer.ts';
import type { AuthRequest, AuthRoute } from './auth-routes.ts';

/** The endpoint that providers call. No browser does: neither cookie nor origin plays a part, the token alone counts. */
export const backchannelRoute: AuthRoute = {
  method: 'POST',
  path: '/auth/backchannel-logout/:provider',
  answer: takeLogoutToken,
};

/** OpenID Connect Back-Channel Logout 1.0 §2.5, §2.8. */
async function takeLogoutToken(
  coatcheck: Coatcheck,
  { provider = '', body = '' }: AuthRequest,
): Promise<Answer> {
  const [token, ...more] = new URLSearchParams(body).getAll('logout_token');
  if (token === undefined || more.length > 0) {
    throw new CoatcheckError('logout_token_invalid', { detail: 'the form has no logout_token, or several' });
  }
  await coatcheck.backchannelLogout.receive(provider, token);
  return { status: 200, headers: securityHeaders };
}
