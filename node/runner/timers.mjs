// The timers of step code: `setTimeout` and its like, in the globals and in `node:timers`.
//
// Owns them all, so that replay can let the earliest fire at once instead of waiting for it again, and knows
// whether the step waits for one. When a timer fires is the turn's decision; nothing fires by itself.

import { syncBuiltinESMExports } from "node:module";
import timers from "node:timers";
import promises from "node:timers/promises";
import { promisify } from "node:util";

/** What the runner itself uses: real ones. */
export const real = { setTimeout, clearTimeout, setImmediate };

const monotonic = performance.now.bind(performance);
const LONGEST = 2 ** 31 - 1;

/** How many effects each signal may still give up, and which signals follow it. */
const awaited = new WeakMap();
const dependants = new WeakMap();

/** An effect waits under a signal; what is returned is to be called when it does no longer. */
export function waitUnder(signal) {
  awaited.set(signal, (awaited.get(signal) ?? 0) + 1);
  return () => awaited.set(signal, awaited.get(signal) - 1);
}

function isAwaited(signal) {
  const following = (dependants.get(signal) ?? []).map((reference) => reference.deref());
  return (awaited.get(signal) ?? 0) > 0 || following.some((each) => each !== undefined && isAwaited(each));
}

export class Timers {
  #isOwn = true;
  #skew = 0;
  #count = 0;
  #waiting = new Map();
  #immediates = new Map();
  #changed;

  /** Until a step has them, they fire by themselves: a module may wait for one while it is imported. */
  constructor() {
    this.#changed = () => real.setImmediate(() => this.#run());
  }

  /** From here on they fire when a turn says so; `changed` is called when there is something new to look at. */
  give(changed) {
    this.#isOwn = false;
    this.#changed = changed;
    changed();
  }

  #run() {
    if (!this.#isOwn) {
      return;
    }
    if (this.ready) {
      this.#changed();
      this.runImmediate();
    } else if (this.soonest !== undefined && this.soonest <= this.now()) {
      this.#changed();
      this.runDue();
    } else if (this.soonest !== undefined) {
      real.setTimeout(() => this.#run(), Math.ceil(this.soonest - this.now()));
    }
  }

  /** Milliseconds, and what replay skipped. */
  now() {
    return monotonic() + this.#skew;
  }

  /** Whether an immediate is ready to run. */
  get ready() {
    return this.#immediates.size > 0;
  }

  /** When the earliest timer is due that the step waits for; nothing where there is none. */
  get next() {
    return this.#earliest((timer) => timer.keeps && timer.isAwaited());
  }

  /** When the earliest is due that replay may let fire at once: time-outs of stock clients among them. */
  get skippable() {
    return this.#earliest((timer) => timer.keeps);
  }

  #earliest(counts) {
    const due = [...this.#waiting.values()].filter(counts).map((timer) => timer.due);
    return due.length === 0 ? undefined : Math.min(...due);
  }

  /** When any timer is due. */
  get soonest() {
    return this.#earliest(() => true);
  }

  /** Runs one immediate. */
  runImmediate() {
    const [id, run] = this.#immediates.entries().next().value;
    this.#immediates.delete(id);
    run();
  }

