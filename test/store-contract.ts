/** What every store must keep, run against each of them with injected time. */
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  type ExtendResult,
  epochLifetimeMs,
  type LockResult,
  type ReplaceResult,
  type SessionStore,
  type StoredRecord,
} from '../src/session/store.ts';

/** A clock that only moves when told. */
export interface Clock {
  now(): number;
  advance(ms: number): void;
}

/** An opened store, and how to be rid of it. */
export interface OpenedStore {
  readonly store: SessionStore;
  close(): Promise<void>;
}

/** A clock that begins at the present, so that a server with its own clock agrees. */
export function createClock(): Clock {
  let nowMs = Date.now();
  return {
    now: () => nowMs,
    advance: (ms) => {
      nowMs += ms;
    },
  };
}

/** A new session id. */
export function newSessionId(): string {
  return randomBytes(32).toString('base64url');
}

const minute = 60_000;

/** The suite. `open` gives a store that tells the time by `clock`. */
export function storeContract(name: string, open: (clock: Clock) => Promise<OpenedStore>): void {
  describe(`${name} keeps the store contract`, () => {
    const clock = createClock();
    let opened: OpenedStore;
    let store: SessionStore;

    beforeAll(async () => {
      opened = await open(clock);
      store = opened.store;
    });
    afterAll(() => opened.close());

    const record = (text = 'body', idleMs = 10 * minute, absoluteMs = 60 * minute): NewRecord => ({
      idleDeadlineMs: clock.now() + idleMs,
      absoluteDeadlineMs: clock.now() + absoluteMs,
      body: Buffer.from(text),
    });

    describe('create and read', () => {
      test('a record comes back as it was written, with generation 1', async () => {
        const id = newSessionId();
        const body = randomBytes(3000);
        const written = { ...record(), body };
        expect(await store.create(id, written)).toBe(true);
        expect(await store.read(id)).toEqual({ kind: 'found', record: { ...written, generation: 1 } });
      });

      test('an empty body comes back empty', async () => {
        const id = newSessionId();
        await store.create(id, record(''));
        expect(await found(store, id)).toMatchObject({ body: Buffer.alloc(0) });
      });

      test('an id that nobody wrote is a miss', async () => {
        expect(await store.read(newSessionId())).toEqual({ kind: 'miss' });
      });

      test('create does not overwrite', async () => {
        const id = newSessionId();
        await store.create(id, record('first'));
        expect(await store.create(id, record('second'))).toBe(false);
        expect(await found(store, id)).toMatchObject({ body: Buffer.from('first') });
      });

      test('of many concurrent creates exactly one writes', async () => {
        const id = newSessionId();
        const tries = Array.from({ length: 20 }, (_, at) => store.create(id, record(String(at))));
        expect((await Promise.all(tries)).filter(Boolean)).toHaveLength(1);
      });

      test('what the caller does with its buffers afterwards changes nothing', async () => {
        const id = newSessionId();
        const written = record('kept');
        await store.create(id, written);
        written.body.fill(0);
        (await found(store, id)).body.fill(0);
        expect((await found(store, id)).body.toString()).toBe('kept');
      });

      test('an id that is not base64url of 32 bytes is refused', async () => {
        await expect(store.create('short', record())).rejects.toMatchObject({ code: 'internal' });
      });

      test.each([
        ['idle', 5, 60],
        ['absolute', 60, 5],
      ])(
        'S-051 a session past its %s deadline is a miss, and no write brings it back',
        async (_, idle, absolute) => {
          const id = newSessionId();
          await store.create(id, record('dies', idle * minute, absolute * minute));
          clock.advance(5 * minute - 1);
          expect(await store.read(id)).toMatchObject({ kind: 'found' });
          clock.advance(1);
          expect(await store.read(id)).toEqual({ kind: 'miss' });
          expect(await store.replace(id, 1, record())).toEqual({ kind: 'gone' });
          expect(await store.extend(id, clock.now() + minute, 0)).toEqual({ kind: 'gone' });
          expect(await store.read(id)).toEqual({ kind: 'miss' });
        },
      );
    });

    describe('replace', () => {
      test('the next generation takes the place of the one it was based on', async () => {
        const id = newSessionId();
        await store.create(id, record('one'));
        const next = record('two', 20 * minute, 30 * minute);
        expect(await store.replace(id, 1, next)).toEqual({ kind: 'replaced', generation: 2 });
        expect(await found(store, id)).toEqual({ ...next, generation: 2 });
        expect(await store.replace(id, 2, record('three'))).toEqual({ kind: 'replaced', generation: 3 });
      });

      test.each([0, 2, 7])(
        'based on generation %i of a session at 1, it is a conflict and writes nothing',
        async (wrong) => {
          const id = newSessionId();
          await store.create(id, record('one'));
          expect(await store.replace(id, wrong, record('two'))).toEqual({ kind: 'conflict' });
          expect(await found(store, id)).toMatchObject({ generation: 1, body: Buffer.from('one') });
        },
      );

      test('of two concurrent replaces exactly one wins', async () => {
        const id = newSessionId();
        await store.create(id, record('one'));
        const bodies = ['left', 'right'];
        const results = await Promise.all(bodies.map((text) => store.replace(id, 1, record(text))));
        expect(results.map(({ kind }) => kind).sort()).toEqual(['conflict', 'replaced']);
        const winner = bodies[results.findIndex(({ kind }) => kind === 'replaced')];
        expect((await found(store, id)).body.toString()).toBe(winner);
      });

      test('the later of the two idle deadlines stays', async () => {
        const id = newSessionId();
        await store.create(id, record('one', 20 * minute));
        const later = clock.now() + 20 * minute;
        await store.replace(id, 1, record('two', 5 * minute));
        expect(await found(store, id)).toMatchObject({ idleDeadlineMs: later, body: Buffer.from('two') });
        await store.replace(id, 2, record('three', 25 * minute));
        expect(await found(store, id)).toMatchObject({ idleDeadlineMs: clock.now() + 25 * minute });
      });

      test('an absolute deadline brought forward ends the session then', async () => {
        const id = newSessionId();
        await store.create(id, record());
        await store.replace(id, 1, record('two', 10 * minute, 2 * minute));
        clock.advance(2 * minute);
        expect(await store.read(id)).toEqual({ kind: 'miss' });
      });

      test('S-053 a session destroyed meanwhile does not come back', async () => {
        const id = newSessionId();
        await store.create(id, record());
        expect(await store.destroy(id)).toBe(true);
        expect(await store.replace(id, 1, record())).toEqual({ kind: 'gone' });
        expect(await store.extend(id, clock.now() + 20 * minute, 0)).toEqual({ kind: 'gone' });
        expect(await store.read(id)).toEqual({ kind: 'miss' });
      });

      test('a session that never was is gone', async () => {
        expect(await store.replace(newSessionId(), 1, record())).toEqual({ kind: 'gone' });
      });
    });

    describe('extend', () => {
      test('it moves the idle deadline and nothing else', async () => {
        const id = newSessionId();
        const written = record('same');
        await store.create(id, written);
        const idleDeadlineMs = clock.now() + 20 * minute;
        expect(await store.extend(id, idleDeadlineMs, minute)).toEqual({ kind: 'extended', idleDeadlineMs });
        expect(await found(store, id)).toEqual({ ...written, idleDeadlineMs, generation: 1 });
        clock.advance(20 * minute - 1);
        expect(await store.read(id)).toMatchObject({ kind: 'found' });
        clock.advance(1);
        expect(await store.read(id)).toEqual({ kind: 'miss' });
      });

      test('a gain below the minimum changes nothing and says what holds', async () => {
        const id = newSessionId();
        const written = record();
        const { idleDeadlineMs } = written;
        await store.create(id, written);
        for (const wanted of [idleDeadlineMs + minute - 1, idleDeadlineMs, idleDeadlineMs - minute]) {
          expect(await store.extend(id, wanted, minute)).toEqual({ kind: 'fresh', idleDeadlineMs });
        }
        expect(await store.extend(id, idleDeadlineMs, 0)).toEqual({ kind: 'fresh', idleDeadlineMs });
        expect(await found(store, id)).toMatchObject({ idleDeadlineMs });
        expect(await store.extend(id, idleDeadlineMs + minute, minute)).toMatchObject({ kind: 'extended' });
      });

      test('of many concurrent extends one writes', async () => {
        const id = newSessionId();
        await store.create(id, record());
        const wanted = clock.now() + 20 * minute;
        const results = await Promise.all(Array.from({ length: 10 }, () => store.extend(id, wanted, minute)));
        expect(results.filter(({ kind }) => kind === 'extended')).toHaveLength(1);
        expect(results.filter(({ kind }) => kind === 'fresh')).toHaveLength(9);
      });

      test('S-050 it never goes past the absolute deadline', async () => {
        const id = newSessionId();
        await store.create(id, record('', 10 * minute, 30 * minute));
        const absoluteDeadlineMs = clock.now() + 30 * minute;
        const result = await store.extend(id, clock.now() + 40 * minute, minute);
        expect(result).toEqual({ kind: 'extended', idleDeadlineMs: absoluteDeadlineMs });
        clock.advance(30 * minute);
        expect(await store.read(id)).toEqual({ kind: 'miss' });
      });
    });

    test('S-052 destroy removes the session, and says whether there was one', async () => {
      const id = newSessionId();
      await store.create(id, record());
      expect(await Promise.all([store.destroy(id), store.destroy(id)])).toEqual([true, false]);
      expect(await store.read(id)).toEqual({ kind: 'miss' });
    });

    describe('one-time values', () => {
      test('exactly one of many concurrent takers gets the bytes', async () => {
        const id = newSessionId();
        const value = randomBytes(500);
        expect(await store.putOnce(id, value, minute)).toBe(true);
        const taken = await Promise.all(Array.from({ length: 20 }, () => store.takeOnce(id)));
        expect(taken.filter((bytes) => bytes !== undefined)).toEqual([value]);
        expect(await store.takeOnce(id)).toBeUndefined();
      });

      test('an id that is taken is not overwritten', async () => {
        const id = newSessionId();
        const puts = await Promise.all(
          ['a', 'b', 'c'].map((text) => store.putOnce(id, Buffer.from(text), minute)),
        );
        expect(puts).toEqual([true, false, false]);
        expect((await store.takeOnce(id))?.toString()).toBe('a');
      });

      test('the bytes vanish after their time', async () => {
        const id = newSessionId();
        await store.putOnce(id, Buffer.from('short'), 20);
        clock.advance(20);
        await expect.poll(() => store.putOnce(id, Buffer.from('next'), minute)).toBe(true);
      });
    });

    describe('locks', () => {
      const taken = (unfinished = 0): LockResult => ({ kind: 'taken', unfinished });

      test('S-062 while one owner holds it no other gets, renews or releases it', async () => {
        const name = newSessionId();
        expect(await store.lock(name, 'first', minute)).toEqual(taken());
        const held = await store.lock(name, 'second', minute);
        expect(held).toEqual({ kind: 'held', forMs: expect.any(Number) });
        expect(held.kind === 'held' && held.forMs > minute / 2 && held.forMs <= minute).toBe(true);
        expect(await store.renewLock(name, 'second', { ttlMs: minute })).toBe(false);
        expect(await store.unlock(name, 'second', 'settled')).toBe(false);
        expect(await store.renewLock(name, 'first', { ttlMs: minute })).toBe(true);
        expect(await store.unlock(name, 'first', 'settled')).toBe(true);
        expect(await store.unlock(name, 'first', 'settled')).toBe(false);
        expect(await store.renewLock(name, 'first', { ttlMs: minute })).toBe(false);
        expect(await store.lock(name, 'second', minute)).toEqual(taken());
      });

      test('an owner who asks again, unsure of the first answer, still holds it', async () => {
        const name = newSessionId();
        expect(await store.lock(name, 'first', minute)).toEqual(taken());
        expect(await store.lock(name, 'first', minute)).toEqual(taken());
      });

      test('of many who ask at once one gets it', async () => {
        const name = newSessionId();
        const tries = Array.from({ length: 20 }, (_, at) => store.lock(name, `owner ${at}`, minute));
        expect((await Promise.all(tries)).filter(({ kind }) => kind === 'taken')).toHaveLength(1);
      });

      test('locks of one session are told apart by what follows the colon', async () => {
        const id = newSessionId();
        expect(await store.lock(`${id}:identity`, 'first', minute)).toEqual(taken());
        expect(await store.lock(`${id}:notebook`, 'second', minute)).toEqual(taken());
        expect(await store.lock(`${id}:identity`, 'second', minute)).toMatchObject({ kind: 'held' });
      });

      /** Takes the lock as soon as its holder's time is over. */
      const takeOver = async (name: string, owner: string, ttlMs: number): Promise<LockResult> => {
        clock.advance(20);
        let result: LockResult | undefined;
        const ask = async () => {
          result = await store.lock(name, owner, ttlMs);
          return result.kind;
        };
        await expect.poll(ask).toBe('taken');
        return result ?? taken(-1);
      };

      test('S-062 a holder whose time is over has lost it to the next, and cannot release theirs', async () => {
        const name = newSessionId();
        await store.lock(name, 'slow', 20);
        await takeOver(name, 'next', minute);
        expect(await store.renewLock(name, 'slow', { ttlMs: minute })).toBe(false);
        expect(await store.unlock(name, 'slow', 'settled')).toBe(false);
        expect(await store.lock(name, 'third', minute)).toMatchObject({ kind: 'held' });
      });

      const begun = { ttlMs: 20, begunForMs: 60 * minute };

      test('S-061 holders who have begun and let it run out are counted until one has settled', async () => {
        const name = newSessionId();
        expect(await store.lock(name, 'first', 20)).toEqual(taken(0));
        expect(await store.renewLock(name, 'first', begun)).toBe(true);
        expect(await takeOver(name, 'second', 20)).toEqual(taken(1));
        expect(await store.renewLock(name, 'second', begun)).toBe(true);
        expect(await takeOver(name, 'third', 20)).toEqual(taken(2));
        expect(await store.lock(name, 'third', minute)).toEqual(taken(2));
        expect(await store.renewLock(name, 'third', { ttlMs: 20 })).toBe(true);
        expect(await takeOver(name, 'fourth', minute)).toEqual(taken(2));
        expect(await store.renewLock(name, 'fourth', { ...begun, ttlMs: minute })).toBe(true);
        expect(await store.renewLock(name, 'fourth', { ttlMs: 20 })).toBe(true);
        expect(await takeOver(name, 'fifth', minute)).toEqual(taken(3));
        expect(await store.unlock(name, 'fifth', 'settled')).toBe(true);
        expect(await store.lock(name, 'sixth', minute)).toEqual(taken(0));
      });

      test('S-061 a holder who had not begun is not counted, and leaves nothing', async () => {
        const name = newSessionId();
        await store.lock(name, 'first', 20);
        await store.renewLock(name, 'first', { ttlMs: 20 });
        expect(await takeOver(name, 'second', minute)).toEqual(taken(0));
        expect(await store.unlock(name, 'second', 'unsure')).toBe(true);
        expect(await store.lock(name, 'third', minute)).toEqual(taken(0));
      });

      test('S-061 who is unsure counts as one, who has sent nothing leaves the number', async () => {
        const name = newSessionId();
        for (const [at, outcome] of (['unsure', 'unsent', 'unsure', 'unsent'] as const).entries()) {
          expect(await store.lock(name, `owner ${at}`, minute)).toEqual(taken((at + 1) >> 1));
          expect(await store.renewLock(name, `owner ${at}`, { ...begun, ttlMs: minute })).toBe(true);
          expect(await store.unlock(name, `owner ${at}`, outcome)).toBe(true);
          expect(await store.unlock(name, `owner ${at}`, 'settled')).toBe(false);
        }
        expect(await store.lock(name, 'last', minute)).toEqual(taken(2));
        expect(await store.unlock(name, 'last', 'settled')).toBe(true);
        expect(await store.lock(name, 'next', minute)).toEqual(taken(0));
      });

      test('who is unfinished is remembered for as long as they said, whoever holds the lock meanwhile', async () => {
        const name = newSessionId();
        await store.lock(name, 'first', minute);
        await store.renewLock(name, 'first', { ttlMs: minute, begunForMs: 400 });
        await store.unlock(name, 'first', 'unsure');
        expect(await store.lock(name, 'second', 20)).toEqual(taken(1));
        expect(await takeOver(name, 'third', 20)).toEqual(taken(1));
        expect(await store.unlock(name, 'third', 'unsent')).toBe(true);
        clock.advance(400);
        const later = async (): Promise<LockResult> => {
          const result = await store.lock(name, 'later', minute);
          await store.unlock(name, 'later', 'unsent');
          return result;
        };
        await expect.poll(later).toEqual(taken(0));
      });

      test('a holder who has begun and whose time is over may go on where nobody has taken it', async () => {
        const name = newSessionId();
        await store.lock(name, 'slow', minute);
        await store.renewLock(name, 'slow', { ...begun, ttlMs: 1 });
        clock.advance(20);
        expect(await store.renewLock(name, 'slow', { ttlMs: minute })).toBe(true);
        expect(await store.lock(name, 'next', minute)).toMatchObject({ kind: 'held' });
      });
    });

    describe('indexes', () => {
      test('members are listed soonest to end first, and end by themselves', async () => {
        const index = newSessionId();
        const entry = (member: string, minutes: number) => ({
          member,
          expiresAtMs: clock.now() + minutes * minute,
        });
        const [late, soon, middle] = [entry('late', 30), entry('soon', 10), entry('middle', 20)];
        for (const each of [late, soon, middle]) await store.indexAdd(index, each);
        expect(await store.indexList(index)).toEqual([soon, middle, late]);
        clock.advance(10 * minute);
        expect(await store.indexList(index)).toEqual([middle, late]);
        clock.advance(20 * minute);
        expect(await store.indexList(index)).toEqual([]);
      });

      test('S-054 removing one member leaves the others', async () => {
        const index = newSessionId();
        const expiresAtMs = clock.now() + minute;
        for (const member of ['a', 'b', 'c']) await store.indexAdd(index, { member, expiresAtMs });
        await store.indexRemove(index, 'b');
        await store.indexRemove(index, 'never there');
        await store.indexRemove(newSessionId(), 'a');
        expect((await store.indexList(index)).map(({ member }) => member)).toEqual(['a', 'c']);
      });

      test('adding a member again moves its end', async () => {
        const index = newSessionId();
        await store.indexAdd(index, { member: 'a', expiresAtMs: clock.now() + minute });
        const moved = { member: 'a', expiresAtMs: clock.now() + 5 * minute };
        await store.indexAdd(index, moved);
        expect(await store.indexList(index)).toEqual([moved]);
      });

      test('a member is removed at the end that is named, and at no other', async () => {
        const index = newSessionId();
        const entry = { member: 'a', expiresAtMs: clock.now() + minute };
        await store.indexAdd(index, entry);
        await store.indexRemove(index, 'a', entry.expiresAtMs - 1);
        await store.indexRemove(index, 'b', entry.expiresAtMs);
        expect(await store.indexList(index)).toEqual([entry]);
        await store.indexRemove(index, 'a', entry.expiresAtMs);
        expect(await store.indexList(index)).toEqual([]);
      });

      test('S-054 closing lists the members and begins an epoch that everybody learns of', async () => {
        const index = newSessionId();
        const entry = { member: 'a', expiresAtMs: clock.now() + minute };
        expect(await store.indexAdd(index, entry)).toBe(0);
        expect(await store.indexEpoch(index)).toBe(0);
        expect(await store.indexClose(index)).toEqual([entry]);
        const epoch = await store.indexEpoch(index);
        expect(epoch).toBe(clock.now());
        expect(await store.indexAdd(index, { ...entry, member: 'b' })).toBe(epoch);
        expect((await store.indexList(index)).map(({ member }) => member)).toEqual(['a', 'b']);
        expect((await store.indexClose(index)).map(({ member }) => member)).toEqual(['a', 'b']);
        expect(await store.indexEpoch(index)).toBe(epoch + 1); // the same moment, and yet another epoch
        expect(await store.indexEpoch(newSessionId())).toBe(0);
      });

      test('an epoch outlives the members, and is forgotten in the end', async () => {
        const index = newSessionId();
        await store.indexAdd(index, { member: 'a', expiresAtMs: clock.now() + minute });
        await store.indexClose(index);
        const epoch = clock.now();
        await store.indexRemove(index, 'a');
        clock.advance(epochLifetimeMs - 1);
        expect(await store.indexEpoch(index)).toBe(epoch);
        expect(await store.indexList(index)).toEqual([]);
        clock.advance(1);
        expect(await store.indexEpoch(index)).toBe(0);
        const next = { member: 'b', expiresAtMs: clock.now() + minute };
        expect(await store.indexAdd(index, next)).toBe(0);
      });

      test('S-054 of many who add while one closes, each is listed or learns of the epoch', async () => {
        for (let round = 0; round < 20; round += 1) {
          const index = newSessionId();
          const add = async (at: number): Promise<readonly [string, number]> => {
            const member = `member ${at}`;
            return [member, await store.indexAdd(index, { member, expiresAtMs: clock.now() + minute })];
          };
          const adding = Array.from({ length: 10 }, (_, at) => add(at));
          const closing = store.indexClose(index);
          const late = Array.from({ length: 10 }, (_, at) => add(10 + at));
          const listed = new Set((await closing).map(({ member }) => member));
          for (const [member, epoch] of await Promise.all([...adding, ...late])) {
            expect(listed.has(member)).toBe(epoch === 0);
          }
        }
      });

      test('a member whose time is over is not added', async () => {
        const index = newSessionId();
        await store.indexAdd(index, { member: 'dead', expiresAtMs: clock.now() });
        expect(await store.indexList(index)).toEqual([]);
      });
    });

    test('ping is answered', async () => {
      await store.ping();
    });

    test.each([1, 2, 3])('random interleavings end as a simple model says (seed %i)', async (seed) => {
      await compareWithModel(store, clock, seed);
    });
  });
}

