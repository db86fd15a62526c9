import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { ProviderConfig, SignatureAlgorithm } from '../config.ts';
import { CoatcheckError } from '../errors.ts';

/** What proves to a provider that we are its client. */
export interface ClientKey {
  readonly key: KeyObject;
  /** `kid` (RFC 7515 §4.1.4), where one is configured or the JWK has one. */
  readonly keyId?: string;
}

/** A certificate with its chain, and its key; both in PEM. */
export interface ClientCertificate {
  readonly cert: string;
  readonly key: string;
}

/** Reads the key for assertions. Throws `config_invalid` where it is unreadable, too weak, or not for the configured algorithm. */
export function readAssertionKey(name: string, config: ProviderConfig): ClientKey {
  const { key, jwk } = readKey(name, config);
  const { clientKeyAlgorithm: algorithm, clientKeyId: keyId = jwk.kid } = config;
  const own = jwk.alg === undefined || jwk.alg === algorithm;
  if (algorithm === undefined || !own || !algorithmsOf(key).includes(algorithm)) {
    throw invalid(name, 'clientKeyFile', `holds no key of sufficient strength for ${algorithm}`);
  }
  return { key, ...(typeof keyId === 'string' ? { keyId } : {}) };
}

/** Reads certificate and key. Throws `config_invalid` where they are unreadable, too weak, or do not belong together. */
export function readClientCertificate(name: string, config: ProviderConfig): ClientCertificate {
  const { key } = readKey(name, config);
  if (algorithmsOf(key).length === 0) throw invalid(name, 'clientKeyFile', 'holds a key that is too weak');
  const cert = readText(name, 'clientCertificateFile', config.clientCertificateFile);
  if (!parseCertificate(name, cert).checkPrivateKey(key)) {
    throw invalid(name, 'clientCertificateFile', 'does not belong to the key in clientKeyFile');
  }
  return { cert, key: key.export({ type: 'pkcs8', format: 'pem' }).toString() };
}

/** Until when the certificate is valid, Unix time in ms. Throws `config_invalid` as {@link readClientCertificate} does. */
export function certificateEndMs(name: string, config: ProviderConfig): number {
  return Date.parse(parseCertificate(name, readClientCertificate(name, config).cert).validTo);
}

const rsaAlgorithms: readonly SignatureAlgorithm[] = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'];
const curves: Readonly<Record<string, SignatureAlgorithm>> = {
  prime256v1: 'ES256',
  secp384r1: 'ES384',
  secp521r1: 'ES512',
};

/** What a key can sign with; nothing where it is too weak (NIST SP 800-57: 112 bits of strength, so RSA of 2048 bits). */
function algorithmsOf({
  asymmetricKeyType: type,
  asymmetricKeyDetails: details,
}: KeyObject): readonly SignatureAlgorithm[] {
  if (type === 'rsa') return (details?.modulusLength ?? 0) < 2048 ? [] : rsaAlgorithms;
  if (type === 'ed25519') return ['EdDSA'];
  const algorithm = curves[type === 'ec' ? (details?.namedCurve ?? '') : ''];
  return algorithm === undefined ? [] : [algorithm];
}

interface Jwk {
  readonly alg?: unknown;
  readonly kid?: unknown;
}

function readKey(name: string, config: ProviderConfig): { readonly key: KeyObject; readonly jwk: Jwk } {
  const text = readText(name, 'clientKeyFile', config.clientKeyFile);
  try {
    if (!text.trimStart().startsWith('{')) return { key: createPrivateKey(text), jwk: {} };
    const jwk = JSON.parse(text);
    return { key: createPrivateKey({ key: jwk, format: 'jwk' }), jwk };
  } catch {
    // What Node and JSON say of a broken key may quote it, so it goes nowhere.
    throw invalid(name, 'clientKeyFile', 'holds no private key in PEM or as a JWK, without passphrase');
  }
}

function parseCertificate(name: string, pem: string): X509Certificate {
  try {
    return new X509Certificate(pem);
  } catch (error) {
    throw invalid(name, 'clientCertificateFile', 'holds no certificate in PEM', error);
  }
}

function readText(name: string, setting: string, file = ''): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw invalid(name, setting, 'cannot be read', error);
  }
}

function invalid(name: string, ...[setting, what, cause]: [string, string, unknown?]): CoatcheckError {
  return new CoatcheckError('config_invalid', { detail: `providers.${name}.${setting} ${what}`, cause });
}
