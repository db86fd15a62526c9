import { describe, expect, test } from 'vitest';
import { Conditions, stalenessBounds } from './conditions.ts';
import { judge } from './history.ts';
import { judgeHolds, judgeTakes } from './once.ts';
import type { SessionEvent, Sighting, Take } from './operation.ts';
import type { Disturbance } from './weather.ts';

const maximumAgeMs = 3000;

const sighting = (generation: number, rest: Partial<Sighting> = {}): Sighting => ({
  kind: 'session',
  generation,
  write: `w${generation}`,
  base: generation === 1 ? '' : `w${generation - 1}`,
  subject: 'person-7',
  idleDeadlineMs: 1000,
  torn: false,
  ...rest,
});

type Answer<Kind extends SessionEvent['kind']> = Extract<SessionEvent, { kind: Kind }>['answer'];
const at = (startMs: number, replica = 0) => ({ replica, startMs, endMs: startMs + 1 });

const created: SessionEvent = {
  kind: 'create',
  write: 'w1',
  ...at(0),
  answer: { kind: 'created', ticket: 't' },
};
const replace = (startMs: number, generation: number, answer?: Answer<'replace'>): SessionEvent => ({
  kind: 'replace',
  write: `w${generation}`,
  base: { generation: generation - 1, write: `w${generation - 1}` },
  ...at(startMs),
  answer: answer ?? { kind: 'replaced', generation },
});
const load = (startMs: number, answer: Answer<'load'>, replica = 1): SessionEvent => ({
  kind: 'load',
  ...at(startMs, replica),
  answer,
});
const read = (startMs: number, answer: Answer<'read'>): SessionEvent => ({
  kind: 'read',
  ...at(startMs, 1),
  answer,
});
const destroy = (startMs: number, kind: 'ended' | 'over' | 'fault' = 'ended'): SessionEvent => ({
  kind: 'destroy',
  ...at(startMs),
  answer: kind === 'fault' ? { kind, code: 'store_unavailable' } : { kind },
});
const extend = (startMs: number, idleDeadlineMs: number): SessionEvent => ({
  kind: 'extend',
  ...at(startMs),
  answer: { kind: 'extended', idleDeadlineMs },
});
const none = { kind: 'none', why: 'unknown' } as const;

const lies = (events: SessionEvent[], disturbances: Disturbance[] = []): string[] =>
  judge({ session: 7, events }, new Conditions(stalenessBounds(maximumAgeMs), disturbances)).lies.map(
    (lie) => (JSON.parse(lie) as { what: string }).what,
  );
const weather = (kind: Disturbance['kind'], startMs: number, endMs: number): Disturbance[] => [
  { kind, startMs, endMs },
];

describe('a true history has no lies', () => {
  test.each<[string, SessionEvent[]]>([
    [
      'written, replaced, ended',
      [created, replace(10, 2), read(20, sighting(2)), destroy(30), read(40, none)],
    ],
    ['memory a little behind', [created, replace(10, 2), load(100, sighting(1)), load(112, sighting(2))]],
    ['ended, and known elsewhere in time', [created, destroy(10), load(110, sighting(1)), load(112, none)]],
    [
      'a replacement of unknown outcome that was made',
      [created, replace(10, 2, { kind: 'fault', code: 'store_unavailable' }), read(900, sighting(2))],
    ],
    [
      'a replacement of unknown outcome that was not',
      [created, replace(10, 2, { kind: 'fault', code: 'store_unavailable' }), read(900, sighting(1))],
    ],
    [
      'an end of unknown outcome that came late',
      [created, destroy(10, 'fault'), read(500, sighting(1)), read(600, none)],
    ],
    [
      'a refused replacement',
      [created, replace(10, 2), replace(12, 2, { kind: 'conflict' }), read(20, sighting(2))],
    ],
  ])('%s', (_, events) => {
    expect(lies(events.map((event, index) => renamed(event, index)))).toEqual([]);
  });

  test('what is swallowed may be told by memory up to its maximum age, but not by the store', () => {
    const deaf = weather('deaf', 5, 20);
    expect(lies([created, replace(10, 2), load(2900, sighting(1))], deaf)).toEqual([]);
    expect(lies([created, replace(10, 2), load(3100, sighting(1))], deaf)).toHaveLength(1);
    expect(lies([created, replace(10, 2), read(2900, sighting(1))], deaf)).toHaveLength(1);
    expect(lies([created, replace(3100, 2), load(3300, sighting(1))], deaf)).toHaveLength(1);
  });

  test('a silent connection is excused for two seconds', () => {
    const silent = weather('blackhole', 5, 9000);
    expect(lies([created, destroy(10), load(2000, sighting(1))], silent)).toEqual([]);
    expect(lies([created, destroy(10), load(2200, sighting(1))], silent)).toHaveLength(1);
  });

  test('a stalled machine is excused, but not for ever', () => {
    const busy = new Conditions(stalenessBounds(maximumAgeMs), []);
    busy.addStalls('everyone', [{ startMs: 0, endMs: 9000 }]);
    busy.addStalls(1, [{ startMs: 0, endMs: 9000 }]);
    const liesAt = (atMs: number): number =>
      judge({ session: 7, events: [created, destroy(10), load(atMs, sighting(1))] }, busy).lies.length;
    expect([liesAt(800), liesAt(1020)]).toEqual([0, 1]);
  });

  test('an answer among mixed-up replies proves nothing, but still shows nobody else’s session', () => {
    const mixed = weather('mix', 0, 50);
    expect(lies([created, destroy(10), read(20, sighting(1)), read(2000, none)], mixed)).toEqual([]);
    expect(lies([created, read(20, sighting(1, { subject: 'person-8' }))], mixed)).toHaveLength(1);
  });
});

