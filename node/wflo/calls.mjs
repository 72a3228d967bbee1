// How a context reaches the runner: effects that are awaited, and those that nobody awaited.

import { StepError } from "./errors.mjs";
import { Effect } from "./effect.mjs";
import { callingPlace } from "./place.mjs";

export class Calls {
  #broker;
  #forgotten = new Set();

  constructor(broker) {
    this.#broker = broker;
  }

  get broker() {
    return this.#broker;
  }

  /**
   * Asks for an effect. `name` is what its user calls it, for an error that an `await` is missing; `finish`
   * makes of its answer what the user gets.
   */
  effect(name, kind, method, request, options = {}, finish = (answer) => answer) {
    const place = callingPlace();
    const effect = new Effect((resolve) => {
      const waiter = this.#broker.ask(kind, method, request, { signal: options.signal });
      resolve(waiter.answer.then((answer) => finish(answer, waiter)));
    });
    const made = { name, place };
    this.#forgotten.add(made);
    effect.onAwait = () => this.#forgotten.delete(made);
    return effect;
  }

  /** Effects that a stream or a command makes: they say themselves how they are awaited. */
  ask(kind, method, request, options) {
    return this.#broker.ask(kind, method, request, options);
  }

  /** Refuses a step that returned without having awaited what it asked for. */
  check() {
    if (this.#forgotten.size === 0) {
      return;
    }
    const [{ name, place }, ...others] = this.#forgotten;
    const more = others.slice(0, 5).map((other) => other.place ?? other.name);
    const error = new StepError(
      `${name}(…) was called without \`await\`, so nobody knows how it ended` +
        (more.length === 0 ? "" : `; so were ${more.join(", ")}`),
      { code: "WFLO-3313", hint: `write \`await ${name}(…)\`` },
    );
    error.place = place;
    throw error;
  }
}
