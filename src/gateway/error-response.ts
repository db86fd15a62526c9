import { createHash } from 'node:crypto';
import { type CoatcheckError, errorRegistry } from '../errors.ts';
import type { Answer } from './answer.ts';
import { securityHeaders } from './answer.ts';

/** What an error answer is made of. */
export interface ErrorAnswerOptions {
  readonly error: CoatcheckError;
  readonly requestId: string;
  /** A person waits: answer with a small page instead of a problem document. */
  readonly asPage: boolean;
}

/** Seconds after which a client may try again, on every 503. */
const retryAfterSeconds = 2;

/**
 * An error as an answer: a problem document (RFC 9457), or a page with the same content for a person. Both say only what the
 * registry allows to be shown: no host, no claim, no message of a provider. No answer of ours to a fault touches a cookie.
 */
export function errorAnswer({ error, requestId, asPage }: ErrorAnswerOptions): Answer {
  const { status, title, retryable } = errorRegistry[error.code];
  const headers: Record<string, string> = { ...securityHeaders };
  if (status === 503) {
    headers['retry-after'] = String(Math.max(retryAfterSeconds, Math.ceil((error.retryAfterMs ?? 0) / 1000)));
  }
  if (error.shown.allow !== undefined) headers.allow = error.shown.allow;
  // RFC 9110 §15.5.6 asks for it.
  if (status === 405 && error.shown.allow !== undefined) headers.allow = error.shown.allow;
  if (asPage) {
    headers['content-type'] = 'text/html; charset=utf-8';
    headers['content-security-policy'] = pagePolicy;
    return { status, headers, body: page({ title, requestId, retryable, code: error.code }) };
  }
  headers['content-type'] = 'application/problem+json';
  const problem = { type: 'about:blank', title, status, code: error.code, requestId, ...error.shown };
  return { status, headers, body: JSON.stringify(problem) };
}

const style =
  'body{font:16px/1.5 system-ui,sans-serif;max-width:34rem;margin:18vh auto;padding:0 1.5rem;color:#1d2433;background:#fbfaf8}' +
  'h1{font-size:1.5rem;line-height:1.25}a{color:#1f5fbf}small{color:#5b6475}' +
  '@media(prefers-color-scheme:dark){body{color:#e6e9f0;background:#14171f}a{color:#8ab8ff}small{color:#98a2b5}}';

const styleHash: string = createHash('sha256').update(style).digest('base64');

const pagePolicy: string = `default-src 'none'; style-src 'sha256-${styleHash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`;

interface Page {
  readonly title: string;
  readonly requestId: string;
  readonly retryable: boolean;
  readonly code: string;
}

/** Every part is ours (registry texts, checked request id), so nothing needs escaping. */
function page({ title, requestId, retryable, code }: Page): string {
  const next = retryable
    ? 'You are not signed out. Wait a moment, then reload this page.'
    : 'You can <a href="/auth/login">sign in again</a> or <a href="/">go to the start page</a>.';
  return `<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>${title}</title><style>${style}</style></head>
<body><main><h1>${title}</h1><p>${next}</p><small>${code} · request ${requestId}</small></main></body></html>`;
}
