/** Certificates for tests, made by openssl. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Files in PEM. */
export interface Certificate {
  readonly certFile: string;
  readonly keyFile: string;
  readonly cert: Buffer;
  readonly key: Buffer;
}

/** An authority of its own. */
export interface Authority {
  readonly caFile: string;
  /** A certificate for `name`, e.g. `IP:127.0.0.1` or `DNS:store.example.com`. */
  issue(name: string, days: number): Certificate;
  remove(): void;
}

/** Makes an authority in a directory of its own. */
export function createAuthority(): Authority {
  const directory = mkdtempSync(join(tmpdir(), 'coatcheck-ca-'));
  const at = (file: string): string => join(directory, file);
  const openssl = (...args: string[]): Buffer =>
    execFileSync('openssl', args, { cwd: directory, stdio: 'pipe' });
  const key = (file: string): string[] => [
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:P-256',
    '-nodes',
    '-keyout',
    file,
  ];
  openssl('req', '-x509', ...key('ca.key'), '-out', 'ca.pem', '-days', '30', '-subj', '/CN=Test authority');
  let issued = 0;
  return {
    caFile: at('ca.pem'),
    issue(name, days) {
      const stem = `leaf-${++issued}`;
      writeFileSync(at(`${stem}.ext`), `subjectAltName=${name}\n`);
      openssl('req', ...key(`${stem}.key`), '-out', `${stem}.csr`, '-subj', '/CN=leaf');
      const authority = ['-CA', 'ca.pem', '-CAkey', 'ca.key', '-set_serial', String(issued)];
      const terms = ['-days', String(days), '-extfile', `${stem}.ext`];
      openssl('x509', '-req', '-in', `${stem}.csr`, ...authority, ...terms, '-out', `${stem}.pem`);
      const certFile = at(`${stem}.pem`);
      const keyFile = at(`${stem}.key`);
      return { certFile, keyFile, cert: readFileSync(certFile), key: readFileSync(keyFile) };
    },
    remove: () => rmSync(directory, { recursive: true, force: true }),
  };
}
