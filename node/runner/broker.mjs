// Effects: asking the engine, and waiting for its answer.
//
// Owns the effects that wait. In which order answers are given out is `deliveries`'s, when is `turn`'s; what an
// effect means is the context's.
// Architecture Invariant: nothing here raises into step code to suspend it. A step that waits stays in its wait
// until an answer comes or its process ends.

import { StepCancelled, StepError, effectError } from "../wflo/errors.mjs";
import { Calls } from "./calls.mjs";
import { Channel, FrameTooLarge, leave } from "./channel.mjs";
import { Deliveries, keyOf } from "./deliveries.mjs";
import { Identities } from "./identities.mjs";
import { Patience } from "./patience.mjs";
import { Restorer } from "./restore.mjs";
import { waitUnder } from "./timers.mjs";

/** One effect that has been asked for. */
class Waiter {
  constructor(path, seq, name) {
    this.path = path;
    this.seq = seq;
    this.key = keyOf(path, seq);
    this.name = name;
    this.begin();
  }

  /** Waits for an answer, or for another one. */
  begin() {
    this.answer = new Promise((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
    });
    // Whoever awaits it hears of it; of one that nobody does, the step's end says so.
    this.answer.catch(() => {});
  }
}

export class Broker {
  pending = new Map();
  identities = new Identities();
  patience = new Patience();
  controller = new AbortController();
  ended = false;
  cancelled;
  /** Called when there is something new to look at. */
  changed = () => {};
  /** Whether `suspended` was said and nothing has happened since. */
  suspended = false;
  #channel;
  #features;

  constructor(channel, features, project, { length, marks }) {
    this.#channel = channel;
    this.#features = features;
    this.project = project;
    this.deliveries = new Deliveries(length, marks);
    this.calls = new Calls(features.has("calls"));
  }

  // Asking

  checkUsable() {
    if (this.ended) {
      throw new StepError("the step has ended; its context cannot be used any more", {
        code: "WFLO-3303",
        hint: "await everything that the step starts before it returns",
      });
    }
    if (this.cancelled !== undefined) {
      throw new StepCancelled(this.cancelled);
    }
  }

