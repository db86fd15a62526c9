import type { DestinationStream } from 'pino';
import { reloadConfig } from './config/reload.ts';
import type { Config } from './config.ts';
import { BackchannelLogout } from './oauth/backchannel-logout.ts';
import { Login } from './oauth/login.ts';
import { Logout } from './oauth/logout.ts';
import { createProvider } from './oauth/provider.ts';
import { Revocation } from './oauth/revocation.ts';
import { createTransactionStore } from './oauth/transaction.ts';
import type { PersonSessions } from './person-sessions.ts';
import { DurableConnection } from './session/durable-connection.ts';
import { createMemoryStore } from './session/memory-store.ts';
import { NearCache } from './session/near-cache.ts';
import { observeStore } from './session/observed-store.ts';
import { createRedisConnection } from './session/redis-connection.ts';
import { createRedisStore } from './session/redis-store.ts';
import { createKeyring, type Keyring } from './session/seal.ts';
import { userIndex } from './session/session.ts';
import type { SessionStore } from './session/store.ts';
import { SessionManager } from './session-manager.ts';
import { createTelemetry, type Telemetry } from './telemetry.ts';

/** Whether the session store answers. */
export interface StoreState {
  /** Of a cluster: every primary. */
  readonly connected: boolean;
  /** When that was last otherwise, Unix time in ms. */
  readonly sinceMs: number;
}

/** All parts of one Coatcheck, put together. The gateway serves it; a Node app can use it directly. */
export interface Coatcheck {
  readonly config: Config;
  /** Sessions: create, load, access token, destroy. */
  readonly sessions: SessionManager;
  /** All sessions of one person: list, end one, end all others, end all. */
  readonly people: PersonSessions;
  /** Logins: begin, resume. */
  readonly login: Login;
  /** The way of a browser past the providers after its session has ended: begin, resume. */
  readonly logout: Logout;
  /** Logout tokens of providers: receive. */
  readonly backchannelLogout: BackchannelLogout;
  readonly telemetry: Telemetry;
  /** Whether the session store answers, and since when. */
  readonly storeState: () => StoreState;
  /** Unix time in ms. */
  readonly now: () => number;
  /**
   * Goes on with the keys, client secrets, upstream headers, log level and `session.validFrom` of another configuration, which it
   * writes into the one that it was made of. What else differs is named in the log and needs a restart.
   */
  reload(next: Config): void;
  /** Finishes what is in flight and lets go of connections. */
  close(): Promise<void>;
}

/** What a caller may put in place of the usual parts. */
export interface CoatcheckOptions {
  /** A store of your own instead of the one that `config.store` names. It is closed with Coatcheck. */
  readonly store?: SessionStore;
  /** Where log lines go. Default: standard output. */
  readonly logDestination?: DestinationStream;
  /** Unix time in ms. Default `Date.now`. */
  readonly now?: () => number;
}

/**
 * Puts a Coatcheck together and connects its store. Resolves also while the store is away: calls then fail with
 * `store_unavailable` until it answers. Throws `config_invalid` where the configuration cannot work.
 */
export async function createCoatcheck(config: Config, options: CoatcheckOptions = {}): Promise<Coatcheck> {
  const { now = Date.now } = options;
  const telemetry = telemetryOf(config, options);
  const { store, state, start } = openStore(config, options, telemetry);
  const keyring = keyringOf(config);
  const { mode, ...size } = config.store.nearCache;
  const providers = config.login.map((name) => providerOf(config, name, { telemetry, now }));
  const byName = new Map(providers.map((provider) => [provider.name, provider]));
  const revocation = new Revocation({ providers: byName, telemetry });
  const nearCache = new NearCache({ ...size, now });
  const sessions = new SessionManager({
    store,
    providers: byName,
    discard: (tokenSets) => revocation.begin(tokenSets),
    keyring,
    telemetry,
    now,
    nearCache,
    cacheMode: mode,
    ...config.session,
    validFromMs: () => config.session.validFrom?.getTime(),
  });
  await start();
  return {
    config,
    telemetry,
    now,
    storeState: state,
    sessions,
    people: sessions.people,
    logout: new Logout({ providers, transactions: createTransactionStore(store, keyring), telemetry }),
    backchannelLogout: new BackchannelLogout({
      providers: byName,
      store,
      end: (order) => sessions.people.endByProvider(order),
      telemetry,
    }),
    login: new Login({
      providers,
      configs: config.providers,
      transactions: createTransactionStore(store, keyring),
      personEpoch: (person) => store.indexEpoch(userIndex(person)),
      now,
      telemetry,
      publicUrl: config.publicUrl,
      claims: config.session.claims,
    }),
    reload: (next) => takeOver({ config, telemetry, nearCache }, next),
    async close() {
      await sessions.close();
      await revocation.close();
      await store.close();
    },
  };
}

