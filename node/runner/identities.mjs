// Identities of effects: the branch they are made on, and their number on it.
//
// The main branch is "0". `context.branch(…)` begins a new one below the one it is called on, in order of
// creation: "0.0", "0.1", and below those "0.1.0".

import { AsyncLocalStorage } from "node:async_hooks";

const current = new AsyncLocalStorage();

export class Identities {
  #effects = new Map();
  #children = new Map();

  /** The branch that this code runs on. */
  path() {
    return current.getStore() ?? "0";
  }

  /** The number of the next effect on a branch. */
  seq(path) {
    return this.#effects.get(path) ?? 0;
  }

  /** Counts an effect. */
  made(path) {
    this.#effects.set(path, this.seq(path) + 1);
  }

  /** Runs a function on a new branch. */
  branch(run) {
    const parent = this.path();
    const number = this.#children.get(parent) ?? 0;
    this.#children.set(parent, number + 1);
    return current.run(`${parent}.${number}`, run);
  }
}
