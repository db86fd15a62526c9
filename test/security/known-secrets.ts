import { readTicket } from '../../src/session/ticket.ts';
import type { TappedWorld } from './wiretap.ts';

/** Everything secret that a run has used, gathered where it passes. */
export interface KnownSecrets {
  /** Tokens, codes, verifiers, client secrets, keys: no browser may ever get them from us. */
  fromProviders(): string[];
  /** Cookies, states, nonces, session ids: the browser has some of them, but nothing that is written down may. */
  ofBrowsers(): string[];
  stop(): void;
}

const secretFields = ['access_token', 'refresh_token', 'id_token', 'code', 'code_verifier', 'client_secret'];

/** Begins to gather: from the exchanges with providers in this process, and from the wire to the browser. */
export function gatherSecrets(world: TappedWorld): KnownSecrets {
  const secrets = new Set<string>();
  const note = (value: unknown): void => {
    if (typeof value === 'string' && value.length >= 8) secrets.add(value);
  };
  const { identity, notebook, facade } = world.simulators;
  for (const { clientSecret } of [identity, notebook, facade]) note(clientSecret);
  for (const { secret } of world.input.keys as { secret: string }[]) note(secret);

  const plainFetch = globalThis.fetch;
  globalThis.fetch = async (...call) => {
    const [, init] = call;
    note(new Headers(init?.headers).get('authorization')?.replace(/^\w+ /, ''));
    if (init?.body) {
      const form = new URLSearchParams(String(init.body));
      for (const field of secretFields) note(form.get(field));
    }
    const response = await plainFetch(...call);
    const text = await response.clone().text();
    if (response.ok && text.includes('"access_token"')) {
      const answer = JSON.parse(text) as Record<string, unknown>;
      for (const field of secretFields) note(answer[field]);
    }
    return response;
  };
  return {
    fromProviders: () => [...secrets],
    ofBrowsers() {
      const cookies = world
        .headerValues('set-cookie')
        .map((line) => /=([vl]1\.[\w-]{43});/.exec(line)?.[1] ?? '');
      const parameters = world.headerValues('location').flatMap((location) => {
        const query = new URL(location, world.publicUrl).searchParams;
        return [query.get('state'), query.get('nonce')].filter((value) => value !== null);
      });
      const sessionIds = cookies.flatMap((cookie) => readTicket(cookie)?.sessionId ?? []);
      return [...cookies.filter(Boolean).map((cookie) => cookie.slice(3)), ...parameters, ...sessionIds];
    },
    stop() {
      globalThis.fetch = plainFetch;
    },
  };
}