interface Reloadable {
  readonly config: Config;
  readonly telemetry: Telemetry;
  readonly nearCache: NearCache;
}

function takeOver({ config, telemetry, nearCache }: Reloadable, next: Config): void {
  const { taken, needsRestart } = reloadConfig(config, next);
  const [key] = config.keys;
  if (key !== undefined) telemetry.configure({ level: config.log.level, referenceKey: key.secret });
  // What a key has opened that is gone must not live on in memory.
  if (taken.includes('keys')) nearCache.clear();
  telemetry.log('config.reloaded', { why: taken.join(', ') || 'nothing' });
  if (needsRestart.length > 0) telemetry.log('config.needs_restart', { why: needsRestart.join(', ') });
}

function telemetryOf(config: Config, { logDestination }: CoatcheckOptions): Telemetry {
  return createTelemetry({
    level: config.log.level,
    processMetrics: true,
    ...(config.keys[0] === undefined ? {} : { referenceKey: config.keys[0].secret }),
    ...(logDestination === undefined ? {} : { destination: logDestination }),
  });
}

/** The keyring of the keys that the configuration has at the time. */
function keyringOf(config: Config): Keyring {
  let { keys } = config;
  let keyring = createKeyring(keys);
  const present = (): Keyring => {
    if (keys !== config.keys) {
      keys = config.keys;
      keyring = createKeyring(keys);
    }
    return keyring;
  };
  return {
    seal: (...parameters) => present().seal(...parameters),
    open: (...parameters) => present().open(...parameters),
  };
}

function providerOf(
  config: Config,
  name: string,
  parts: Pick<Coatcheck, 'telemetry' | 'now'>,
): ReturnType<typeof createProvider> {
  const settings = config.providers[name];
  if (settings === undefined) throw new RangeError(`login names a provider that is not configured: ${name}`);
  return createProvider({
    name,
    config: settings,
    redirectUri: `${config.publicUrl}/auth/callback/${name}`,
    lifetimeIfUntoldMs: config.session.absoluteTimeoutMs,
    ...parts,
  });
}

interface OpenedStore {
  readonly store: SessionStore;
  readonly state: () => StoreState;
  /** Connects; to be called when everybody who listens does so. */
  readonly start: () => Promise<void>;
}

function openStore(config: Config, options: CoatcheckOptions, telemetry: Telemetry): OpenedStore {
  const { now = Date.now } = options;
  const observed = (store: SessionStore): SessionStore =>
    observeStore(store, (operation, outcome, seconds) =>
      telemetry.metrics.storeSeconds.observe({ operation, outcome }, seconds),
    );
  const own =
    options.store ?? (config.store.url.startsWith('memory:') ? createMemoryStore({ now }) : undefined);
  if (own !== undefined) {
    telemetry.metrics.storeUp.set(1);
    const always = { connected: true, sinceMs: now() };
    return { store: observed(own), state: () => always, start: async () => undefined };
  }
  const { deadlineMs, acknowledgedBy, keyPrefix } = config.store;
  const settings = {
    ...config.store,
    onRenewalFault: (error: unknown) => telemetry.log('store.unauthenticated', { error }),
  };
  const watch = watchState(telemetry, now);
  const connection = createRedisConnection({
    ...settings,
    onStateChange: watch.tell,
    onTracking(tracking) {
      if (!tracking && config.store.nearCache.mode === 'tracked') telemetry.log('store.untracked');
    },
  });
  const durable =
    acknowledgedBy === 0
      ? undefined
      : new DurableConnection({
          connection: createRedisConnection(settings),
          ...(acknowledgedBy !== undefined && { acknowledgedBy }),
          timeoutMs: Math.ceil(deadlineMs / 2),
          onRefused: () => telemetry.log('store.unacknowledged'),
        });
  const store = createRedisStore({ connection, ...(durable && { durable }), keyPrefix, now });
  return {
    store: observed(store),
    state: watch.state,
    async start() {
      await Promise.all([connection.start(), durable?.start()]);
      if (!connection.connected) watch.tell(false);
    },
  };
}

interface StateWatch {
  readonly state: () => StoreState;
  readonly tell: (connected: boolean) => void;
}

/** One log line for each change of the store's state, the first included. */
function watchState(telemetry: Telemetry, now: () => number): StateWatch {
  let state: StoreState = { connected: false, sinceMs: now() };
  let told = false;
  return {
    state: () => state,
    tell(connected) {
      if (told && connected === state.connected) return;
      const sinceMs = now();
      telemetry.metrics.storeUp.set(connected ? 1 : 0);
      const ended = told && connected ? { durationMs: sinceMs - state.sinceMs } : {};
      telemetry.log(connected ? 'store.available' : 'store.unavailable', ended);
      state = { connected, sinceMs };
      told = true;
    },
  };
}
