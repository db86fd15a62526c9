import { loadHttp } from './http-load.ts';
import { type ServerProcess, startServer } from './server-process.ts';
import { type Spread, spreadOf } from './statistics.ts';

/** The session layers, each on the same endpoint with the same content. */
export const contenders = {
  bare: { title: 'bare node:http, no session (the floor)', file: 'bare-http.js', words: [] },
  cached: { title: 'Coatcheck, near cache', file: 'coatcheck.js', words: ['tracked'] },
  uncached: { title: 'Coatcheck, near cache off', file: 'coatcheck.js', words: ['off'] },
  express: { title: 'express-session + connect-redis', file: 'express-session.js', words: [] },
  fastifyRolling: {
    title: '@fastify/session + connect-redis',
    file: 'fastify-session.js',
    words: ['rolling'],
  },
  fastify: {
    title: '@fastify/session + connect-redis, not rolling',
    file: 'fastify-session.js',
    words: ['fixed'],
  },
  iron: { title: 'iron-session (all in the cookie)', file: 'iron-session.js', words: [] },
} as const;

/** Name of a contender. */
export type Contender = keyof typeof contenders;

/** How one contender did. */
export interface EndpointResult {
  readonly requestsPerSecond: Spread;
  /** Of the server process. */
  readonly processorMicroseconds: Spread;
  /** Requests per second over those of {@link Contender} `bare`, `express`, … in the same round. */
  readonly over: Readonly<Record<Contender, Spread>>;
}

/** By contender. */
export type EndpointResults = Readonly<Record<Contender, EndpointResult>>;

/** How long to measure. */
export interface EndpointOptions {
  readonly redisUrl: string;
  readonly rounds: number;
  readonly roundMs: number;
  readonly warmUpMs: number;
  readonly connections: number;
  readonly sessions: number;
}

const names = Object.keys(contenders) as Contender[];

interface Round {
  readonly requestsPerSecond: number;
  readonly processorMicroseconds: number;
}

/** Every contender in turn, round after round, so that what the machine does meanwhile hits all of them alike. */
export async function measureEndpoints(options: EndpointOptions): Promise<EndpointResults> {
  const { redisUrl, sessions, rounds, roundMs, warmUpMs } = options;
  const servers = new Map<Contender, ServerProcess>();
  const measured = new Map<Contender, Round[]>(names.map((name) => [name, []]));
  try {
    for (const name of names) {
      servers.set(name, await startServer({ ...contenders[name], redisUrl, sessions }));
    }
    for (let round = -1; round < rounds; round += 1) {
      for (const [name, server] of servers) {
        const result = await measure(server, { ...options, roundMs: round < 0 ? warmUpMs : roundMs });
        if (round < 0) continue;
        measured.get(name)?.push(result);
        console.log(`  round ${round + 1}: ${name} ${Math.round(result.requestsPerSecond)}/s`);
      }
    }
  } finally {
    await Promise.all([...servers.values()].map((server) => server.stop()));
  }
  const entries = names.map((name) => [name, resultOf(name, measured)] as const);
  return Object.fromEntries(entries) as EndpointResults;
}

async function measure(server: ServerProcess, options: EndpointOptions): Promise<Round> {
  const { port, cookies } = server;
  const before = await server.processorMicroseconds();
  const requestsPerSecond = await loadHttp({
    port,
    cookies,
    connections: options.connections,
    durationMs: options.roundMs,
  });
  const used = (await server.processorMicroseconds()) - before;
  return { requestsPerSecond, processorMicroseconds: used / ((requestsPerSecond * options.roundMs) / 1000) };
}

function resultOf(name: Contender, measured: ReadonlyMap<Contender, readonly Round[]>): EndpointResult {
  const rates = (of: Contender): number[] =>
    (measured.get(of) ?? []).map(({ requestsPerSecond }) => requestsPerSecond);
  const own = rates(name);
  const ratios = names.map((other) => {
    const others = rates(other);
    return [other, spreadOf(own.map((rate, round) => rate / (others[round] ?? Number.NaN)))] as const;
  });
  return {
    requestsPerSecond: spreadOf(own),
    processorMicroseconds: spreadOf(
      (measured.get(name) ?? []).map(({ processorMicroseconds }) => processorMicroseconds),
    ),
    over: Object.fromEntries(ratios) as Record<Contender, Spread>,
  };
}
