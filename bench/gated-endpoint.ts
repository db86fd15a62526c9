import { loadHttp } from './http-load.ts';
import { type ServerProcess, startServer } from './server-process.ts';
import { type Spread, spreadOf } from './statistics.ts';

/** The session layers, each on the same endpoint with the same content. */
export const contenders = {
  bare: { title: 'bare node:http, no session (the floor)', file: 'bare-http.js', words: [] },
  cached: { title: 'Coatcheck, near cache', file: 'coatcheck.js', words: ['tracked'] },
  uncached: { title: 'Coatcheck, near cache off', file: 'coatcheck.js', words: ['off'] },
  express: { title: 'express-session + connect-redis', file: 'express-session.js', words: ['redis'] },
  expressPostgres: {
    title: 'express-session + connect-pg-simple',
    file: 'express-session.js',
    words: ['postgres'],
  },
  expressMemory: { title: 'express-session in memory', file: 'express-session.js', words: ['memory'] },
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
  /** Of the server process, per request. */
  readonly processorMicroseconds: Spread;
  /** In the write-ahead log of its store, per request. */
  readonly writtenBytes: Spread;
  /** Requests per second over those of {@link Contender} `bare`, `express`, … in the same round. */
  readonly over: Readonly<Record<Contender, Spread>>;
}

/** By contender; without the one for PostgreSQL where that is not installed. */
export type EndpointResults = ReadonlyMap<Contender, EndpointResult>;

/** How long to measure. */
export interface EndpointOptions {
  readonly redisUrl: string;
  readonly postgresUrl: string | undefined;
  readonly rounds: number;
  readonly roundMs: number;
  readonly warmUpMs: number;
  readonly connections: number;
  readonly sessions: number;
}

const allNames = Object.keys(contenders) as Contender[];

interface Round {
  readonly requestsPerSecond: number;
  readonly processorMicroseconds: number;
  readonly writtenBytes: number;
}

/** Every contender in turn, round after round, so that what the machine does meanwhile hits all of them alike. */
export async function measureEndpoints(options: EndpointOptions): Promise<EndpointResults> {
  const { postgresUrl, rounds, roundMs, warmUpMs } = options;
  const names = allNames.filter((name) => postgresUrl !== undefined || name !== 'expressPostgres');
  const servers = new Map<Contender, ServerProcess>();
  const measured = new Map<Contender, Round[]>(names.map((name) => [name, []]));
  try {
    for (const name of names) servers.set(name, await startServer({ ...options, ...contenders[name] }));
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
  return new Map(names.map((name) => [name, resultOf(name, measured)]));
}

async function measure(server: ServerProcess, options: EndpointOptions): Promise<Round> {
  const { port, cookies } = server;
  const before = await server.usage();
  const requestsPerSecond = await loadHttp({
    port,
    cookies,
    connections: options.connections,
    durationMs: options.roundMs,
  });
  const after = await server.usage();
  const requests = (requestsPerSecond * options.roundMs) / 1000;
  return {
    requestsPerSecond,
    processorMicroseconds: (after.processorMicroseconds - before.processorMicroseconds) / requests,
    writtenBytes: (after.writtenBytes - before.writtenBytes) / requests,
  };
}

function resultOf(name: Contender, measured: ReadonlyMap<Contender, readonly Round[]>): EndpointResult {
  const own = measured.get(name) ?? [];
  const ratios = allNames.map((other) => {
    const others = measured.get(other) ?? [];
    const ratio = ({ requestsPerSecond }: Round, round: number): number =>
      requestsPerSecond / (others[round]?.requestsPerSecond ?? Number.NaN);
    return [other, spreadOf(own.map(ratio))] as const;
  });
  return {
    requestsPerSecond: spreadOf(own.map((round) => round.requestsPerSecond)),
    processorMicroseconds: spreadOf(own.map((round) => round.processorMicroseconds)),
    writtenBytes: spreadOf(own.map((round) => round.writtenBytes)),
    over: Object.fromEntries(ratios) as Record<Contender, Spread>,
  };
}
