import { randomBytes } from 'node:crypto';
import { Writable } from 'node:stream';
import { freePort } from '../demo/free-ports.ts';
import { type Simulators, type SimulatorsOptions, startSimulators } from '../sim/simulators.ts';
import type { CoatcheckOptions } from '../src/coatcheck.ts';
import { type Config, parseConfig } from '../src/config.ts';
import { type Gateway, startGateway } from '../src/gateway/server.ts';
import { Person } from './person.ts';
import { type RedisServer, startRedisServer } from './redis-server.ts';

/** Everything real, in this process: simulators, a Redis of its own, one gateway. */
export interface World {
  readonly simulators: Simulators;
  readonly redis: RedisServer;
  readonly gateway: Gateway;
  readonly publicUrl: string;
  readonly adminUrl: string;
  /** The configuration as it was given, before it was parsed; a start for further gateways. */
  readonly input: ConfigInput;
  /** Every log line so far. */
  readonly logLines: string[];
  /** Another gateway with the same configuration and its own port, for what two replicas do to one session. */
  startReplica(options?: CoatcheckOptions): Promise<Gateway>;
  /** Signs a demo person in. */
  signIn(username?: string, returnTo?: string): Promise<Person>;
  close(): Promise<void>;
}

/** A configuration as YAML would give it. */
export type ConfigInput = Record<string, unknown>;

/** Options of {@link startWorld}. */
export interface WorldOptions {
  readonly simulators?: Partial<SimulatorsOptions>;
  /** Replaces top-level keys of the configuration. */
  readonly config?: (input: ConfigInput, simulators: Simulators) => ConfigInput;
  readonly coatcheck?: CoatcheckOptions;
}

/** Starts a world. Its gateway listens on `localhost`, the simulators on `127.0.0.1`: two sites to a browser. */
export async function startWorld(options: WorldOptions = {}): Promise<World> {
  const port = await freePort();
  const publicUrl = `http://localhost:${port}`;
  const [simulators, redis] = await Promise.all([
    startSimulators({ publicUrls: [publicUrl], ...options.simulators }),
    startRedisServer(),
  ]);
  const usual = usualConfig({ publicUrl, port, redisUrl: redis.url, simulators });
  const input = options.config?.(usual, simulators) ?? usual;
  const logLines: string[] = [];
  const coatcheckOptions = { logDestination: collect(logLines), ...options.coatcheck };
  const gateway = await startGateway(parse(input), coatcheckOptions);
  const replicas: Gateway[] = [];
  return {
    simulators,
    redis,
    gateway,
    publicUrl,
    adminUrl: gateway.adminAddress,
    input,
    logLines,
    async startReplica(more = {}) {
      const listen = { host: '127.0.0.1', port: 0, adminHost: '127.0.0.1', adminPort: 0 };
      const replica = await startGateway(parse({ ...input, listen }), { ...coatcheckOptions, ...more });
      replicas.push(replica);
      return replica;
    },
    async signIn(username = 'ada', returnTo = '/auth/session') {
      const person = new Person({ username });
      await person.signIn(publicUrl, returnTo);
      return person;
    },
    async close() {
      await Promise.all([gateway, ...replicas].map((running) => running.close()));
      await Promise.all([simulators.close(), redis.stop()]);
    },
  };
}

function parse(input: ConfigInput): Config {
  return parseConfig(input, process.env);
}

interface Usual {
  readonly publicUrl: string;
  readonly port: number;
  readonly redisUrl: string;
  readonly simulators: Simulators;
}

/** The dual login of the simulators: a corporate identity with discovery, a notebook without. */
export function usualConfig({ publicUrl, port, redisUrl, simulators }: Usual): ConfigInput {
  const { identity, notebook, facade, systems } = simulators;
  return {
    publicUrl,
    listen: { host: '127.0.0.1', port, adminHost: '127.0.0.1', adminPort: 0 },
    // Many tests at once on two cores: a busy machine is not an outage.
    store: { url: redisUrl, deadline: '2s' },
    keys: [{ id: 'k1', secret: randomBytes(32).toString('base64') }],
    providers: {
      identity: {
        issuer: identity.issuer,
        clientId: identity.clientId,
        clientSecret: identity.clientSecret,
        userinfo: false,
      },
      notebook: {
        issuer: notebook.issuer,
        discovery: false,
        authorizationEndpoint: notebook.authorizationEndpoint,
        tokenEndpoint: notebook.tokenEndpoint,
        jwksUri: notebook.jwksUri,
        userinfoEndpoint: notebook.userinfoEndpoint,
        clientId: notebook.clientId,
        clientSecret: notebook.clientSecret,
        sameUser: 'email',
      },
    },
    login: ['identity', 'notebook'],
    upstreams: {
      eln: {
        url: facade.url,
        provider: 'notebook',
        headers: { client_id: facade.clientId, client_secret: facade.clientSecret },
      },
      systems: { url: systems.url, provider: 'identity' },
    },
    limits: { drainDelay: '0ms' },
    log: { level: 'debug' },
  };
}

function collect(lines: string[]): Writable {
  return new Writable({
    write(chunk: Buffer, _encoding, done) {
      lines.push(chunk.toString());
      done();
    },
  });
}

/** The same configuration with every load asking the store, within its usual deadline; for what is about the store itself. */
export function withoutNearCache(input: ConfigInput): ConfigInput {
  const { url } = input.store as ConfigInput;
  return { ...input, store: { url, nearCache: { mode: 'off' } } };
}
