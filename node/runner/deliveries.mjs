// In which order answers reach step code.
//
// Owns the queue between the socket and the step. Recorded answers carry `order` (1, 2, 3 ...) and are given
// out strictly in that order; new ones come after all of those, in order of arrival. Either kind is given out
// one at a time, the next when the step is idle. What the step asks for, and what it stops waiting for, has
// its place among the answers (`Marks`): no answer is given out before the step has come again to every mark
// before it. This module does no I/O and knows no event loop.

/** An effect's identity as one text. */
export const keyOf = (path, seq) => `${path} ${seq}`;

/** What a resumed step has not yet come to again. */
export class Marks {
  #after = new Map();
  #left = new Map();
  #first = 0;

  constructor(asked = [], cancelled = []) {
    for (const [kind, places] of [["asked", asked], ["cancelled", cancelled]]) {
      for (const [path, seq, after] of places) {
        this.#after.set(`${kind} ${keyOf(path, seq)}`, after);
        this.#left.set(after, (this.#left.get(after) ?? 0) + 1);
      }
    }
  }

  get size() {
    return this.#after.size;
  }

  /** The step has asked for an effect, or stopped waiting for it. */
  met(key, kind = "asked") {
    this.#forget(`${kind} ${key}`);
  }

  /** Whether a mark is left that the step came to before it was given this answer. */
  before(order) {
    while (this.#first < order && !this.#left.get(this.#first)) {
      this.#first += 1;
    }
    return this.#first < order;
  }

  /** Forgets the marks before an answer: the step goes another way. False when there is none. */
  giveUp(order) {
    const gone = [...this.#after].filter(([, after]) => after < order);
    gone.forEach(([mark]) => this.#forget(mark));
    return gone.length > 0;
  }

  #forget(mark) {
    const after = this.#after.get(mark);
    if (after !== undefined) {
      this.#after.delete(mark);
      this.#left.set(after, this.#left.get(after) - 1);
    }
  }
}

/** Answers that have arrived and are not yet given out. */
export class Deliveries {
  /** How many answers the step has been given, those that nobody waited for included. */
  place = 0;
  /** Whether nothing may be given out but the second answer of a tool whose files are put back. */
  restoring = false;
  #length;
  #next = 1;
  #held = new Map();
  #live = [];
  #chunks = new Map();
  #answered = new Set();
  #running = new Set();

  constructor(length, marks) {
    this.#length = length;
    this.marks = marks;
  }

  /** Whether recorded answers are still to be given out, or recorded places to be come to. */
  get replaying() {
    return this.#next <= this.#length || this.marks.size > 0;
  }

  /** Whether the step must come to a recorded place before anything else is given out. */
  get due() {
    return this.marks.before(this.#next);
  }

  /** Whether the answer of this effect is here, or it is known to run anew. */
  answered(key) {
    return this.#answered.has(key);
  }

  /** Notes that an effect is not in the journal and runs now. */
  running(key) {
    this.#answered.add(key);
    this.#running.add(key);
  }

  /** Whether one of these effects is not in the journal (its answer may wait for its turn). */
  runsAnew(pending) {
    return this.#live.length > 0 || [...pending.keys()].some((key) => this.#running.has(key));
  }

  /** Takes in an `effect_result` or `effect_chunk` frame. */
  add(key, frame) {
    if (frame.type === "effect_chunk") {
      if (this.replaying) {
        this.#chunks.set(key, [...(this.#chunks.get(key) ?? []), frame]);
      } else {
        this.#live.push([key, frame]);
      }
      return;
    }
    const again = this.#answered.has(key) && "order" in frame;
    if (again && [...this.#held.values()].some(([held]) => held === key)) {
      return; // The same answer twice.
    }
    this.#answered.add(key);
    this.#running.delete(key);
    if (frame.cancelled === true && frame.order === undefined) {
      return; // No answer will come: the mark says where the step stops waiting.
    }
    if (Number.isInteger(frame.order) && frame.order > 0) {
      if (!this.#held.has(frame.order)) {
        this.#held.set(frame.order, [key, frame]);
      }
    } else {
      this.#releaseChunks(key);
      this.#live.push([key, frame]);
    }
  }

  /** The next answer, `[key, frame]`, if it is here and its time has come. */
  next(pending) {
    while (this.#held.size > 0) {
      const order = Math.min(...this.#held.keys());
      if (order > this.#next || this.marks.before(order)) {
        break;
      }
      const [key, frame] = this.#held.get(order);
      if (frame.cancelled === true && pending.has(key)) {
        return undefined; // It is passed over once the step has stopped waiting again.
      }
      if (pending.has(key)) {
        return this.#give(order);
      }
      this.#drop(order);
    }
    if (this.replaying) {
      return undefined;
    }
    [...this.#chunks.keys()].forEach((key) => this.#releaseChunks(key));
    while (this.#live.length > 0) {
      const [key, frame] = this.#live.shift();
      if (Number.isInteger(frame.place)) {
        this.place = Math.max(this.place, frame.place);
      }
      if (pending.has(key)) {
        return this.#given(key, frame);
      }
    }
    return undefined;
  }

  /** The answer with this order is given a second time, and nothing before that. */
  again(order) {
    if (order !== undefined) {
      this.#next = order;
      this.restoring = true;
    }
  }

  /** An answer out of order, for when the step is idle and never asked for the next one. */
  any(pending) {
    if (this.marks.giveUp(this.#next)) {
      const found = this.next(pending);
      if (found !== undefined) {
        return found;
      }
    }
    for (const order of [...this.#held.keys()].sort((one, other) => one - other)) {
      const [key, frame] = this.#held.get(order);
      if (!pending.has(key)) {
        this.#drop(order);
      } else if (frame.cancelled !== true) {
        return this.#give(order);
      }
    }
    if (this.#held.size === 0) {
      this.#next = this.#length + 1;
      this.marks.giveUp(this.#next);
      return this.next(pending);
    }
    return undefined;
  }

  #give(order) {
    const [key, frame] = this.#held.get(order);
    const chunks = this.#chunks.get(key);
    if (chunks !== undefined && chunks.length > 0) {
      return [key, chunks.shift()];
    }
    this.#drop(order);
    return this.#given(key, frame);
  }

  #drop(order) {
    const [key] = this.#held.get(order);
    this.#held.delete(order);
    this.#chunks.delete(key);
    this.#next = Math.max(this.#next, order + 1);
    this.restoring = false;
    this.place = Math.max(this.place, order);
  }

  #given(key, frame) {
    if (frame.type === "effect_result") {
      // A tool is answered twice: once to run, once with the recorded result.
      this.#answered.delete(key);
    }
    return [key, frame];
  }

  #releaseChunks(key) {
    for (const chunk of this.#chunks.get(key) ?? []) {
      this.#live.push([key, chunk]);
    }
    this.#chunks.delete(key);
  }
}
