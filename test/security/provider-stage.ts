import { generateKeyPairSync, type KeyObject, randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { RequestListener } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import type { JWK } from 'oidc-provider';
import { onTestFinished } from 'vitest';
import { freePort } from '../../demo/free-ports.ts';
import {
  type OpenidClient,
  type OpenidProvider,
  type OpenidProviderOptions,
  startOpenidProvider,
} from '../../sim/openid-provider.ts';
import { parseConfig } from '../../src/config.ts';
import { startGateway } from '../../src/gateway/server.ts';
import type { Json } from '../fake-provider.ts';

/** A simulated provider, and the configuration of a gateway that knows nobody else. */
export interface ProviderStage {
  readonly publicUrl: string;
  readonly provider: OpenidProvider;
  /** Method, scheme and path of each request that the provider got, such as `POST https /token`. */
  readonly requests: readonly string[];
  readonly input: Json;
}

/** Options of {@link prepareProviderStage}. */
export interface ProviderStageOptions {
  readonly client?: Partial<OpenidClient>;
  readonly provider?: Partial<OpenidProviderOptions>;
  /** Changes of the provider's configuration. */
  readonly config?: Json;
}

/** Starts a provider and ends it with the test. */
export async function prepareProviderStage(options: ProviderStageOptions): Promise<ProviderStage> {
  const port = await freePort();
  const publicUrl = `http://localhost:${port}`;
  const requests: string[] = [];
  const recording =
    (listener: RequestListener): RequestListener =>
    (request, response) => {
      const scheme = 'encrypted' in request.socket ? 'https' : 'http';
      requests.push(`${request.method} ${scheme} ${request.url?.split('?')[0]}`);
      return listener(request, response);
    };
  const provider = await startOpenidProvider({
    name: 'identity',
    appearance: { title: 'Identity', subtitle: '', colour: '#000' },
    clients: [
      {
        clientId: 'apps',
        redirectUris: [`${publicUrl}/auth/callback/identity`],
        postLogoutRedirectUris: [`${publicUrl}/auth/logged-out`],
        ...options.client,
      },
    ],
    users: { ada: { sub: 'ada', name: 'Ada', email: 'ada@example.com' } },
    guard: recording,
    ...options.provider,
  });
  onTestFinished(() => provider.close());
  const input = {
    publicUrl,
    listen: { host: '127.0.0.1', port, adminHost: '127.0.0.1', adminPort: 0 },
    store: { url: 'memory://' },
    keys: [{ id: 'k1', secret: randomBytes(32).toString('base64') }],
    providers: { identity: { issuer: provider.issuer, clientId: 'apps', ...options.config } },
    login: ['identity'],
    limits: { drainDelay: '0ms' },
  };
  return { publicUrl, provider, requests, input };
}

/** The same with its gateway, in this process. */
export async function startProviderStage(options: ProviderStageOptions): Promise<ProviderStage> {
  const stage = await prepareProviderStage(options);
  const logDestination = new Writable({ write: (_chunk, _encoding, done) => done() });
  const gateway = await startGateway(parseConfig(stage.input, {}), { logDestination });
  onTestFinished(() => gateway.close());
  return stage;
}

/** A directory that goes with the test. */
export function createDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'coatcheck-provider-'));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  return directory;
}

/** A key pair of a kind. */
export interface SigningKey {
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
  /** The public one, as the provider knows it. */
  readonly jwk: JWK;
}

/** Makes a key that can sign with `alg`. */
export function createSigningKey(alg: string, kid = 'apps-1'): SigningKey {
  const curves: Readonly<Record<string, string>> = { ES256: 'P-256', ES384: 'P-384', ES512: 'P-521' };
  const namedCurve = curves[alg];
  const { privateKey, publicKey } =
    alg === 'EdDSA'
      ? generateKeyPairSync('ed25519')
      : namedCurve === undefined
        ? generateKeyPairSync('rsa', { modulusLength: 2048 })
        : generateKeyPairSync('ec', { namedCurve });
  return {
    privateKey,
    publicKey,
    jwk: { ...publicKey.export({ format: 'jwk' }), alg, kid, use: 'sig' } as JWK,
  };
}

/** Writes a private key in PEM, and gives the file. */
export function writePem(directory: string, key: KeyObject): string {
  const file = join(directory, 'client-key.pem');
  writeFileSync(file, key.export({ type: 'pkcs8', format: 'pem' }));
  return file;
}
