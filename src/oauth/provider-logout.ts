import * as client from 'openid-client';
import type { CoatcheckError } from '../errors.ts';
import type { ProviderOptions } from './provider.ts';
import { providerFault } from './provider-fault.ts';
import type { ProviderSettings } from './provider-settings.ts';

/** What is asked of a provider when a session has ended. */

/** What a provider is told of a session that has ended. */
export interface EndedSession {
  /** Comes back with the browser. */
  readonly state: string;
  readonly idToken: string | undefined;
}

/** A form, so that the ID token stands in no address. */
export interface EndSessionForm {
  readonly kind: 'form';
  readonly action: string;
  readonly fields: Readonly<Record<string, string>>;
}

/** How the browser gets to the provider. */
export type EndSessionRequest = EndSessionForm | { readonly kind: 'redirect'; readonly location: string };

/** A token, after its name in RFC 7009 §2.1. */
export type RevocableToken = readonly [hint: 'access_token' | 'refresh_token', token: string];

/** The answer to `revoke`. */
export type RevocationAnswer =
  /** The token is worth nothing any more; or never was. */
  | { readonly kind: 'revoked' }
  /** The provider does not do that, or is not to be asked. */
  | { readonly kind: 'not-offered' }
  /** It may be valid yet (RFC 7009 §2.2.1): to be tried again. */
  | { readonly kind: 'unavailable'; readonly error: CoatcheckError }
  /** To ask again changes nothing. */
  | { readonly kind: 'refused'; readonly error: CoatcheckError };

/** Never throws. */
export async function revokeToken(
  { name, config }: ProviderOptions,
  configuration: ProviderSettings['current'],
  [hint, token]: RevocableToken,
): Promise<RevocationAnswer> {
  if (!config.revokeAtLogout) return { kind: 'not-offered' };
  try {
    const settings = await configuration();
    if (settings.serverMetadata().revocation_endpoint === undefined) return { kind: 'not-offered' };
    await client.tokenRevocation(settings, token, { token_type_hint: hint });
    return { kind: 'revoked' };
  } catch (thrown) {
    const error = providerFault(name, thrown);
    return { kind: error.retryable ? 'unavailable' : 'refused', error };
  }
}

/** `undefined` where the provider offers none. */
export function endSessionRequest(
  { config, redirectUri }: ProviderOptions,
  settings: client.Configuration,
  { state, idToken }: EndedSession,
): EndSessionRequest | undefined {
  if (settings.serverMetadata().end_session_endpoint === undefined) return undefined;
  const post_logout_redirect_uri = new URL('/auth/logged-out', redirectUri).href;
  const url = client.buildEndSessionUrl(settings, { post_logout_redirect_uri, state });
  if (config.endSession === 'confirm' || idToken === undefined)
    return { kind: 'redirect', location: url.href };
  const fields = { ...Object.fromEntries(url.searchParams), id_token_hint: idToken };
  return { kind: 'form', action: url.origin + url.pathname, fields };
}
