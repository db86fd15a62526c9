import { once } from 'node:events';
import { isIP } from 'node:net';
import { connect } from 'node:tls';
import { fine, risky, type Verdict, wrong } from './finding.ts';

/** Where something listens with TLS. */
export interface TlsPlace {
  readonly host: string;
  readonly port: number;
  /** Authorities (PEM) to trust in place of Node's. */
  readonly ca?: Buffer;
}

const day = 24 * 60 * 60 * 1000;
/** By then whatever renews certificates should have done so. */
const renewalDays = 14;
const timeoutMs = 5000;

/** The place of an https URL; `undefined` for any other. */
export function tlsPlaceOf(url: string): TlsPlace | undefined {
  const { protocol, hostname, port } = new URL(url);
  if (protocol !== 'https:') return undefined;
  return { host: hostname.replace(/^\[(.*)\]$/, '$1'), port: Number(port || 443) };
}

/**
 * Shakes hands and judges the certificate as the gateway itself would: trusted, made out to this host, and for how long.
 * Says nothing where nobody answers, which is another check's finding.
 */
export async function judgeCertificate(place: TlsPlace, now: () => number): Promise<Verdict | undefined> {
  const { host, port, ca } = place;
  const socket = connect({ host, port, ...(ca && { ca }), ...(isIP(host) ? {} : { servername: host }) });
  // What still comes after the verdict is nobody's concern.
  socket.on('error', () => undefined);
  let reached = false;
  socket.once('connect', () => {
    reached = true;
  });
  try {
    await once(socket, 'secureConnect', { signal: AbortSignal.timeout(timeoutMs) });
    return judgeDays(
      `the trusted certificate of ${host}`,
      Date.parse(socket.getPeerCertificate().valid_to) - now(),
    );
  } catch (fault) {
    if (!reached) return undefined;
    return refused(host, fault instanceof Error ? String(Reflect.get(fault, 'code') ?? fault.name) : 'fault');
  } finally {
    socket.destroy();
  }
}

/** Judges how long a certificate will last yet. */
export function judgeDays(what: string, leftMs: number): Verdict {
  const days = Math.floor(leftMs / day);
  if (days < 0) return wrong(`${what} has expired`, 'renew it');
  const says = `${what} is valid for another ${days} ${days === 1 ? 'day' : 'days'}`;
  return days < renewalDays
    ? risky(says, 'renew it, and see why that has not happened by itself')
    : fine(says);
}

const untrusted = 'use one from an authority that Node trusts, or name yours in NODE_EXTRA_CA_CERTS';
const steps: Readonly<Record<string, string>> = {
  CERT_HAS_EXPIRED: 'renew it',
  CERT_NOT_YET_VALID: 'see whether the clocks of both machines are right',
  ERR_TLS_CERT_ALTNAME_INVALID:
    'use the name that the certificate is made out to, or one made out to this name',
  DEPTH_ZERO_SELF_SIGNED_CERT: untrusted,
  SELF_SIGNED_CERT_IN_CHAIN: untrusted,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: untrusted,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: `have the server send the whole chain; else ${untrusted}`,
};

function refused(host: string, code: string): Verdict {
  const step = steps[code];
  return step === undefined
    ? wrong(`no TLS with ${host} (${code})`, 'see whether that port speaks TLS 1.2 or newer')
    : wrong(`the certificate of ${host} is not accepted (${code})`, step);
}
