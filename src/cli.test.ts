// biome-ignore-all lint/suspicious/noTemplateCurlyInString: such references are what is tested
import { spawnSync } from 'node:child_process';
import { EventEmitter, once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, test } from 'vitest';
import { parse, stringify } from 'yaml';
import { type CliIo, type RunningGateway, runCli } from './cli.ts';
import { type Config, parseConfig } from './config.ts';
import { CoatcheckError } from './errors.ts';

const directory = mkdtempSync(join(tmpdir(), 'coatcheck-cli-'));
afterAll(() => rmSync(directory, { recursive: true }));

const root = fileURLToPath(new URL('..', import.meta.url));
const keySecret = Buffer.from('canary-key-0123456789-0123456789').toString('base64');

const configuration = {
  publicUrl: 'http://localhost:8080',
  store: { url: 'memory://' },
  keys: [{ id: 'k1', secret: keySecret }],
  providers: {
    identity: { issuer: 'https://identity.example.com', clientId: 'apps', clientSecret: 'canary-client' },
  },
  login: ['identity'],
};

const write = (value: unknown): string => {
  const file = join(directory, 'coatcheck.yaml');
  writeFileSync(file, typeof value === 'string' ? value : stringify(value));
  return file;
};

interface Recorded extends CliIo {
  readonly out: string[];
  readonly err: string[];
}

const recorded = (changes: Partial<CliIo> = {}): Recorded => {
  const out: string[] = [];
  const err: string[] = [];
  const io: CliIo = {
    env: {},
    stdout: (text) => out.push(text),
    stderr: (text) => err.push(text),
    events: new EventEmitter(),
    start: () => Promise.reject(new CoatcheckError('internal')),
    ...changes,
  };
  return { ...io, out, err };
};

const run = async (...argv: string[]): Promise<{ code: number; out: string; err: string }> => {
  const io = recorded();
  const code = await runCli(argv, io);
  return { code, out: io.out.join(''), err: io.err.join('') };
};

describe('usage', () => {
  test('--version and --help end with 0', async () => {
    const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
    expect(await run('--version')).toEqual({ code: 0, out: `${manifest.version}\n`, err: '' });
    expect(await run('--help')).toMatchObject({ code: 0, out: expect.stringContaining('serve') });
  });

  test.each([
    [['sevre'], /^coatcheck: unknown command 'sevre' .*serve.*\n$/],
    [['config', 'check', '--confg', 'x'], /^coatcheck: unknown option '--confg' .*--config.*\n$/],
    [['serve', '--config'], /^coatcheck: option '-c, --config <file>' argument missing\n$/],
    [
      ['keys', 'generate', '--id', 'a b'],
      /^coatcheck: --id: "a b"; expected at most 16 letters, digits, _ -\n$/,
    ],
  ])('%j ends with 2 and one line', async (argv, line) => {
    const { code, out, err } = await run(...argv);
    expect({ code, out }).toEqual({ code: 2, out: '' });
    expect(err).toMatch(line);
  });

  test('nothing at all ends with 2 and the help on standard error', async () => {
    expect(await run()).toMatchObject({ code: 2, out: '', err: expect.stringContaining('Usage:') });
  });
});