  /** Sends an effect and returns what will hold its answer. `signal` gives it up. */
  ask(kind, name, request, { signal, onChunk } = {}) {
    this.checkUsable();
    signal?.throwIfAborted();
    const path = this.identities.path();
    const seq = this.identities.seq(path);
    const packed = this.#packed(
      { type: "effect", path, seq, kind, name, request, after: this.deliveries.place },
      `the request of context.${kind}`,
    );
    this.identities.made(path);
    const waiter = new Waiter(path, seq, `${kind}/${name}`);
    waiter.onChunk = onChunk;
    this.pending.set(waiter.key, waiter);
    this.deliveries.marks.met(waiter.key);
    this.#happened();
    this.#channel.sendPacked(packed);
    if (signal !== undefined) {
      const over = waitUnder(signal);
      const gone = () => {
        over();
        if (this.pending.has(waiter.key)) {
          this.giveUp(waiter);
          waiter.reject(signal.reason);
        }
      };
      signal.addEventListener("abort", gone, { once: true });
      waiter.settled = () => {
        signal.removeEventListener("abort", gone);
        over();
      };
    }
    return waiter;
  }

  /** Reports what a tool did, and waits for its recorded answer under the same identity. */
  done(waiter, result) {
    const { path, seq } = waiter;
    const packed = this.#packed({ type: "effect_done", path, seq, result }, "what a tool printed");
    waiter.begin();
    this.pending.set(waiter.key, waiter);
    this.#happened();
    this.#channel.sendPacked(packed);
    return waiter.answer;
  }

  /** Lets the engine put a recorded tool's files back, and waits for its result. */
  async putBack(waiter) {
    waiter.files = new Restorer(this.project);
    this.deliveries.again(waiter.order);
    const answer = await this.done(waiter, { restore: true });
    if (waiter.files.error !== undefined) {
      throw new StepError(`the files that a tool wrote cannot be put back: ${waiter.files.error.message}`, {
        code: "WFLO-3311",
        hint: "raise disk_limit of the sandbox, or begin again with `wflo runs retry ID`",
      });
    }
    return answer;
  }

  /** Step code stopped waiting. The engine is told when it knows the word. */
  giveUp(waiter) {
    this.pending.delete(waiter.key);
    if (this.ended) {
      return;
    }
    this.deliveries.marks.met(waiter.key, "cancelled");
    this.#happened();
    if (this.#features.has("effect_cancelled")) {
      const { path, seq } = waiter;
      this.tell({ type: "effect_cancelled", path, seq, after: this.deliveries.place });
    }
  }

  log(level, message, fields) {
    this.checkUsable();
    let packed;
    try {
      packed = Channel.pack({ type: "log", level, message, fields });
    } catch (error) {
      if (!(error instanceof FrameTooLarge)) {
        throw error;
      }
      packed = Channel.pack({ type: "log", level, message: message.slice(0, 1 << 16), fields: {} });
    }
    this.#channel.sendPacked(packed);
  }

  /** Sends a small frame that asks for no effect. */
  tell(frame) {
    this.#channel.send(frame);
  }

  /** Says that only the engine's answers can wake the step. */
  suspend() {
    const waiting = [...this.pending.values()].sort((one, other) => (one.key < other.key ? -1 : 1));
    this.suspended = true;
    this.tell({ type: "suspended", on: waiting.map(({ path, seq }) => ({ path, seq })) });
  }

  #packed(frame, what) {
    try {
      return Channel.pack(frame);
    } catch (error) {
      if (!(error instanceof FrameTooLarge)) {
        throw error;
      }
      throw new StepError(`${what} has ${error.size} bytes; the most is 8 MiB`, {
        code: "WFLO-3302",
        hint: "write large data to a file in the workspace, or send it in parts",
      });
    }
  }

  #happened() {
    this.suspended = false;
    this.patience.progress();
    this.changed();
  }

  // Receiving

  /** Takes in a frame that has arrived. */
  take(frame) {
    if (frame.type === "effect_result" || frame.type === "effect_chunk" || frame.type === "effect_pending") {
      if (typeof frame.path !== "string" || !Number.isInteger(frame.seq)) {
        leave(`the engine broke the protocol: ${frame.type} without path and seq`);
      }
      this.#takeAnswer(keyOf(frame.path, frame.seq), frame);
    } else if (frame.type === "calls") {
      this.calls.take(frame);
    } else if (frame.type === "cancel") {
      this.#cancel(String(frame.reason || "cancelled"));
    }
    // Other types are of a later version of the protocol, which only adds.
    this.changed();
  }

  #takeAnswer(key, frame) {
    const waiter = this.pending.get(key);
    if (waiter === undefined && !("order" in frame) && !("place" in frame)) {
      return;
    }
    if (frame.type === "effect_pending") {
      this.deliveries.running(key);
    } else if (frame.type === "effect_chunk" && waiter?.files !== undefined) {
      waiter.files.apply(frame.delta);
    } else {
      this.deliveries.add(key, frame);
    }
  }

  #cancel(reason) {
    this.cancelled = reason;
    const error = new StepCancelled(reason);
    this.controller.abort(error);
    for (const waiter of [...this.pending.values()]) {
      this.giveUp(waiter);
      waiter.reject(error);
    }
  }

  /** Gives out the next answer in order; false when there is none whose time has come. */
  deliver() {
    return this.#complete(this.deliveries.next(this.pending));
  }

  /** Gives out an answer although the recorded order has another one first. */
  deliverAny() {
    return this.#complete(this.deliveries.any(this.pending));
  }

  #complete(found) {
    if (found === undefined) {
      return false;
    }
    const [key, frame] = found;
    const waiter = this.pending.get(key);
    this.suspended = false;
    this.patience.progress();
    if (frame.type === "effect_chunk") {
      waiter.onChunk?.(frame.delta);
      return true;
    }
    this.pending.delete(key);
    waiter.order = frame.order;
    waiter.settled?.();
    if (frame.error !== undefined && frame.error !== null) {
      waiter.reject(effectError(frame.error, { path: waiter.path, seq: waiter.seq }));
    } else {
      waiter.resolve(frame.ok);
    }
    return true;
  }

  /** Whether the next recorded answer will not be asked for, so that another must be given. */
  stuck(quiet) {
    if (this.deliveries.restoring) {
      return false;
    }
    const unanswered = [...this.pending.keys()].filter((key) => !this.deliveries.answered(key));
    const sure = this.deliveries.due;
    if (this.patience.expects({ quiet, unanswered: unanswered.length > 0, sure })) {
      return false;
    }
    unanswered.forEach((key) => this.deliveries.running(key));
    return true;
  }

  /**
   * Whether the earliest timer may fire at once, to get to the next recorded place or answer. Not while an
   * effect, or a call of a stock client (`runs`), runs anew: it has its full time. Unless the step did
   * something here the first time before any further answer came.
   */
  maySkipTimer(runs) {
    const anew = runs || this.deliveries.runsAnew(this.pending);
    return (this.deliveries.due || !anew) && this.patience.skip();
  }
}
