import type { IncomingHttpHeaders } from 'node:http';

/** What the check looks at. */
export interface OriginCheckInput {
  readonly method: string;
  readonly headers: IncomingHttpHeaders;
  /** The origin that pages of ours have. */
  readonly publicUrl: string;
}

/** Methods that change nothing (RFC 9110 §9.2.1). */
const safeMethods = new Set(['GET', 'HEAD', 'OPTIONS']);

/**
 * Whether a request may come from a page of ours (OAuth 2.0 for Browser-Based Apps §6.1.3.3). The browser's own word goes first
 * (Sec-Fetch-Site, then Origin), because no page can forge it; a sibling sub-domain counts as foreign. Where neither is sent, a custom
 * header does: another site could add one only after a CORS preflight, which we never grant. Safe methods pass without
 * proof, but where the browser says that another site is asking, only for a window of its own: no script, element or frame.
 */
export function isFromOurPages({ method, headers, publicUrl }: OriginCheckInput): boolean {
  const site = headers['sec-fetch-site'];
  const { origin } = headers;
  // Pages with the referrer policy `no-referrer` hide their origin even from themselves.
  const isHidden = origin === 'null' && site === 'same-origin';
  if (origin !== undefined && origin !== publicUrl && !isHidden) return false;
  if (safeMethods.has(method)) {
    const isForeign = site === 'cross-site' || site === 'same-site';
    return !isForeign || headers['sec-fetch-dest'] === 'document';
  }
  if (site !== undefined) return site === 'same-origin' || site === 'none';
  return origin === publicUrl || headers['x-coatcheck-csrf'] === '1';
}

/** Whether a person waits for a page (as opposed to a script that waits for data). */
export function isPageNavigation(method: string, headers: IncomingHttpHeaders): boolean {
  return (method === 'GET' || method === 'HEAD') && isNavigation(headers);
}

/** The same, whatever the method: a form can be sent by a page as well. */
export function isNavigation(headers: IncomingHttpHeaders): boolean {
  const mode = headers['sec-fetch-mode'];
  if (mode !== undefined) return mode === 'navigate';
  return headers['x-requested-with'] === undefined && (headers.accept ?? '').includes('text/html');
}
