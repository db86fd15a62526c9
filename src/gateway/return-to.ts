import { CoatcheckError } from '../errors.ts';

/** Longer addresses than this many characters are nobody's bookmark. */
const limitCharacters = 2048;

/**
 * The place to go to after a login: a path of this site, or a refusal. Browsers read backslashes, tabs and a second slash
 * as the start of another host, so none of them is let through; what is left is resolved once more and must stay here.
 */
export function returnTo(value: string | undefined, publicUrl: string): string {
  if (value === undefined || value === '') return '/';
  const plain = /^\/(?![/\\])[\x21-\x5b\x5d-\x7e]*$/.test(value) && value.length <= limitCharacters;
  const url = plain && URL.canParse(value, publicUrl) ? new URL(value, publicUrl) : undefined;
  if (url === undefined || url.origin !== publicUrl || url.pathname.startsWith('//')) {
    throw new CoatcheckError('return_to_refused', { detail: 'return_to is not a path of this site' });
  }
  return `${url.pathname}${url.search}${url.hash}`;
}
