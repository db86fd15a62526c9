/** What is written about one authorization server, and about us as its client. */
import * as z from 'zod';
import type { ProviderConfig } from '../config.ts';
import { about, choice, claimName, duration, flag, mapping, matching, text, webAddress } from './field.ts';

const endpoint = webAddress({ query: true });

const protocolParameters: ReadonlySet<string> = new Set(
  'client_id client_secret redirect_uri response_type response_mode scope state nonce code_challenge code_challenge_method request request_uri'.split(
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
      'Our secret with the provider. Required unless `clientAuthentication` is `none`.',
      text({ form: 'text', secret: 'whole' }, (value) =>
        /^[ -~]{1,1024}$/.test(value) ? undefined : 'printable ASCII on one line',
      ),
    ).exactOptional(),
    clientAuthentication: about(
      'How we prove to be the client at the token endpoint (RFC 6749 §2.3.1). `none` is for public clients.',
      choice('client_secret_basic', 'client_secret_post', 'none'),
    ).prefault('client_secret_basic'),
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
    idTokenSignedResponseAlg: about(
      'The one signature algorithm accepted on ID tokens.',
      choice('RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA'),
    ).prefault('RS256'),
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
    timeout: about('The longest wait for one answer of the provider.', duration(100, 60_000)).prefault('5s'),
  })
  .transform(
    ({ timeout, userinfo, ...rest }): ProviderConfig => ({
      ...rest,
      userinfo: userinfo ?? (rest.discovery || rest.userinfoEndpoint !== undefined),
      timeoutMs: timeout,
    }),
  );
