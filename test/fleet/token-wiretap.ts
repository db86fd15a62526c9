import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';

/** A token endpoint that hands every request on, and remembers each value that went in or out. */
export interface TokenWiretap {
  readonly url: string;
  /** `code`, `code_verifier`, `access_token`, … → values. */
  readonly values: ReadonlyMap<string, ReadonlySet<string>>;
  close(): Promise<void>;
}

/** Starts one in front of a real token endpoint. */
export async function startTokenWiretap(endpoint: string): Promise<TokenWiretap> {
  const values = new Map<string, Set<string>>();
  const remember = (name: string, value: unknown): void => {
    if (typeof value === 'string') values.set(name, (values.get(name) ?? new Set()).add(value));
  };
  const server = createServer(async (request, response) => {
    const body = await text(request);
    for (const [name, value] of new URLSearchParams(body)) remember(name, value);
    const { authorization = '', 'content-type': contentType = '' } = request.headers;
    const answer = await fetch(endpoint, {
      method: 'POST',
      headers: { authorization, 'content-type': contentType },
      body,
    });
    const issued = await answer.text();
    for (const [name, value] of Object.entries(JSON.parse(issued) as object)) remember(name, value);
    response.writeHead(answer.status, { 'content-type': 'application/json' }).end(issued);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/token`,
    values,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