describe('a lie is found:', () => {
  test.each<[string, RegExp, SessionEvent[]]>([
    ['a stale load', /generation 1/, [created, replace(10, 2), load(112, sighting(1))]],
    ['a stale read', /generation 1/, [created, replace(10, 2), read(12, sighting(1))]],
    [
      'a reader that goes back in time',
      /generation 1/,
      [
        created,
        replace(10, 2, { kind: 'fault', code: 'store_unavailable' }),
        read(20, sighting(2)),
        read(30, sighting(1)),
      ],
    ],
    ['an ended session, at the store', /after its end/, [created, destroy(10), read(12, sighting(1))]],
    ['an ended session, in memory too long', /after its end/, [created, destroy(10), load(112, sighting(1))]],
    [
      'an ended session, where it was ended',
      /had ended it/,
      [created, destroy(10), load(12, sighting(1), 0)],
    ],
    [
      'one that is back after it was refused',
      /after its end/,
      [created, destroy(10, 'fault'), read(20, none), read(30, sighting(1))],
    ],
    ['one that is extended after its end', /after its end/, [created, destroy(10), extend(12, 2000)]],
    ['one that is replaced after its end', /after its end/, [created, destroy(10), replace(12, 2)]],
    ['one that ended twice', /twice/, [created, destroy(10), destroy(20)]],
    ['one that was refused and nobody had ended', /while it lived/, [created, read(10, none)]],
    [
      'one that could not be read',
      /could not be read/,
      [created, read(10, { kind: 'none', why: 'unreadable' })],
    ],
    ['a fault that the store has not', /no reason/, [created, read(10, { kind: 'fault', code: 'internal' })]],
    ['a lost extension', /lost an extension/, [created, extend(10, 2000), read(20, sighting(1))]],
    ['the session of another', /of another/, [created, read(10, sighting(1, { subject: 'person-8' }))]],
    ['a write of another', /never made/, [created, read(10, sighting(1, { write: 'w9' }))]],
    ['a torn record', /different writes/, [created, read(10, sighting(1, { torn: true }))]],
    ['a write from the future', /before it was written/, [created, read(5, sighting(2)), replace(10, 2)]],
    [
      'a write that was refused',
      /refused/,
      [created, replace(5, 2, { kind: 'gone' }), destroy(3), read(10, sighting(2))],
    ],
  ])('%s', (_, what, events) => {
    expect(lies(events).some((lie) => what.test(lie))).toBe(true);
  });

  test('two acknowledged replacements of the same generation', () => {
    const other = { ...replace(12, 2), write: 'x2' } as SessionEvent;
    expect(lies([created, replace(10, 2), other])[0]).toMatch(/lost update/);
  });

  test('a replacement that was based on an older generation than the one it replaced', () => {
    const careless = {
      ...replace(20, 3),
      base: { generation: 1, write: 'w1' },
    } as SessionEvent;
    expect(lies([created, replace(10, 2), careless])[0]).toMatch(/lost update/);
    const seen = sighting(3, { base: 'w1' });
    expect(lies([created, replace(10, 2), careless, read(30, seen)]).join()).toMatch(/lost update/);
  });

  test('a lock that two hold, bytes that two get, or nobody', () => {
    const fair = new Conditions(stalenessBounds(maximumAgeMs), []);
    const hold = (owner: string, startMs: number) => ({
      name: 'l',
      owner,
      replica: 0,
      startMs,
      endMs: startMs + 10,
    });
    expect(judgeHolds([hold('a', 0), hold('b', 10), hold('c', 20)], fair)).toEqual([]);
    expect(judgeHolds([hold('b', 9), hold('a', 0)], fair)).toHaveLength(1);
    const take = (answer: Take['answer']): Take => ({ id: 'i', ...at(1), answer });
    expect(judgeTakes([take('nothing'), take('got')], fair)).toEqual([]);
    expect(judgeTakes([take('nothing'), take('fault')], fair)).toEqual([]);
    for (const answers of [
      ['got', 'got'],
      ['nothing', 'nothing'],
      ['got', 'wrong'],
    ] as const)
      expect(judgeTakes(answers.map(take), fair)).toHaveLength(1);
  });
});

/** Where two replacements aim at the same generation, the second has a name of its own. */
function renamed(event: SessionEvent, index: number): SessionEvent {
  const refused = event.kind === 'replace' && event.answer.kind === 'conflict';
  return refused ? { ...event, write: `refused-${index}` } : event;
}