describe('config', () => {
  test('check says that a valid file is valid', async () => {
    const file = write(configuration);
    expect(await run('config', 'check', '--config', file)).toEqual({
      code: 0,
      out: `${file} is valid\n`,
      err: '',
    });
  });

  test('check tells every problem in a line of its own', async () => {
    const file = write({ ...configuration, login: ['other'], listen: { port: 1, adminPort: 1 } });
    expect(await run('config', 'check', '--config', file)).toEqual({
      code: 2,
      out: '',
      err:
        'coatcheck: listen.adminPort: 1; expected another port than listen.port\n' +
        'coatcheck: login[0]: "other"; expected one of providers (identity)\n',
    });
  });

  const { providers } = configuration;
  test.each([
    [
      'an unknown key',
      { ...configuration, stroe: {} },
      'stroe: unknown key; expected store, the nearest known key',
    ],
    [
      'a missing secret',
      { ...configuration, keys: [{ id: 'k1' }] },
      'keys[0].secret: missing; expected base64',
    ],
    [
      'an http issuer',
      {
        ...configuration,
        providers: { identity: { ...providers.identity, issuer: 'http://i.example.com' } },
      },
      'providers.identity.issuer: "http://i.example.com"; expected https://',
    ],
    [
      'a short key',
      { ...configuration, keys: [{ id: 'k1', secret: 'canary' }] },
      'keys[0].secret: (secret, 6 characters); expected base64 or base64url of at least 32 bytes, not of 4',
    ],
    [
      'an unreadable file',
      { ...configuration, keys: [{ id: 'k1', secretFile: 'absent' }] },
      'cannot be read (ENOENT); expected a readable file',
    ],
    [
      'a missing variable',
      { ...configuration, store: { url: '${STORE}' } },
      'store.url: environment variable STORE is not set',
    ],
    [
      'a bad duration',
      { ...configuration, session: { idleTimeout: '1x' } },
      'session.idleTimeout: "1x"; expected duration',
    ],
    [
      'a provider given twice',
      `${stringify(configuration)}providers: {}\n`,
      'providers: given again in line',
    ],
  ])('%s keeps check, print and serve from anything but one line and code 2', async (_, value, expected) => {
    const file = write(value);
    for (const command of [['config', 'check'], ['config', 'print'], ['serve']]) {
      const { code, out, err } = await run(...command, '--config', file);
      expect({ code, out }).toEqual({ code: 2, out: '' });
      expect(err).toMatch(/^coatcheck: [^\n]+\n$/);
      expect(err).toContain(expected);
      expect(err).not.toContain('canary');
    }
  });

  test('print shows defaults and no secret', async () => {
    const { code, out, err } = await run('config', 'print', '--config', write(configuration));
    expect({ code, err }).toEqual({ code: 0, err: '' });
    expect(parse(out)).toMatchObject({
      keys: [{ id: 'k1', secret: '(secret, 32 bytes)' }],
      session: { idleTimeout: '1h' },
    });
    expect(out).not.toContain('canary');
    expect(out).not.toContain(keySecret);
  });

  test('schema prints a JSON Schema', async () => {
    const { code, out } = await run('config', 'schema');
    expect(code).toBe(0);
    expect(JSON.parse(out)).toMatchObject({ type: 'object', additionalProperties: false });
  });
});

describe('keys generate', () => {
  test('prints keys that the configuration takes, never the same', async () => {
    const made = [await run('keys', 'generate'), await run('keys', 'generate', '--id', 'k-2')];
    const keys = made.map(({ out }) => parseConfig({ ...configuration, ...parse(out) }, {}).keys[0]);
    expect(keys.map((key) => key?.secret.length)).toEqual([32, 32]);
    expect(keys[0]?.secret).not.toEqual(keys[1]?.secret);
    expect(keys[1]?.id).toBe('k-2');
    expect(made[0]?.err).toMatch(/^coatcheck: beside an older key: put it second/);
  });
});

describe('keys rotate', () => {
  const rotate = async (keys: unknown): Promise<string> => {
    const { code, out, err } = await run('keys', 'rotate', '--config', write({ ...configuration, keys }));
    expect({ code, err }).toEqual({ code: 0, err: '' });
    expect(out).not.toContain(keySecret);
    return out;
  };
  const key = (id: string): unknown => ({ id, secret: keySecret });

  test('with one key: make another, second, first, and when the old one may go', async () => {
    expect((await rotate([key('k1')])).split('\n')).toMatchObject([
      'k1 seals; it alone opens',
      expect.stringMatching(/^1\. make a key: coatcheck keys generate --id k\d{8}$/),
      expect.stringMatching(/^2\. put k\d{8} second, after k1, at every replica/),
      expect.stringMatching(/^3\. put k\d{8} first at every replica$/),
      expect.stringMatching(/^4\. drop k1 when session.absoluteTimeout \(12h\) has passed/),
      expect.stringContaining('SIGHUP'),
      '',
    ]);
  });

  test('with two: what is next depends on which is newer', async () => {
    const out = await rotate([key('k1'), key('k2')]);
    expect(out).toContain('k1 seals; k2 only opens');
    expect(out).toContain('if k2 is the newer one: put it first at every replica');
    expect(out).toContain('if k1 is the newer one: drop k2 when');
  });
});

/** A real listener in the gateway's place. Closing it waits for the requests in flight. */
const listener = () => {
  const server = createServer();
  const start = async ({ publicUrl }: Config): Promise<RunningGateway> => {
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return {
      publicUrl,
      reload: () => undefined,
      close: () => new Promise((resolve) => server.close(() => resolve())),
    };
  };
  return { server, start };
};

