// The model calls of stock clients, which the runner does not make itself.
//
// Owns what the engine says of them. An open connection says nothing: it is kept alive between calls. While
// recorded answers are replayed it matters, for a timer must not be skipped under a call that is about to be
// answered, and must be under one that was given up the first time.

const FIRST_PAUSE = 2;
const LAST_PAUSE = 100;

const now = performance.now.bind(performance);

export class Calls {
  #known;
  #n = 0;
  #said;
  #askAt;
  #pause = FIRST_PAUSE;

  /** `known` says that the engine answers such questions. */
  constructor(known) {
    this.#known = known;
  }

  /** The step has gone on: what was said is old. */
  forget() {
    this.#n += 1;
    this.#said = undefined;
    this.#askAt = undefined;
    this.#pause = FIRST_PAUSE;
  }

  /** Takes in the engine's answer. */
  take(frame) {
    if (frame.n === this.#n) {
      this.#said = String(frame.state);
    }
  }

  /** `quiet`, `answering` or `running`; nothing until the engine has said it. */
  state(connections, send) {
    if (connections === 0 || !this.#known) {
      return "quiet";
    }
    if (this.#said === "quiet") {
      return this.#said;
    }
    if (this.#askAt === undefined || now() >= this.#askAt) {
      this.#n += 1;
      this.#askAt = now() + this.#pause;
      this.#pause = Math.min(2 * this.#pause, LAST_PAUSE);
      send({ type: "calls", n: this.#n, open: connections });
    }
    return this.#said;
  }

  /** Milliseconds until the engine is to be asked again. */
  get pause() {
    return Math.max(0, (this.#askAt ?? 0) - now());
  }
}