type NewRecord = Omit<StoredRecord, 'generation'>;

async function found(store: SessionStore, id: string): Promise<StoredRecord> {
  const answer = await store.read(id);
  if (answer.kind !== 'found') throw new Error(`expected a record, got ${answer.kind}`);
  return answer.record;
}

/** 600 steps, in batches that are sent without waiting; a store answers in the order in which it was asked. */
async function compareWithModel(store: SessionStore, clock: Clock, seed: number): Promise<void> {
  const random = randomNumbers(seed);
  const upTo = (limit: number): number => Math.floor(random() * limit);
  const model = new Model(clock);
  const ids = Array.from({ length: 4 }, newSessionId);
  const newRecord = (step: number): NewRecord => ({
    idleDeadlineMs: clock.now() + minute + upTo(20 * minute),
    absoluteDeadlineMs: clock.now() + minute + upTo(60 * minute),
    body: Buffer.from(`step ${step}`),
  });
  // A script that the server does not know yet is sent twice, and would be overtaken.
  await store.replace(newSessionId(), 1, newRecord(0));
  await store.extend(newSessionId(), clock.now(), 0);
  for (let step = 0; step < 600; ) {
    const batch: { real: Promise<unknown>; expected: unknown; what: string }[] = [];
    for (let size = 1 + upTo(6); size > 0; size--, step++) {
      const id = ids[upTo(ids.length)] ?? '';
      const [verb, real, expected] = [
        () => {
          const record = newRecord(step);
          return ['create', store.create(id, record), model.create(id, record)] as const;
        },
        () => {
          const record = newRecord(step);
          const generation = (model.generation(id) ?? 1) - (upTo(4) === 0 ? 1 : 0);
          return [
            'replace',
            store.replace(id, generation, record),
            model.replace(id, generation, record),
          ] as const;
        },
        () => {
          const wanted = clock.now() + upTo(40 * minute);
          const gain = upTo(10 * minute);
          return ['extend', store.extend(id, wanted, gain), model.extend(id, wanted, gain)] as const;
        },
        () => ['read', store.read(id), model.read(id)] as const,
        () => ['destroy', store.destroy(id), model.destroy(id)] as const,
      ][Math.min(upTo(9) >> 1, 4)]?.() ?? ['none', Promise.resolve(), undefined];
      batch.push({ real, expected, what: `step ${step}: ${verb}` });
    }
    for (const { real, expected, what } of batch) expect(await real, what).toEqual(expected);
    clock.advance(upTo(4 * minute));
    for (const [at, id] of ids.entries()) {
      if (!model.hasDied(id)) continue;
      expect(await store.read(id)).toEqual({ kind: 'miss' });
      expect(await store.replace(id, model.generation(id) ?? 1, newRecord(step))).toEqual({ kind: 'gone' });
      // A server whose clock is not injected still holds it: go on with another.
      ids[at] = newSessionId();
    }
  }
}

