/** Orders of store commands: tasks stop before and after each of their commands, and a chooser says which goes on. */
import type { SessionStore } from '../src/session/store.ts';

/** Picks one of `count` that wait, from 0. */
export type Chooser = (count: number) => number;

interface Step {
  readonly what: string;
  readonly go: () => void;
}

/** Tasks that go on one at a time, each up to its next store command. */
export class Interleaving {
  /** What went on so far, for the message of a test that fails. */
  readonly trace: string[] = [];
  readonly #waiting: Step[] = [];

  /** The same store; each command of `actor` waits before it is carried out, and again before its answer arrives. */
  stepped(store: SessionStore, actor: string): SessionStore {
    return new Proxy(store, {
      get: (target, name) => {
        const value: unknown = Reflect.get(target, name);
        if (typeof value !== 'function') return value;
        return async (...parameters: unknown[]): Promise<unknown> => {
          await this.pause(`${actor}: ${String(name)}`);
          const answer: unknown = await value.apply(target, parameters);
          await this.pause(`${actor}: ${String(name)} answered`);
          return answer;
        };
      },
    });
  }

  /** Waits to be chosen. */
  pause(what: string): Promise<void> {
    return new Promise((go) => {
      this.#waiting.push({ what, go });
    });
  }

  /** Runs the tasks to their end. `afterStep` is awaited whenever all of them wait. */
  async run(
    tasks: readonly (() => Promise<unknown>)[],
    choose: Chooser,
    afterStep: () => unknown = () => undefined,
  ): Promise<void> {
    const running = Promise.all(tasks.map((task) => task()));
    running.catch(() => undefined);
    for (;;) {
      await settle();
      await afterStep();
      const [step] = this.#waiting.splice(choose(this.#waiting.length), 1);
      if (step === undefined) break;
      this.trace.push(step.what);
      step.go();
    }
    await running;
  }
}

/** Runs `play` once for each order that there is; how many there were. Tasks must depend on nothing but the order. */
export async function everyOrder(play: (choose: Chooser) => Promise<void>): Promise<number> {
  const path: number[] = [];
  for (let orders = 1; ; orders += 1) {
    const counts: number[] = [];
    await play((count) => {
      const at = counts.push(count) - 1;
      path[at] ??= 0;
      return path[at];
    });
    let last = path.length - 1;
    while (last >= 0 && (path[last] ?? 0) + 1 >= (counts[last] ?? 0)) {
      path.pop();
      last -= 1;
    }
    if (last < 0) return orders;
    path[last] = (path[last] ?? 0) + 1;
  }
}

/** Until everything has run that waits for no store command. */
function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
