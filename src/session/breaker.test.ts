import { expect, test } from 'vitest';
import { Breaker } from './breaker.ts';

function newBreaker(): { readonly breaker: Breaker; readonly states: boolean[] } {
  const states: boolean[] = [];
  const breaker = new Breaker(() => states.push(breaker.isOpen));
  return { breaker, states };
}

/** Open, and told so. */
function newOpen(): ReturnType<typeof newBreaker> {
  const made = newBreaker();
  made.breaker.late(made.breaker.admit() ?? -1);
  return made;
}

test('a deadline that passes in silence opens it, once', () => {
  const { breaker, states } = newBreaker();
  const marks = [breaker.admit(), breaker.admit()];
  for (const mark of marks) breaker.late(mark ?? -1);
  expect(states).toEqual([true]);
});

test('one slow command among others that are answered does not', () => {
  const { breaker, states } = newBreaker();
  const slow = breaker.admit();
  breaker.replied();
  breaker.late(slow ?? -1);
  expect(states).toEqual([]);
});

test('while it is open all are refused, save one after each greeting, whose answer lets all in', () => {
  const { breaker, states } = newOpen();
  expect([breaker.admit(), breaker.admit()]).toEqual([undefined, undefined]);
  breaker.showedLife();
  expect([breaker.admit(), breaker.admit()]).toEqual([0, undefined]);
  breaker.showedLife();
  expect([breaker.admit(), breaker.admit()]).toEqual([0, undefined]);
  breaker.replied();
  expect([breaker.admit(), breaker.admit()]).toEqual([1, 1]);
  expect(states).toEqual([true, false]);
});

test('an answer that comes late closes it too', () => {
  const { breaker, states } = newOpen();
  breaker.replied();
  expect(states).toEqual([true, false]);
});

test('a greeting is enough where nobody asks, and not where somebody does', () => {
  const quiet = newOpen();
  quiet.breaker.showedLife();
  expect(quiet.states).toEqual([true, false]);
  const busy = newOpen();
  busy.breaker.admit();
  busy.breaker.showedLife();
  expect(busy.states).toEqual([true]);
  busy.breaker.showedLife();
  expect(busy.states).toEqual([true, false]);
});

test('a node that says it is not the one to ask is not asked by everybody', () => {
  const { breaker, states } = newBreaker();
  breaker.admit();
  breaker.trip();
  expect([states, breaker.admit()]).toEqual([[true], undefined]);
});
