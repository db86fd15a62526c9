/** One replica of a trial: the real session manager, near cache and store, doing what it is told and telling what it saw. */
import { setTimeout as delay } from 'node:timers/promises';
import { CoatcheckError } from '../../../src/errors.ts';
import { DurableConnection } from '../../../src/session/durable-connection.ts';
import { NearCache } from '../../../src/session/near-cache.ts';
import { createRedisConnection } from '../../../src/session/redis-connection.ts';
import { createRedisStore } from '../../../src/session/redis-store.ts';
import { createKeyring } from '../../../src/session/seal.ts';
import type { Session, TokenSet, User } from '../../../src/session/session.ts';
import { sealRecord } from '../../../src/session/session-record.ts';
import type { SessionStore } from '../../../src/session/store.ts';
import { readTicket, type Ticket } from '../../../src/session/ticket.ts';
import { SessionManager } from '../../../src/session-manager.ts';
import { createTelemetry } from '../../../src/telemetry.ts';
import {
  type Fault,
  nowMs,
  type Operation,
  type SessionEvent,
  type Sighting,
  type Span,
  subjectOf,
  type Told,
} from './operation.ts';
import { type Sabotage, sabotage } from './sabotage.ts';

/** Options of a {@link Replica}. */
export interface ReplicaOptions {
  /** Its number in the trial. */
  readonly number: number;
  /** Where it finds Redis. */
  readonly url: string;
  /** Whether sessions are written over a connection of their own, as where replicas acknowledge. */
  readonly durable: boolean;
  readonly maximumAgeMs: number;
  /** What is wrong with it, to see that it is found out. Default: nothing. */
  readonly sabotage?: Sabotage | undefined;
}

/** A trial ends long before either of these. */
export const idleTimeoutMs = 3_600_000;
const absoluteTimeoutMs = 12 * idleTimeoutMs;
const lockTtlMs = 250;
/** What of a lock's time is not relied on: Redis measures it by another clock. */
const lockMarginMs = 20;

type On<Kind extends Operation['kind']> = Extract<Operation, { kind: Kind }>;
type Event<Kind extends SessionEvent['kind']> = Extract<SessionEvent, { kind: Kind }>;
type Unnumbered<Of> = Of extends SessionEvent ? Omit<Of, 'replica'> : never;

/** Does operations one by one; it judges nothing. */
export class Replica {
  readonly #number: number;
  readonly #store: SessionStore;
  readonly #sessions: SessionManager;
  /** Remembers nothing: every load asks the store. */
  readonly #strict: SessionManager;
  readonly #keyring = createKeyring([{ id: 'trial', secret: Buffer.alloc(32, 'trial') }]);
  readonly #start: () => Promise<unknown>;
  readonly #carelessly: boolean;
  /** How many operations ended in a fault. */
  faults = 0;

  constructor({ number, url, durable, maximumAgeMs, sabotage: wrong }: ReplicaOptions) {
    this.#number = number;
    this.#carelessly = wrong === 'careless';
    const connection = createRedisConnection({ url });
    const second = durable
      ? new DurableConnection({ connection: createRedisConnection({ url }), timeoutMs: 125 })
      : undefined;
    const store = createRedisStore({ connection, ...(second && { durable: second }) });
    this.#store = sabotage(store, wrong);
    const settings = {
      store: this.#store,
      keyring: this.#keyring,
      telemetry: createTelemetry({ level: 'silent' }),
      idleTimeoutMs,
      absoluteTimeoutMs,
    };
    this.#sessions = new SessionManager({ ...settings, nearCache: new NearCache({ maximumAgeMs }) });
    this.#strict = new SessionManager(settings);
    this.#start = () => Promise.all([connection.start(), second?.start()]);
  }

  async start(): Promise<void> {
    await this.#start();
  }

  close(): Promise<void> {
    return this.#store.close();
  }

