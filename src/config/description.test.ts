// biome-ignore-all lint/suspicious/noTemplateCurlyInString: such references are what is tested
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fastify from 'fastify';
import { afterAll, describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { env, keySecret, upstream } from '../../test/config-input.ts';
import { type Config, describeConfig, jsonSchema, parseConfig, printable, readConfig } from '../config.ts';

const directory = mkdtempSync(join(tmpdir(), 'coatcheck-description-'));
afterAll(() => rmSync(directory, { recursive: true }));

describe('the documented configuration', () => {
  const example = new URL('../../docs/coatcheck.yaml', import.meta.url);
  const readExample = (): Config => {
    const place = join(directory, 'example');
    mkdirSync(join(place, 'secrets'), { recursive: true });
    cpSync(example, join(place, 'coatcheck.yaml'));
    const secrets = [
      'key-1',
      'key-2',
      'facade-client-secret',
      'admin-token',
      'identity-client-secret',
      'store-password',
      'sentinel-password',
    ];
    const clientFiles = ['identity-client-key', 'archive-client-key', 'archive-client-certificate'];
    const pemFiles = [...clientFiles, 'store-authorities'].map((name) => `${name}.pem`);
    for (const name of [...secrets, ...pemFiles]) {
      writeFileSync(join(place, 'secrets', name), `${keySecret}\n`);
    }
    return readConfig(join(place, 'coatcheck.yaml'), {
      HOSTNAME: 'a-1',
      NOTEBOOK_CLIENT_SECRET: 'canary-c',
    });
  };

  const keysOf = (value: unknown, path = ''): string[] => {
    if (Array.isArray(value))
      return [
        path,
        ...value.flatMap((element) => (typeof element === 'object' ? keysOf(element, `${path}[]`) : [])),
      ];
    if (typeof value !== 'object' || value === null) return [path];
    if (/\.(headers|authorizationParameters)$/.test(path)) return [path];
    const named = path === 'providers' || path === 'upstreams' || path === 'outage.routes';
    return [
      path,
      ...Object.entries(value).flatMap(([key, inner]) =>
        keysOf(inner, `${path === '' ? '' : `${path}.`}${named ? '<name>' : key}`),
      ),
    ];
  };

  test('has in its full example every key, and no other', () => {
    const known = describeConfig().map(({ key }) => key);
    // Behind `#:` stands what goes in place of something else.
    const text = readFileSync(example, 'utf8').replaceAll('  #: ', '  ');
    const written = keysOf(parse(text)).map((key) => (known.includes(key) ? key : key.replace(/File$/, '')));
    const members = ['', 'keys[]', 'providers.<name>', 'upstreams.<name>', 'outage.routes.<name>'];
    expect(new Set(written)).toEqual(new Set([...known, ...members]));
  });

  test('has the types that the code declares, and no other', () => {
    const source = ['store-config.ts', '../config.ts']
      .map((file) => readFileSync(new URL(file, import.meta.url), 'utf8'))
      .join('');
    const declared = source.split('/** Environment variables. */')[0]?.matchAll(/^ {2}(\w+)\??: /gm) ?? [];
    const suffix = { ms: 'Ms', bytes: 'Bytes' };
    const known = describeConfig().map(
      ({ key, unit }) => `${key.split('.').at(-1)?.replace('keys[]', '')}${unit ? suffix[unit] : ''}`,
    );
    // Those of a policy are declared beside its table.
    const ofPolicies = ['policy', 'staleForMs'];
    expect(new Set([...[...declared].map(([, name]) => name), ...ofPolicies])).toEqual(new Set(known));
  });

  test('prints as written, with every secret masked', () => {
    const config = readExample();
    const printed = printable(config);
    expect(JSON.stringify(printed)).not.toContain('canary');
    expect(JSON.stringify(printed)).not.toContain(keySecret);
    expect(printed).toMatchObject({
      store: {
        url: 'rediss://(secret, 4 characters)@sessions.example.com:6379',
        passwordFile: join(directory, 'example', 'secrets', 'store-password'),
        sentinel: { password: '(secret, 44 characters)' },
        deadline: '250ms',
      },
      keys: [{ id: 'k2', secret: '(secret, 33 bytes)' }, { id: 'k1' }],
      session: { idleTimeout: '1h', absoluteTimeout: '12h' },
      providers: {
        identity: { maxAge: '12h', timeout: '5s' },
        notebook: { clientSecret: '(secret, 8 characters)' },
      },
      upstreams: { eln: { headers: { client_id: '(secret, 4 characters)' } } },
      limits: { requestBody: '10MiB', drainTimeout: '25s' },
    });
  });

  test('has a JSON Schema that takes the example and refuses what is unknown', async () => {
    const { $schema: _, ...body } = jsonSchema();
    const customOptions = { removeAdditional: false, coerceTypes: false, useDefaults: false } as const;
    const server = fastify({ ajv: { customOptions } });
    server.post('/', { schema: { body } }, () => 'taken');
    const validate = async (payload: object): Promise<number> =>
      (await server.inject({ method: 'POST', url: '/', payload })).statusCode;
    const value: object = parse(readFileSync(example, 'utf8'));
    expect(await validate(value)).toBe(200);
    expect(await validate({ ...value, lisen: {} })).toBe(400);
    expect(await validate({ ...value, keys: [{ id: 'k1' }] })).toBe(400);
    expect(await validate({ ...value, keys: [{ id: 'k1', secret: 'a', secretFile: 'b' }] })).toBe(400);
  });

  test('has defaults that the schema itself accepts', () => {
    const iam = { type: 'elasticache-iam', user: 'apps', cache: 'sessions', region: 'eu-central-1' };
    const defaults = describeConfig().filter((row) => row.default !== undefined);
    expect(defaults.length).toBeGreaterThan(20);
    const config = printable(
      parseConfig(
        {
          ...upstream({}),
          app: { url: 'https://a.example.com' },
          store: { url: 'rediss://sessions.example.com', auth: iam },
        },
        env,
      ),
    );
    for (const row of defaults) {
      const path = row.key
        .replace('providers.<name>', 'providers.identity')
        .replace('upstreams.<name>', 'upstreams.eln');
      const value = path.split('.').reduce<unknown>((at, step) => Object(at)[step], config);
      if (row.key === 'upstreams') continue;
      expect([row.key, typeof value === 'string' ? value : JSON.stringify(value)]).toEqual([
        row.key,
        row.default,
      ]);
    }
  });
});
