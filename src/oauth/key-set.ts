import * as client from 'openid-client';

/** A provider's public keys, as last seen. */
export interface KeySet {
  /** Passes everything on, but asks for the key set only as often as it may. */
  readonly fetch: client.CustomFetch;
  /** Has the library begin with the keys that are known here. */
  lend(settings: client.Configuration): void;
}

/** Options of {@link createKeySet}. */
export interface KeySetOptions {
  /** Default: the provider has none. */
  readonly jwksUri: string | undefined;
  readonly fetch: client.CustomFetch;
}

interface Copy {
  readonly jwks: client.JWKS;
  readonly atMs: number;
}

/** Downloads of a key set in any minute; what is asked beyond gets the last copy. */
const downloadsPerMinute = 3;
const minute = 60_000;

/**
 * The library asks for the key set every 5 minutes, and for an unknown key only if its copy is older than a minute: a
 * provider that rotates right after a download would be refused for the rest of that minute. It asks once per exchange that
 * finds no copy, however many are under way. Here an unknown key is asked for at once, and downloads are
 * counted: whoever makes up key ids cannot have us flood the provider.
 *
 * The library judges ages by `Date.now`, and so must this.
 */
export function createKeySet({ jwksUri, fetch }: KeySetOptions): KeySet {
  const address = jwksUri === undefined ? undefined : new URL(jwksUri).href;
  let copies: readonly Copy[] = [];
  let download: Promise<Response> | undefined;

  async function downloaded(...request: Parameters<client.CustomFetch>): Promise<Response> {
    const response = await fetch(...request);
    const jwks = await keysIn(response.clone());
    if (jwks !== undefined) {
      copies = [...copies.slice(1 - downloadsPerMinute), { jwks, atMs: Date.now() }];
    }
    return response;
  }

  return {
    async fetch(...request) {
      if (request[0] !== address) return fetch(...request);
      const [oldest] = copies;
      const isSpent = copies.length === downloadsPerMinute && oldest && Date.now() - oldest.atMs < minute;
      if (isSpent) return Response.json(copies.at(-1)?.jwks);
      download ??= downloaded(...request).finally(() => {
        download = undefined;
      });
      return (await download).clone();
    },

    lend(settings) {
      const copy = copies.at(-1);
      if (copy === undefined) return;
      // Old enough for the library to ask again where it misses a key; never younger than it is.
      const uat = Math.floor(Math.min(copy.atMs, Date.now() - minute) / 1000);
      client.setJwksCache(settings, { jwks: copy.jwks, uat });
    },
  };
}

/** The keys in an answer that the library takes for a key set; `undefined` in any other. */
async function keysIn(response: Response): Promise<client.JWKS | undefined> {
  const type = response.headers.get('content-type') ?? '';
  if (response.status !== 200 || !/^application\/(?:jwk-set\+)?json(?:;|$)/.test(type)) return undefined;
  try {
    const answer = JSON.parse(await response.text());
    return Array.isArray(answer?.keys) ? answer : undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}