  /** Does it, and tells what happened. */
  async perform(operation: Operation): Promise<Told[]> {
    switch (operation.kind) {
      case 'create':
        return this.#create(operation);
      case 'load':
      case 'read':
        return [this.#told(operation.session, await this.#look(operation))];
      case 'replace':
        return this.#replace(operation);
      case 'extend':
        return [await this.#extend(operation)];
      case 'destroy':
        return [await this.#destroy(operation)];
      case 'lock':
        return [await this.#lock(operation)];
      case 'put':
        return [await this.#put(operation)];
      case 'take':
        return [await this.#take(operation)];
    }
  }

  async #create({ session, write, previous }: On<'create'>): Promise<Told[]> {
    const [answer, span] = await this.#timed(async () => {
      const login = { ...contentOf({ session, write, base: '' }), previousTicket: previous?.ticket };
      const { ticket } = await this.#sessions.create(login);
      return { kind: 'created', ticket: ticket.value } as const;
    });
    const told = [this.#told(session, { kind: 'create', write, ...span, answer })];
    if (previous !== undefined) {
      const over = answer.kind === 'fault' ? answer : ({ kind: 'over' } as const);
      told.push(this.#told(previous.session, { kind: 'destroy', ...span, answer: over }));
    }
    return told;
  }

  async #look({ kind, ticket }: On<'load' | 'read'>): Promise<Unnumbered<Event<'load' | 'read'>>> {
    const [answer, span] = await this.#timed(() =>
      kind === 'load' ? this.#load(ticket) : this.#read(ticket),
    );
    return { kind, ...span, answer };
  }

  async #load(ticket: string): Promise<Exclude<Event<'load'>['answer'], Fault>> {
    const loaded = await this.#sessions.load(ticket);
    return loaded.kind === 'none' ? loaded : sightingOf(loaded.session);
  }

  async #read(ticket: string): Promise<Exclude<Event<'read'>['answer'], Fault>> {
    const loaded = await this.#strict.load(ticket);
    return loaded.kind === 'none' ? loaded : sightingOf(loaded.session);
  }

  async #replace({ session: number, ticket: value, write }: On<'replace'>): Promise<Told[]> {
    let loaded: Session | undefined;
    const [seen, seenSpan] = await this.#timed(async () => {
      const result = await this.#sessions.load(value);
      if (result.kind === 'none') return result;
      loaded = result.session;
      return sightingOf(loaded);
    });
    const told = [this.#told(number, { kind: 'load', ...seenSpan, answer: seen })];
    if (loaded === undefined || seen.kind !== 'session') return told;
    const session: Session = loaded;
    const ticket = ticketOf(value);
    const content = { ...session, ...contentOf({ session: number, write, base: seen.write }) };
    const record = sealRecord(content, ticket, this.#keyring);
    const [answer, span] = await this.#timed(async () => {
      const expected = this.#carelessly ? await this.#latest(ticket, session) : session.generation;
      return this.#store.replace(ticket.sessionId, expected, record);
    });
    const base = { generation: session.generation, write: seen.write };
    told.push(this.#told(number, { kind: 'replace', write, base, ...span, answer }));
    return told;
  }

  async #latest({ sessionId }: Ticket, { generation }: Session): Promise<number> {
    const now = await this.#store.read(sessionId);
    return now.kind === 'found' ? now.record.generation : generation;
  }

  async #extend({ session, ticket, idleDeadlineMs }: On<'extend'>): Promise<Told> {
    const [answer, span] = await this.#timed(async () => {
      const result = await this.#store.extend(ticketOf(ticket).sessionId, idleDeadlineMs, 1);
      return result.kind === 'gone'
        ? result
        : ({ kind: 'extended', idleDeadlineMs: result.idleDeadlineMs } as const);
    });
    return this.#told(session, { kind: 'extend', ...span, answer });
  }

  async #destroy({ session, ticket }: On<'destroy'>): Promise<Told> {
    const [answer, span] = await this.#timed(async () => {
      const existed = await this.#sessions.destroy(ticket);
      return { kind: existed ? 'ended' : 'over' } as const;
    });
    return this.#told(session, { kind: 'destroy', ...span, answer });
  }

  async #lock({ name, owner, holdMs }: On<'lock'>): Promise<Told> {
    const [locked, span] = await this.#timed(async () => ({
      kind: (await this.#store.lock(name, owner, lockTtlMs)).kind,
    }));
    if (locked.kind !== 'taken') return { about: 'lock', hold: undefined };
    await delay(holdMs);
    const endMs = Math.min(nowMs(), span.startMs + lockTtlMs - lockMarginMs);
    await this.#timed(async () => ({ kind: await this.#store.unlock(name, owner, 'settled') }));
    return {
      about: 'lock',
      hold: { name, owner, replica: this.#number, startMs: span.endMs, endMs },
    };
  }

  async #put({ id }: On<'put'>): Promise<Told> {
    const [answer] = await this.#timed(async () => ({
      kind: await this.#store.putOnce(id, Buffer.from(`bytes of ${id}`), 60_000),
    }));
    return { about: 'put', id, stored: answer.kind === true };
  }

  async #take({ id }: On<'take'>): Promise<Told> {
    const [answer, span] = await this.#timed(async () => {
      const bytes = await this.#store.takeOnce(id);
      if (bytes === undefined) return { kind: 'nothing' } as const;
      return { kind: bytes.toString() === `bytes of ${id}` ? 'got' : 'wrong' } as const;
    });
    return { about: 'take', take: { id, replica: this.#number, ...span, answer: answer.kind } };
  }

  /** What `work` gave, or that the store was away; and when. */
  async #timed<Answer>(
    work: () => Promise<Answer>,
  ): Promise<[Answer | Fault, Pick<Span, 'startMs' | 'endMs'>]> {
    const startMs = nowMs();
    try {
      const answer = await work();
      return [answer, { startMs, endMs: nowMs() }];
    } catch (error) {
      if (!CoatcheckError.is(error)) throw error;
      this.faults += 1;
      return [
        { kind: 'fault', code: error.code },
        { startMs, endMs: nowMs() },
      ];
    }
  }

  #told(session: number, event: Unnumbered<SessionEvent>): Told {
    return { about: 'session', session, event: { replica: this.#number, ...event } };
  }
}

