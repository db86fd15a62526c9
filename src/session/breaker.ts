/**
 * Whether a node that is connected also answers. Where a deadline has passed without a reply to anyone, commands are refused at once
 * until one of those in flight is answered after all, or the connection is given up. It stays open over reconnects, for an
 * endpoint may greet and then say nothing, over and over: after each greeting one command finds out.
 */
export class Breaker {
  readonly #onChange: () => void;
  #isOpen = false;
  #replies = 0;
  #mayProbe = false;
  #wanted = false;

  /** `onChange` is told each time it opens or closes. */
  constructor(onChange: () => void) {
    this.#onChange = onChange;
  }

  /** Whether commands are refused. */
  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** Before a command: a mark for {@link late}, or `undefined` where it is refused. */
  admit(): number | undefined {
    if (!this.#isOpen) return this.#replies;
    this.#wanted = true;
    if (!this.#mayProbe) return undefined;
    this.#mayProbe = false;
    return this.#replies;
  }

  /** The node has answered a command, in time or not. */
  replied(): void {
    this.#replies += 1;
    this.#set(false);
  }

  /** The deadline of a command has passed. One slow command among others that are answered says nothing of the node. */
  late(mark: number): void {
    if (mark === this.#replies) this.#set(true);
  }

  /** The node has said that it is not the one to ask, or cannot answer now. */
  trip(): void {
    this.#set(true);
  }

  /** A new connection was greeted, or a ping answered. That is enough where nobody asks; else the next to ask finds out. */
  showedLife(): void {
    if (!this.#wanted) this.#set(false);
    this.#wanted = false;
    this.#mayProbe = true;
  }

  #set(isOpen: boolean): void {
    if (isOpen === this.#isOpen) return;
    this.#isOpen = isOpen;
    this.#wanted = false;
    this.#mayProbe = false;
    this.#onChange();
  }
}