/** Serves, and has one request in flight that nobody has answered yet. */
const serveOneRequest = async () => {
  const { server, start } = listener();
  const io = recorded({ start });
  const ended = runCli(['serve', '--config', write(configuration)], io);
  await once(server, 'listening');
  const address = server.address();
  const port = typeof address === 'object' ? address?.port : undefined;
  const answer = fetch(`http://127.0.0.1:${port}/`, { headers: { connection: 'close' } });
  const [, response]: ServerResponse[] = await once(server, 'request');
  return { server, io, ended, answer, response };
};

const names = ['SIGTERM', 'SIGINT', 'unhandledRejection', 'uncaughtException'] as const;

describe('serve', () => {
  test.each(['SIGTERM', 'SIGINT'])(
    '%s drains: the request in flight is answered, then it ends with 0',
    async (signal) => {
      const { server, io, ended, answer, response } = await serveOneRequest();
      io.events.emit(signal);
      await expect.poll(() => server.listening).toBe(false);
      response?.end('done');
      expect(await (await answer).text()).toBe('done');
      expect(await ended).toBe(0);
      expect(io.err).toEqual([]);
      expect(names.map((name) => io.events.listenerCount(name))).toEqual([0, 0, 0, 0]);
    },
  );

  test('SIGHUP reads the file again; one that is wrong changes nothing, and that is told', async () => {
    const { server, start } = listener();
    const seen: Config[] = [];
    const file = write(configuration);
    const begin = async (config: Config): Promise<RunningGateway> => ({
      ...(await start(config)),
      reload: (next) => void seen.push(next),
    });
    const io = recorded({ start: begin });
    const ended = runCli(['serve', '--config', file], io);
    await once(server, 'listening');
    write({ ...configuration, log: { level: 'debug' } });
    await new Promise((resolve) => setImmediate(resolve));
    io.events.emit('SIGHUP');
    write({ ...configuration, keys: [{ id: 'k1', secret: 'canary-short' }] });
    io.events.emit('SIGHUP');
    expect(seen.map(({ log }) => log.level)).toEqual(['debug']);
    expect(io.err.join('')).toMatch(/^coatcheck: SIGHUP: nothing has changed: keys\[0\]\.secret: [^\n]+\n$/);
    expect(io.err.join('')).not.toContain('canary');
    io.events.emit('SIGTERM');
    expect(await ended).toBe(0);
  });

  test('a second signal ends it at once with 1', async () => {
    const { io, ended, answer, response } = await serveOneRequest();
    io.events.emit('SIGTERM');
    io.events.emit('SIGTERM');
    expect(await ended).toBe(1);
    response?.end();
    await answer;
  });

  test.each(['unhandledRejection', 'uncaughtException'])(
    '%s ends it with 1 and one line that quotes no message',
    async (name) => {
      const { server, io, ended, answer, response } = await serveOneRequest();
      io.events.emit(name, new TypeError('canary-token'));
      expect(await ended).toBe(1);
      expect(io.err.join('')).toMatch(/^coatcheck: unexpected fault: TypeError at .*cli\.test\.ts[^\n]*\n$/);
      expect(io.err.join('')).not.toContain('canary');
      response?.end();
      await answer;
      server.close();
    },
  );

  test('a signal while it starts is not lost', async () => {
    const { start } = listener();
    const events = new EventEmitter();
    const begin = (config: Config): Promise<RunningGateway> => {
      events.emit('SIGTERM');
      return start(config);
    };
    expect(
      await runCli(['serve', '--config', write(configuration)], recorded({ start: begin, events })),
    ).toBe(0);
  });

  test('a port that is taken ends it with 1 and one line', async () => {
    const { server, start } = listener();
    await start(parseConfig(configuration, {}));
    const address = server.address();
    const port = typeof address === 'object' ? address?.port : undefined;
    const taken = async (): Promise<RunningGateway> => {
      const other = createServer().listen(port, '127.0.0.1');
      await once(other, 'listening');
      throw new CoatcheckError('internal');
    };
    const io = recorded({ start: taken });
    expect(await runCli(['serve', '--config', write(configuration)], io)).toBe(1);
    expect(io.err.join('')).toMatch(/^coatcheck: Error listen 127\.0\.0\.1 \d+ EADDRINUSE[^\n]*\n$/);
    server.close();
  });

  test('as a real process it ends with 2 and one line on a bad configuration', () => {
    const argv = [
      '--import',
      'tsx',
      'src/cli.ts',
      'serve',
      '--config',
      write({ ...configuration, login: [] }),
    ];
    const { status, stdout, stderr } = spawnSync(process.execPath, argv, { cwd: root, encoding: 'utf8' });
    expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
    expect(stderr).toBe('coatcheck: login: an empty list; expected at least 1\n');
  });
});
