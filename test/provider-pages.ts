import type { Person } from './person.ts';

/** Goes through a provider's own pages, from its authorization address up to the one that leads away from it. */
export async function throughProvider(person: Person, start: string): Promise<URL> {
  let url = new URL(start);
  const { origin } = url;
  while (url.origin === origin) {
    const page = await person.get(url.href, { kind: 'navigation' });
    const headers = { 'content-type': 'application/x-www-form-urlencoded' };
    const body = `person=${encodeURIComponent(person.username)}`;
    const answer =
      page.status === 200
        ? await person.request('POST', url.href, { kind: 'navigation', headers, body })
        : page;
    url = new URL(answer.headers.location ?? '', url);
  }
  return url;
}
