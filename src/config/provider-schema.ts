/** What is written about one authorization server, and about us as its client. */
import * as z from 'zod';
import type { ProviderConfig } from '../config.ts';
import {
  about,
  choice,
  claimName,
  duration,
  filePath,
  flag,
  mapping,
  matching,
  text,
  webAddress,
} from './field.ts';

const endpoint = webAddress({ query: true });
const signatureAlgorithm = choice(
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
  'EdDSA',
);

const protocolParameters: ReadonlySet<string> = new Set(
  'client_id client_secret redirect_uri response_type response_mode scope state nonce code_challenge code_challenge_method request request_uri max_age acr_values'.split(
    ' ',
  ),
);
const parameterName = text({ form: 'parameter name' }, (value) => {
  if (protocolParameters.has(value)) return 'a parameter that the protocol does not set itself';
  return /^[\w.-]{1,64}$/.test(value) ? undefined : 'parameter name of letters, digits, _ . -';
});

/** One authorization server. */
export const provider: z.ZodType<ProviderConfig> = z
  .strictObject({
    issuer: about('Issuer identifier, exactly as the provider writes it (RFC 8414 §2).', webAddress()),
    clientId: about('Name under which the provider knows us.', matching(/^[ -~]{1,512}$/, 'text')),
    clientSecret: about(
      'Our secret with the provider. Only and always with `client_secret_basic` and `client_secret_post`.',
      text({ form: 'text', secret: 'whole' }, (value) =>
        /^[ -~]{1,1024}$/.test(value) ? undefined : 'printable ASCII on one line',
      ),
    ).exactOptional(),
    clientAuthentication: about(
      'How we prove to be the client: with a secret (RFC 6749 §2.3.1), a signed assertion (RFC 7523 §2.2) or a certificate (RFC 8705 §2). `none` is for public clients.',
      choice(
        'client_secret_basic',
        'client_secret_post',
        'private_key_jwt',
        'tls_client_auth',
        'self_signed_tls_client_auth',
        'none',
      ),
    ).prefault('client_secret_basic'),
    clientKeyFile: about(
      'Our private key in PEM, or as a JWK: RSA of at least 2048 bits, EC or Ed25519. Only and always with `private_key_jwt` and the certificates. Read anew for each use, so it can be replaced while we run.',
      filePath(),
    ).exactOptional(),
    clientKeyId: about(
      'Name (`kid`) under which the provider knows the key. Only with `private_key_jwt`. Default: the one that a JWK carries.',
      matching(/^[!-~]{1,256}$/, 'text without spaces'),
    ).exactOptional(),
    clientKeyAlgorithm: about(
      'Algorithm that our assertions are signed with. Only and always with `private_key_jwt`.',
      signatureAlgorithm,
    ).exactOptional(),
    clientCertificateFile: about(
      'Our certificate in PEM, followed by its chain. Only and always with `tls_client_auth` and `self_signed_tls_client_auth`. Read anew for each use.',
      filePath(),
    ).exactOptional(),
    pushedAuthorizationRequests: about(
      'When authorization requests are pushed to the provider rather than written into an address (RFC 9126). Where the provider announces that it requires this, it is always done.',
      choice('if-required', 'if-offered', 'always'),
    ).prefault('if-required'),
    scope: about(
      'Scopes to ask for (RFC 6749 §3.3). With `openid` an ID token is required and verified.',
      matching(/^[!#-[\]-~]+( [!#-[\]-~]+)*$/, 'scopes separated by single spaces'),
    ).prefault('openid profile email'),
    discovery: about(
      'Whether endpoints come from the provider’s own metadata. With `false` they are given here.',
      flag(),
    ).prefault(true),
    authorizationEndpoint: about('Only and always with `discovery: false`.', endpoint).exactOptional(),
    tokenEndpoint: about('Only and always with `discovery: false`.', endpoint).exactOptional(),
    jwksUri: about(
      'Key set for ID tokens. Only with `discovery: false`, and always there if `scope` has `openid`.',
      endpoint,
    ).exactOptional(),
    userinfoEndpoint: about('Only with `discovery: false`.', endpoint).exactOptional(),
    pushedAuthorizationRequestEndpoint: about(
      'Only with `discovery: false`, and always there if `pushedAuthorizationRequests` is `always`.',
      endpoint,
    ).exactOptional(),
    revocationEndpoint: about(
      'Where tokens are taken back (RFC 7009). Only with `discovery: false`.',
      endpoint,
    ).exactOptional(),
    revokeAtLogout: about(
      'Whether tokens are revoked at logout, where the provider offers that (RFC 7009). `false` where the provider would end the person’s other sessions with them.',
      flag(),
    ).prefault(true),
    endSessionEndpoint: about(
      'Where the browser asks the provider to end its own session. Only with `discovery: false`.',
      endpoint,
    ).exactOptional(),
    endSession: about(
      'Whether a logout here also ends the person’s session at the provider, and with it their sign-in to other apps (OpenID Connect RP-Initiated Logout 1.0). With `confirm` the provider asks the person; with `hint` it is sent the ID token, by a form, and may go without asking: for providers that take that by POST. The provider must know `<publicUrl>/auth/logged-out` as a post-logout redirect address.',
      choice('off', 'confirm', 'hint'),
    ).prefault('off'),
    backchannelLogout: about(
      'Whether this provider may end sessions by logout tokens (OpenID Connect Back-Channel Logout 1.0), sent to `<publicUrl>/auth/backchannel-logout/<name>`. The whole session ends, whichever provider says so. Needs `openid` in `scope`.',
      flag(),
    ).prefault(false),
    idTokenSignedResponseAlg: about(
      'The one signature algorithm accepted on ID tokens.',
      signatureAlgorithm,
    ).prefault('RS256'),
    maxAge: about(
      'The person must have proved to the provider who they are within this time, and the ID token must say so (`max_age`, OpenID Connect Core §3.1.2.1).',
      duration(0, 30 * 86_400_000),
    ).exactOptional(),
    acrValues: about(
      'Ways of proving it, the most wanted first. The ID token must name one of them (`acr_values`, `acr`).',
      z.array(matching(/^[!-~]{1,256}$/, 'text without spaces')).min(1),
    ).exactOptional(),
    userinfo: about(
      'Whether to ask the userinfo endpoint about the person and compare its `sub`. Default: true, except where `discovery: false` comes without `userinfoEndpoint`.',
      flag(),
    ).exactOptional(),
    sameUser: about(
      'Claim whose value must equal that of the first provider, so that nobody mixes two people into one session. Required on every later provider of `login`. `dangerously-anyone` compares nothing.',
      claimName(),
    ).exactOptional(),
    authorizationParameters: about(
      'Fixed extra parameters of the authorization request, such as `prompt` or `audience`.',
      mapping(parameterName, matching(/^[ -~]{1,1024}$/, 'text')),
    ).prefault({}),
    accessTokenLifetime: about(
      'How long access tokens last where the provider’s answers lack `expires_in`. Default: as long as the session may.',
      duration(1000, 30 * 86_400_000),
    ).exactOptional(),
    refreshTokenLifetime: about(
      'How long a person’s refresh tokens last from sign-in on, however often they are used. Default: what the provider tells (`refresh_token_expires_in`, `refresh_expires_in`), or as long as the session may.',
      duration(60_000, 365 * 86_400_000),
    ).exactOptional(),
    refreshTokenIdleTimeout: about(
      'How long a refresh token lasts without being used, such as `30d`. Default: as above.',
      duration(60_000, 365 * 86_400_000),
    ).exactOptional(),
    timeout: about('The longest wait for one answer of the provider.', duration(100, 60_000)).prefault('5s'),
  })
  .transform(
    ({
      timeout,
      userinfo,
      maxAge,
      accessTokenLifetime,
      refreshTokenLifetime,
      refreshTokenIdleTimeout,
      ...rest
    }): ProviderConfig => ({
      ...rest,
      ...(accessTokenLifetime !== undefined && { accessTokenLifetimeMs: accessTokenLifetime }),
      ...(refreshTokenLifetime !== undefined && { refreshTokenLifetimeMs: refreshTokenLifetime }),
      ...(refreshTokenIdleTimeout !== undefined && { refreshTokenIdleTimeoutMs: refreshTokenIdleTimeout }),
      ...(maxAge === undefined ? {} : { maxAgeMs: maxAge }),
      userinfo: userinfo ?? (rest.discovery || rest.userinfoEndpoint !== undefined),
      timeoutMs: timeout,
    }),
  );