/** The contract in a few lines, for one caller at a time. */
class Model {
  readonly #records = new Map<string, StoredRecord>();
  readonly #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  generation(id: string): number | undefined {
    return this.#records.get(id)?.generation;
  }

  hasDied(id: string): boolean {
    const record = this.#records.get(id);
    if (!record) return false;
    return this.#clock.now() >= Math.min(record.idleDeadlineMs, record.absoluteDeadlineMs);
  }

  read(id: string): unknown {
    const record = this.#records.get(id);
    return record ? { kind: 'found', record } : { kind: 'miss' };
  }

  create(id: string, record: NewRecord): boolean {
    if (this.#records.has(id)) return false;
    this.#records.set(id, { ...record, generation: 1 });
    return true;
  }

  replace(id: string, expected: number, record: NewRecord): ReplaceResult {
    const current = this.#records.get(id);
    if (!current) return { kind: 'gone' };
    if (current.generation !== expected) return { kind: 'conflict' };
    const idleDeadlineMs = Math.max(current.idleDeadlineMs, record.idleDeadlineMs);
    this.#records.set(id, { ...record, idleDeadlineMs, generation: expected + 1 });
    return { kind: 'replaced', generation: expected + 1 };
  }

  extend(id: string, wanted: number, gain: number): ExtendResult {
    const current = this.#records.get(id);
    if (!current) return { kind: 'gone' };
    const idleDeadlineMs = Math.min(wanted, current.absoluteDeadlineMs);
    if (idleDeadlineMs - current.idleDeadlineMs < Math.max(gain, 1)) {
      return { kind: 'fresh', idleDeadlineMs: current.idleDeadlineMs };
    }
    this.#records.set(id, { ...current, idleDeadlineMs });
    return { kind: 'extended', idleDeadlineMs };
  }

  destroy(id: string): boolean {
    return this.#records.delete(id);
  }
}

/** Mulberry32: small, seeded, good enough to shuffle. */
export function randomNumbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
