import { X509Certificate } from 'node:crypto';
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, expect, onTestFinished, test } from 'vitest';
import { stringify } from 'yaml';
import { startChild, typescriptCommand } from '../../demo/child.ts';
import { type Certificate, createAuthority } from '../certificates.ts';
import { Person } from '../person.ts';
import { createDirectory, type ProviderStage, prepareProviderStage } from './provider-stage.ts';
import { attempt, newBrowser, outcome, startStage } from './stage.ts';

const authority = createAuthority();
const stranger = createAuthority();
afterAll(() => {
  authority.remove();
  stranger.remove();
});

/** A gateway as a process of its own, for authorities are trusted at its start. */
async function startProcess(directory: string, { input, publicUrl }: ProviderStage): Promise<void> {
  const config = join(directory, 'coatcheck.yaml');
  writeFileSync(config, stringify(input));
  const child = startChild({
    name: 'gateway',
    command: typescriptCommand('src/cli.ts', 'serve', '--config', config),
    logFile: join(directory, 'gateway.log'),
    env: { NODE_EXTRA_CA_CERTS: authority.caFile },
  });
  onTestFinished(() => child.stop());
  const isReady = (): Promise<boolean> =>
    new Person().get(`${publicUrl}/auth/session`).then(
      () => true,
      () => false,
    );
  while (!(await isReady())) await delay(50);
}

/** Tries to sign in; the status of the last answer, which is 200 where it worked. */
async function signIn({ publicUrl }: ProviderStage): Promise<number> {
  return (await new Person().signIn(publicUrl, '/auth/session')).status;
}

test.each(['tls_client_auth', 'self_signed_tls_client_auth'] as const)(
  'S-132 a client proves itself by its certificate: %s',
  async (method) => {
    const directory = createDirectory();
    const [certFile, keyFile] = ['client.pem', 'client.key'].map((name) => join(directory, name));
    const wear = (certificate: Certificate): void => {
      copyFileSync(certificate.certFile, certFile ?? '');
      copyFileSync(certificate.keyFile, keyFile ?? '');
    };
    const [first, renewed] = [1, 2].map(() => authority.issue('DNS:apps.example.com', 1));
    const foreign = stranger.issue('DNS:apps.example.com', 1);
    if (first === undefined || renewed === undefined) throw new Error('no certificates');
    wear(first);
    const stage = await prepareProviderStage({
      client: {
        authentication: method,
        ...(method === 'tls_client_auth'
          ? { certificateName: 'apps.example.com' }
          : { keys: [first, renewed].map(({ cert }, index) => jwkOf(cert, `k${index}`)) }),
      },
      provider: {
        pushedRequests: 'required',
        certificates: { ...authority.issue('IP:127.0.0.1', 1), ca: readFileSync(authority.caFile) },
      },
      config: { clientAuthentication: method, clientCertificateFile: certFile, clientKeyFile: keyFile },
    });
    await startProcess(directory, stage);
    expect(await signIn(stage)).toBe(200);
    // At the aliases (RFC 8705 §5), and only there.
    expect(stage.requests).toEqual(expect.arrayContaining(['POST https /request', 'POST https /token']));
    expect(stage.requests.join()).not.toMatch(/POST http \/(?:request|token)/);

    // Replaced on disk: no restart, and no connection that was made with the former one.
    wear(foreign);
    expect(await signIn(stage)).toBe(502);
    wear(renewed);
    expect(await signIn(stage)).toBe(200);
    copyFileSync(foreign.keyFile, keyFile ?? '');
    expect(await signIn(stage)).toBe(500);
  },
);

function jwkOf(pem: Buffer, kid: string): Record<string, unknown> {
  const { publicKey, raw } = new X509Certificate(pem);
  return { ...publicKey.export({ format: 'jwk' }), kid, use: 'sig', x5c: [raw.toString('base64')] };
}

test('S-132 without TLS no certificate is shown, so nothing is asked there', async () => {
  const { certFile, keyFile } = authority.issue('DNS:apps.example.com', 1);
  const stage = await startStage({
    provider: () => ({
      clientSecret: undefined,
      clientAuthentication: 'tls_client_auth',
      clientCertificateFile: certFile,
      clientKeyFile: keyFile,
    }),
  });
  const tokenEndpoint = `${stage.first.issuer}/token`;
  for (const metadata of [{}, { mtls_endpoint_aliases: { token_endpoint: tokenEndpoint } }]) {
    stage.first.behaviour = { metadata };
    const browser = newBrowser();
    const answer = await attempt(browser, stage);
    expect(await outcome(browser, stage, answer)).toEqual([502, 'provider_answer_invalid', 'nobody']);
  }
  expect(stage.first.count('token')).toBe(0);
});
