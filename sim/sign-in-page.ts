import type { ServerResponse } from 'node:http';

/** How a provider presents itself to people. */
export interface Appearance {
  /** Shown as heading, e.g. `Lab notebook`. */
  readonly title: string;
  /** A sentence below it. */
  readonly subtitle: string;
  /** CSS colour that tells the providers apart at a glance. */
  readonly colour: string;
}

/** One person to choose from. */
export interface Choice {
  readonly username: string;
  readonly name: string;
  readonly email: string;
}

const escapes: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

const escapeHtml = (text: string): string =>
  text.replace(/[&<>"']/g, (character) => escapes[character] ?? '');

const initials = (name: string): string =>
  name
    .split(/\s+/)
    .map((word) => word.charAt(0))
    .join('')
    .slice(0, 2);

const style = (colour: string): string => `
:root { color-scheme: light dark; --accent: ${colour}; font: 16px/1.5 system-ui, sans-serif; }
body { margin: 0; min-height: 100vh; display: grid; place-items: center;
  background: color-mix(in srgb, var(--accent) 9%, Canvas); color: CanvasText; }
main { width: min(26rem, calc(100vw - 2rem)); background: Canvas; border-radius: 14px; overflow: hidden;
  box-shadow: 0 12px 40px rgb(0 0 0 / .14); }
header { background: var(--accent); color: #fff; padding: 1.5rem; }
h1 { margin: 0; font-size: 1.35rem; } header p { margin: .2rem 0 0; opacity: .9; }
form { display: grid; gap: .5rem; padding: 1.25rem 1.5rem; }
button { display: grid; grid-template-columns: 2.5rem 1fr; gap: 0 .75rem; align-items: center; text-align: left;
  font: inherit; color: inherit; padding: .6rem .75rem; border: 1px solid rgb(128 128 128 / .35); border-radius: 10px;
  background: transparent; cursor: pointer; }
button:hover, button:focus-visible { border-color: var(--accent); outline: 2px solid var(--accent); outline-offset: -1px; }
.initials { grid-row: span 2; width: 2.5rem; height: 2.5rem; border-radius: 50%; display: grid; place-items: center;
  background: color-mix(in srgb, var(--accent) 16%, Canvas); font-weight: 600; }
small { opacity: .7; } footer { padding: 0 1.5rem 1.25rem; }`;

const page = (appearance: Appearance, content: string): string => `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Sign in · ${escapeHtml(appearance.title)}</title>
<style>${style(appearance.colour)}</style>
</head>
<body><main>
<header><h1>${escapeHtml(appearance.title)}</h1><p>${escapeHtml(appearance.subtitle)}</p></header>
${content}
</main></body>
</html>
`;

const button = (choice: Choice): string =>
  `<button name="person" value="${escapeHtml(choice.username)}"><span class="initials" aria-hidden="true">${escapeHtml(initials(choice.name))}</span><span>${escapeHtml(choice.name)}</span><small>${escapeHtml(choice.email)}</small></button>`;

/** The page on which a person says who they are. There is no password: these are simulators. */
export function signInPage(appearance: Appearance, choices: readonly Choice[]): string {
  const buttons = choices.map(button).join('\n');
  return page(
    appearance,
    `<form method="post">\n${buttons}\n</form>\n<footer><small>A simulator: choose anyone, no password.</small></footer>`,
  );
}

/** The page on which a person says that they want to leave; `form` is the provider's own, without a button. */
export function signOutPage(appearance: Appearance, form: string): string {
  const id = /id="([\w.]+)"/.exec(form)?.[1] ?? '';
  return page(
    appearance,
    `${form}<footer><button form="${id}" name="logout" value="yes">Sign out</button></footer>`,
  );
}

/** The page for a request that cannot go on, e.g. a sign-in page that has expired. */
export function faultPage(appearance: Appearance, text: string): string {
  return page(appearance, `<form><p>${escapeHtml(text)}</p></form>`);
}

/** Sends a page that may load nothing, run nothing and be framed by nobody. */
export function answerPage(response: ServerResponse, status: number, html: string): void {
  response.statusCode = status;
  response.setHeader('content-type', 'text/html; charset=utf-8');
  response.setHeader('cache-control', 'no-store');
  response.setHeader(
    'content-security-policy',
    "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
  );
  response.end(html);
}