function ticketOf(value: string): Ticket {
  const ticket = readTicket(value);
  if (ticket === undefined) throw new TypeError('the trial has issued no such ticket');
  return ticket;
}

/** Everything in it tells of the write that made it. */
function contentOf(version: { readonly session: number; readonly write: string; readonly base: string }): {
  readonly user: User;
  readonly tokenSets: ReadonlyMap<string, TokenSet>;
} {
  const subject = subjectOf(version.session);
  const claims = new Map([
    ['write', version.write],
    ['base', version.base],
  ]);
  const tokens = (provider: string): TokenSet => ({
    issuer: `https://${provider}.example.com`,
    subject,
    scope: 'openid',
    accessToken: `${provider} ${version.write}`,
    refreshToken: `${provider} again ${version.write}`,
    accessTokenExpiresAtMs: Date.now() + absoluteTimeoutMs,
  });
  return {
    user: { issuer: 'https://identity.example.com', subject, claims },
    tokenSets: new Map(['identity', 'notebook'].map((name) => [name, tokens(name)])),
  };
}

function sightingOf({ user, tokenSets, generation, idleDeadlineMs }: Session): Sighting {
  const write = user.claims.get('write') ?? '';
  const whole = ['identity', 'notebook'].every((name) => {
    const tokens = tokenSets.get(name);
    return tokens?.accessToken === `${name} ${write}` && tokens.subject === user.subject;
  });
  return {
    kind: 'session',
    generation,
    write,
    base: user.claims.get('base') ?? '',
    subject: user.subject,
    idleDeadlineMs,
    torn: !whole,
  };
}
