import { importPKCS8 } from 'jose';
import * as client from 'openid-client';
import type { ProviderConfig } from '../config.ts';
import { type ClientCertificate, readAssertionKey, readClientCertificate } from './client-key.ts';

/** How we prove to one provider that we are its client. */
export interface ClientAuthentication {
  /** Adds the proof to a request; anew for each. */
  readonly method: client.ClientAuth;
  /** What to show in the TLS handshake (RFC 8705 §2). Default: nothing. */
  readonly certificate?: () => ClientCertificate;
}

/** Throws `config_invalid` at once where key or certificate are no good; later, where they have become so. */
export function createClientAuthentication(name: string, config: ProviderConfig): ClientAuthentication {
  switch (config.clientAuthentication) {
    case 'client_secret_basic':
      return { method: (...request) => client.ClientSecretBasic(config.clientSecret)(...request) };
    case 'client_secret_post':
      return { method: (...request) => client.ClientSecretPost(config.clientSecret)(...request) };
    case 'private_key_jwt':
      return { method: privateKeyJwt(name, config) };
    case 'tls_client_auth':
    case 'self_signed_tls_client_auth': {
      const certificate = (): ClientCertificate => readClientCertificate(name, config);
      certificate();
      return { method: client.TlsClientAuth(), certificate };
    }
    case 'none':
      return { method: client.None() };
  }
}

/** Whether the client shows a certificate. */
export function usesCertificate({ clientAuthentication: method }: ProviderConfig): boolean {
  return method === 'tls_client_auth' || method === 'self_signed_tls_client_auth';
}

/** RFC 7523 §2.2, with an assertion of its own (`jti`) for each request. The key is read each time: it may have been replaced. */
function privateKeyJwt(name: string, config: ProviderConfig): client.ClientAuth {
  const { clientKeyAlgorithm: alg = '' } = config;
  readAssertionKey(name, config);
  return async (...request) => {
    const { key, keyId } = readAssertionKey(name, config);
    const pem = key.export({ type: 'pkcs8', format: 'pem' }).toString();
    const signingKey = { key: await importPKCS8(pem, alg), ...(keyId === undefined ? {} : { kid: keyId }) };
    // The library calls EdDSA Ed25519, as RFC 9864 does and few providers.
    const named: client.ModifyAssertionOptions = {
      [client.modifyAssertion]: (header) => Object.assign(header, { alg }),
    };
    await client.PrivateKeyJwt(signingKey, named)(...request);
  };
}
