/** Which addresses may be configured: encrypted ones, and plain ones that never leave this machine. */

const loopback = /^(127(\.\d{1,3}){3}|\[::1\]|localhost)$/;
const plainOnLoopback = 'only on 127.0.0.0/8, [::1] or localhost';

/** Parts that an address may have beside scheme, host and port. */
export interface AddressParts {
  /** Default: true. */
  readonly path?: boolean;
  /** Default: false. */
  readonly query?: boolean;
}

/** Whether the URL's host is this machine itself. */
export const isLoopback = (url: string): boolean => URL.canParse(url) && loopback.test(new URL(url).hostname);

/** What is expected of an https URL and missing in `text`; undefined where all is well. */
export const webAddressFault = (text: string, parts: AddressParts = {}): string | undefined => {
  // Parsers forgive missing slashes, backslashes and white space, each in its own way.
  if (!URL.canParse(text) || !/^[a-z]+:\/\/[^\s\\]+$/.test(text)) return 'https:// URL';
  const url = new URL(text);
  if (url.protocol !== 'https:' && !(url.protocol === 'http:' && isLoopback(text))) {
    return `https:// URL (http:// ${plainOnLoopback})`;
  }
  if (url.username !== '' || url.password !== '') return 'URL without user name and password';
  if (text.includes('#')) return 'URL without fragment';
  if (parts.query !== true && text.includes('?')) return 'URL without query';
  if (parts.path === false && text !== url.origin) return `origin only, as browsers write it (${url.origin})`;
  return undefined;
};

/** What is expected of a store URL and missing in `text`; undefined where all is well. */
export const storeAddressFault = (text: string): string | undefined => {
  const form = `rediss://host:port (redis:// ${plainOnLoopback}) or memory://`;
  if (text === 'memory://') return undefined;
  if (!URL.canParse(text)) return form;
  const url = new URL(text);
  if (url.protocol !== 'rediss:' && !(url.protocol === 'redis:' && isLoopback(text))) return form;
  if (url.hostname === '') return form;
  if (text.includes('?') || text.includes('#')) return 'URL without query and fragment';
  return /^\/?\d{0,4}$/.test(url.pathname)
    ? undefined
    : 'nothing after the host, or a database number such as /1';
};
