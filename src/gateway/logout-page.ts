import { createHash } from 'node:crypto';
import type { EndSessionForm } from '../oauth/provider-logout.ts';
import { type Answer, securityHeaders } from './answer.ts';

const script = 'document.forms[0].submit()';
const scriptHash: string = createHash('sha256').update(script).digest('base64');

/**
 * Where the form may go stays open: browsers hold that against its redirects too, and where a provider sends the browser
 * on its way back is its own business. Nothing on the page comes from anybody but us and the provider's metadata.
 */
const policy: string = `default-src 'none'; script-src 'sha256-${scriptHash}'; base-uri 'none'; frame-ancestors 'none'`;

/** A page that carries the browser to a provider with a form, so that no token stands in an address. */
export function logoutPage({ action, fields }: EndSessionForm): Answer {
  const inputs = Object.entries(fields).map(
    ([name, value]) => `<input type="hidden" name="${escaped(name)}" value="${escaped(value)}">`,
  );
  return {
    status: 200,
    headers: {
      ...securityHeaders,
      'content-type': 'text/html; charset=utf-8',
      'content-security-policy': policy,
    },
    body: `<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Signing out</title></head><body><form method="post" action="${escaped(action)}">${inputs.join('')}
<button>Go on signing out</button></form><script>${script}</script></body></html>`,
  };
}

function escaped(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}
