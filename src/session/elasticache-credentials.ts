import { createHash, createHmac, type Hash, type Hmac } from 'node:crypto';
import { createRequire } from 'node:module';
import { CoatcheckError } from '../errors.ts';
import type { CredentialSource } from './credential-renewal.ts';

/** Who we are to an ElastiCache that knows its users by IAM. */
export interface ElasticacheIam {
  readonly type: 'elasticache-iam';
  /** Id of the ElastiCache user, which must also be its name. */
  readonly user: string;
  /** Name of the serverless cache, or id of the replication group; not its host. */
  readonly cache: string;
  /** Such as `eu-central-1`. */
  readonly region: string;
  /** Whether the cache is a serverless one. */
  readonly serverless: boolean;
}

/** A token opens connections for this long. */
const tokenSeconds = 900;
const hour = 60 * 60 * 1000;
const packages = ['@smithy/signature-v4', '@aws-sdk/credential-provider-node'] as const;

/**
 * Signs a token (a presigned URL, Signature Version 4) for each connection, as whomever the AWS SDK's default chain of
 * providers finds. A connection lasts twelve hours from its last token, so it gets another after 8 to 11. `now` is Unix time
 * in ms. Throws `config_invalid` where the packages of the SDK are not installed.
 */
export function elasticacheCredentials(
  { user, cache, region, serverless }: ElasticacheIam,
  now: () => number = Date.now,
): CredentialSource {
  requirePackages();
  // Names are kept in lower case over there; the signature must hold what the service compares.
  const [username, hostname] = [user.toLowerCase(), cache.toLowerCase()];
  const query = {
    Action: 'connect',
    User: username,
    ...(serverless && { ResourceType: 'ServerlessCache' }),
  };
  const request = { method: 'GET', protocol: 'https:', hostname, path: '/', headers: { host: hostname } };
  const loading = once(async () => {
    const [{ SignatureV4 }, { defaultProvider }] = await Promise.all([
      import('@smithy/signature-v4'),
      import('@aws-sdk/credential-provider-node'),
    ]);
    // The provider keeps what it has found for as long as that is valid.
    return new SignatureV4({
      credentials: defaultProvider(),
      region,
      service: 'elasticache',
      sha256: Sha256,
    });
  });
  return {
    renewAfterMs: () => (8 + 3 * Math.random()) * hour,
    async current() {
      const signer = await loading();
      const signing = signer.presign(
        { ...request, query },
        { expiresIn: tokenSeconds, signingDate: new Date(now()) },
      );
      const signed = await signing.catch((cause: unknown) => {
        throw new CoatcheckError('store_unavailable', {
          detail: 'Redis: no AWS credentials to sign with',
          cause,
        });
      });
      return { username, password: `${hostname}/?${written(signed.query ?? {})}` };
    },
  };
}

function requirePackages(): void {
  const { resolve } = createRequire(import.meta.url);
  for (const name of packages) {
    try {
      resolve(name);
    } catch (cause) {
      const detail = `store.auth: elasticache-iam needs packages that are not here: npm install ${packages.join(' ')}`;
      throw new CoatcheckError('config_invalid', { detail, cause });
    }
  }
}

function once<Result>(make: () => Promise<Result>): () => Promise<Result> {
  let made: Promise<Result> | undefined;
  return () => {
    made ??= make();
    return made;
  };
}

/** As it was signed: RFC 3986 §2.3 leaves unencoded less than `encodeURIComponent` does. */
function written(query: Readonly<Record<string, string | string[] | null>>): string {
  const encoded = (text: string): string =>
    encodeURIComponent(text).replace(
      /[!'()*]/g,
      (sign) => `%${sign.charCodeAt(0).toString(16).toUpperCase()}`,
    );
  return Object.entries(query)
    .map(([name, value]) => `${encoded(name)}=${encoded(String(value))}`)
    .join('&');
}

/** SHA-256, or HMAC with it, in the shape that the signer asks for. */
class Sha256 {
  readonly #hash: Hash | Hmac;

  constructor(secret?: string | ArrayBuffer | ArrayBufferView) {
    this.#hash = secret === undefined ? createHash('sha256') : createHmac('sha256', bytes(secret));
  }

  update(chunk: string | ArrayBuffer | ArrayBufferView): void {
    this.#hash.update(bytes(chunk));
  }

  async digest(): Promise<Uint8Array> {
    return this.#hash.digest();
  }

  /** Part of the shape; the signer takes a new one each time. */
  reset(): void {}
}

function bytes(chunk: string | ArrayBuffer | ArrayBufferView): Uint8Array {
  if (typeof chunk === 'string') return Buffer.from(chunk);
  return ArrayBuffer.isView(chunk)
    ? new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.byteLength)
    : new Uint8Array(chunk);
}
