import type { CustomFetch, CustomFetchOptions } from 'openid-client';
import { Agent, fetch as fetchThrough, type RequestInit as RequestThrough } from 'undici';
import { CoatcheckError, type CoatcheckErrorOptions } from '../errors.ts';
import type { Telemetry } from '../telemetry.ts';
import type { ClientCertificate } from './client-key.ts';

/** Options of {@link createProviderFetch}. */
export interface ProviderFetchOptions {
  readonly provider: string;
  /** For a whole exchange, body included. */
  readonly timeoutMs: number;
  readonly telemetry: Telemetry;
  /** What to show in the TLS handshake; asked for at each request. Default: nothing. */
  readonly certificate?: () => ClientCertificate;
}

/** Larger answers than 1 MiB (after decompression) are no OAuth answers. */
const bodyLimitBytes = 1024 * 1024;

/**
 * The HTTP of all calls to providers: one deadline for headers and body, a size limit, no redirects (a redirect would
 * carry secrets elsewhere), and one place that tells "cannot be reached now" (network, 5xx, 429) from every other answer.
 */
export function createProviderFetch(options: ProviderFetchOptions): CustomFetch {
  const { provider, timeoutMs, telemetry, certificate } = options;
  const send = certificate === undefined ? plainFetch : fetchWith(certificate);
  const unavailable = (
    what: string,
    rest: Pick<CoatcheckErrorOptions, 'cause' | 'retryAfterMs' | 'isUnprocessed'>,
  ): CoatcheckError =>
    new CoatcheckError('provider_unavailable', {
      detail: `providers.${provider}: ${what}`,
      shown: { provider },
      ...rest,
    });

  async function exchange(url: string, request: CustomFetchOptions): Promise<Response> {
    const response = await send(url, {
      ...request,
      redirect: 'manual',
      signal: AbortSignal.timeout(timeoutMs),
    });
    if (response.status >= 500 || response.status === 429) {
      await response.body?.cancel();
      const retryAfterMs = retryAfterOf(response.headers.get('retry-after'));
      // Behind a gateway that has waited in vain somebody may be at work; everyone else says that it has failed.
      const isUnprocessed = response.status !== 504;
      throw unavailable(`answered ${response.status}`, { retryAfterMs, isUnprocessed });
    }
    const body = await readLimited(response, provider);
    const { status, statusText, headers } = response;
    return new Response(status === 204 || status === 304 ? null : body, { status, statusText, headers });
  }

  return async (url, request) => {
    const end = telemetry.metrics.providerSeconds.startTimer({ provider });
    try {
      const response = await exchange(url, request);
      end({ outcome: response.ok ? 'ok' : 'refused' });
      return response;
    } catch (error) {
      end({ outcome: 'fault' });
      if (CoatcheckError.is(error)) throw error;
      throw unavailable('cannot be reached', { cause: error, isUnprocessed: isUnconnected(error) });
    }
  };
}

/** What Node says of a certificate that it does not trust, and where the other side trusts ours as little or speaks no TLS. */
const handshakeCodes: ReadonlySet<string> = new Set([
  'CERT_HAS_EXPIRED',
  'CERT_NOT_YET_VALID',
  'CERT_REJECTED',
  'CERT_REVOKED',
  'CERT_UNTRUSTED',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'ERR_SSL_SSLV3_ALERT_BAD_CERTIFICATE',
  'ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE',
  'ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED',
  'ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION',
  'ERR_SSL_TLSV1_ALERT_UNKNOWN_CA',
  'ERR_SSL_WRONG_VERSION_NUMBER',
  'ERR_TLS_CERT_ALTNAME_INVALID',
  'INVALID_CA',
  'INVALID_PURPOSE',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
]);

/** Whether there was no connection over which the request could have gone. A deadline of ours tells nothing about that. */
function isUnconnected(error: unknown): boolean {
  const cause = error instanceof Error ? error.cause : undefined;
  if (!(cause instanceof Error)) return false;
  // One for each address that was tried.
  if (cause instanceof AggregateError) return cause.errors.every(isOfConnecting);
  return isOfConnecting(cause);
}

function isOfConnecting({ code, syscall }: NodeJS.ErrnoException): boolean {
  if (syscall === 'connect' || syscall === 'getaddrinfo') return true;
  return code !== undefined && (code === 'UND_ERR_CONNECT_TIMEOUT' || handshakeCodes.has(code));
}

/** RFC 9110 §10.2.3: seconds, or a date. `undefined` where it says neither. */
function retryAfterOf(value: string | null): number | undefined {
  if (value === null) return undefined;
  const waitMs = /^\d{1,9}$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now();
  return waitMs > 0 ? waitMs : undefined;
}

type Send = (url: string, request: CustomFetchOptions) => Promise<Response>;

/** The process's own: whatever an app has put beneath it, such as a proxy, is used. */
const plainFetch: Send = (url, request) => fetch(url, request as RequestInit);

/** Over connections of its own. Those that were made with another certificate are closed as soon as nothing runs on them. */
function fetchWith(certificate: () => ClientCertificate): Send {
  let shown = certificate();
  let agent = new Agent({ connect: { ...shown } });
  return async (url, request) => {
    const current = certificate();
    if (current.cert !== shown.cert || current.key !== shown.key) {
      void agent.close();
      shown = current;
      agent = new Agent({ connect: { ...current } });
    }
    return fetchThrough(url, { ...(request as RequestThrough), dispatcher: agent });
  };
}

async function readLimited(response: Response, provider: string): Promise<Uint8Array<ArrayBuffer>> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response.body ?? []) {
    size += chunk.byteLength;
    if (size > bodyLimitBytes) {
      throw new CoatcheckError('provider_answer_invalid', {
        detail: `providers.${provider}: an answer exceeds 1 MiB`,
        shown: { provider },
      });
    }
    chunks.push(chunk);
  }
  return new Uint8Array(Buffer.concat(chunks));
}

/** https anywhere; http on loopback addresses only. */
export function isSecureOrLoopback(url: string): boolean {
  const { protocol, hostname } = new URL(url);
  if (protocol === 'https:') return true;
  return (
    protocol === 'http:' &&
    (hostname === 'localhost' || hostname === '[::1]' || /^127(?:\.\d{1,3}){3}$/.test(hostname))
  );
}