  /** Runs the earliest timer that is due; false when none is. */
  runDue() {
    const due = [...this.#waiting.values()].filter((timer) => timer.due <= this.now());
    if (due.length === 0) {
      return false;
    }
    const first = due.reduce((one, other) => (other.due < one.due ? other : one));
    if (first.every === undefined) {
      this.#waiting.delete(first.id);
    } else {
      first.due = this.now() + first.every;
    }
    first.run();
    return true;
  }

  /** Moves the clock so that the earliest timer is due now. */
  skip() {
    this.#skew += Math.max(0, (this.skippable ?? 0) - this.now());
  }

  #add(run, delay, every) {
    const milliseconds = Number(delay);
    const wait = milliseconds >= 1 && milliseconds <= LONGEST ? milliseconds : 1;
    const id = (this.#count += 1);
    const timer = new Timer(this, { id, run, due: this.now() + wait, every: every ? wait : undefined });
    this.#waiting.set(id, timer);
    this.#changed();
    return timer;
  }

  remove(id) {
    this.#waiting.delete(id);
    this.#immediates.delete(id);
  }

  restart(timer, wait) {
    timer.due = this.now() + wait;
    this.#waiting.set(timer.id, timer);
    this.#changed();
  }

  #immediate(run) {
    const id = (this.#count += 1);
    this.#immediates.set(id, run);
    this.#changed();
    return new Immediate(this, id);
  }

  /** Puts them where step code finds its timers. */
  install() {
    const called = (function_, given) => {
      if (typeof function_ !== "function") {
        throw new TypeError("the callback of a timer must be a function");
      }
      return () => function_(...given);
    };
    const clear = (timer) => {
      const id = typeof timer === "object" && timer !== null ? timer.id : Number(timer);
      this.remove(id);
    };
    const own = {
      setTimeout: (function_, delay, ...given) => this.#add(called(function_, given), delay, false),
      setInterval: (function_, delay, ...given) => this.#add(called(function_, given), delay, true),
      setImmediate: (function_, ...given) => this.#immediate(called(function_, given)),
      clearTimeout: clear,
      clearInterval: clear,
      clearImmediate: clear,
    };
    const kept = (begin, stop) => (value, options) =>
      new Promise((resolve, reject) => {
        const signal = options?.signal;
        if (signal?.aborted) {
          reject(signal.reason);
          return;
        }
        const gone = () => {
          stop(timer);
          reject(signal.reason);
        };
        const timer = begin(() => {
          signal?.removeEventListener("abort", gone);
          resolve(value);
        });
        signal?.addEventListener("abort", gone, { once: true });
      });
    const after = (delay, value, options) => kept((run) => own.setTimeout(run, delay), clear)(value, options);
    const soon = (value, options) => kept((run) => own.setImmediate(run), clear)(value, options);
    Object.assign(globalThis, own);
    Object.assign(timers, own);
    promises.setTimeout = after;
    promises.setImmediate = soon;
    promises.setInterval = async function* every(delay, value, options) {
      while (true) {
        yield await after(delay, value, options);
      }
    };
    promises.scheduler.wait = (delay, options) => after(delay, undefined, options);
    promises.scheduler.yield = () => soon();
    own.setTimeout[promisify.custom] = after;
    own.setImmediate[promisify.custom] = soon;
    AbortSignal.timeout = (delay) => {
      const controller = new AbortController();
      const message = "The operation was aborted due to timeout";
      const timer = own.setTimeout(() => controller.abort(new DOMException(message, "TimeoutError")), delay);
      // As in Node it keeps nothing alive by itself: a client is done with it long before it is due.
      timer.isAwaited = () => isAwaited(controller.signal);
      return controller.signal;
    };
    const any = AbortSignal.any.bind(AbortSignal);
    AbortSignal.any = (signals) => {
      const given = [...signals];
      const signal = any(given);
      given.forEach((each) => dependants.set(each, [...(dependants.get(each) ?? []), new WeakRef(signal)]));
      return signal;
    };
    syncBuiltinESMExports();
  }
}

/** What `setTimeout` returns. */
class Timer {
  #timers;
  #wait;

  constructor(timers, { id, run, due, every }) {
    this.#timers = timers;
    this.#wait = due - timers.now();
    this.id = id;
    this.run = run;
    this.due = due;
    this.every = every;
    this.keeps = true;
    this.isAwaited = () => true;
  }

  ref() {
    this.keeps = true;
    return this;
  }

  unref() {
    this.keeps = false;
    return this;
  }

  hasRef() {
    return this.keeps;
  }

  refresh() {
    this.#timers.restart(this, this.#wait);
    return this;
  }

  close() {
    this.#timers.remove(this.id);
    return this;
  }

  [Symbol.toPrimitive]() {
    return this.id;
  }

  [Symbol.dispose ?? Symbol.for("dispose")]() {
    this.close();
  }
}

class Immediate {
  constructor(timers, id) {
    this.id = id;
    this[Symbol.dispose ?? Symbol.for("dispose")] = () => timers.remove(id);
  }

  ref() {
    return this;
  }

  unref() {
    return this;
  }

  hasRef() {
    return true;
  }
}
