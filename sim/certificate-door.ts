import type { X509Certificate } from 'node:crypto';
import { TLSSocket } from 'node:tls';
import type { Configuration, KoaContextWithOIDC } from 'oidc-provider';
import { type HttpServer, startHttpServer } from './http-server.ts';

/** In PEM: those of the server, and the authority whose clients are known by name. */
export interface DoorCertificates {
  readonly cert: Buffer;
  readonly key: Buffer;
  readonly ca: Buffer;
}

/** A listener with TLS that asks for a certificate and takes any: whose it is, is for the provider to judge. */
export async function startDoor(certificates?: DoorCertificates): Promise<HttpServer | undefined> {
  return (
    certificates && startHttpServer(0, { ...certificates, requestCert: true, rejectUnauthorized: false })
  );
}

/** `mtls_endpoint_aliases` (RFC 8705 §5) of a door. */
export function endpointsAt(doorUrl: string): Record<string, string> {
  return {
    token_endpoint: `${doorUrl}/token`,
    pushed_authorization_request_endpoint: `${doorUrl}/request`,
    revocation_endpoint: `${doorUrl}/token/revocation`,
  };
}

/** How a provider judges certificates. */
export function byCertificate(enabled: boolean): NonNullable<NonNullable<Configuration['features']>['mTLS']> {
  return {
    enabled,
    tlsClientAuth: true,
    selfSignedTlsClientAuth: true,
    getCertificate: (context) => certificateOf(context)?.toString(),
    certificateAuthorized: (context) => socketOf(context)?.authorized === true,
    certificateSubjectMatches: (context, _property, expected) =>
      certificateOf(context)?.checkHost(expected) === expected,
  };
}

function socketOf({ req }: KoaContextWithOIDC): TLSSocket | undefined {
  return req.socket instanceof TLSSocket ? req.socket : undefined;
}

function certificateOf(context: KoaContextWithOIDC): X509Certificate | undefined {
  return socketOf(context)?.getPeerX509Certificate();
}
