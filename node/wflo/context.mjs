// What a step is called with.
//
// Owns the context's surface; each part that is more than a line stands in its own module. Names and fields are
// those of the protocol and of the other languages.

import { ApprovalRejected, InputMissing } from "./errors.mjs";
import { Database } from "./db.mjs";
import { Llm } from "./llm.mjs";
import { Tools } from "./tools.mjs";
import { nearest, plain, read } from "./values.mjs";

const LEVELS = ["debug", "info", "warning", "error"];

/** Inputs or outputs by name; a name that is not there gives an error that lists those that are. */
function named(what, values, missing) {
  return new Proxy(Object.freeze({ ...values }), {
    get(target, name) {
      // What the language itself asks of any object.
      if (typeof name === "symbol" || name in target || name === "then" || name === "toJSON") {
        return target[name];
      }
      const known = Object.keys(target);
      const near = nearest(name, known);
      const there = near === undefined ? `there are: ${known.sort().join(", ") || "none"}` : `did you mean '${near}'?`;
      throw missing(name, `no ${what} named '${name}'; ${there}`);
    },
  });
}

/** A finite number of seconds as an exact decimal text. */
function seconds(value) {
  if (typeof value !== "number" || !Number.isFinite(value) || value < 0) {
    throw new RangeError(`sleep takes a finite number of seconds from 0, not ${value}`);
  }
  const text = String(value);
  return text.includes("e") ? value.toFixed(20).replace(/\.?0+$/u, "") : text;
}

export class Context {
  #calls;
  #broker;

  constructor(calls, order) {
    this.#calls = calls;
    this.#broker = calls.broker;
    /** The run's id, the step's name, and which try of the step this is, from 1. */
    this.run = String(order.run ?? "");
    this.step = String(order.step ?? "");
    this.attempt = order.generation ?? 1;
    /** How often this try has gone on after a crash or a wait. Not the same on replay: for logs only. */
    this.resumes = (order.attempt ?? 1) - 1;
    /** The project's folder: a private copy, shown by `wflo diff` and kept by `wflo apply`. */
    this.workspace = String(order.project);
    const hint = (name) => ({ code: "WFLO-1020", hint: `\`wflo run --input ${name}=…\`` });
    /** The run's inputs by name. */
    this.inputs = named("input", order.inputs, (name, message) => new InputMissing(message, hint(name)));
    /** The outputs of all steps that are over before this one begins, by step name. */
    this.outputs = named("output", order.outputs, (_, message) => new ReferenceError(message));
    /** Variables of the run; what this step changes is kept when it succeeds. */
    this.state = structuredClone(order.state ?? {});
    /** Aborted when the step is cancelled. */
    this.signal = this.#broker.controller.signal;
    this.llm = new Llm(calls);
    this.db = new Database(calls);
    this.tools = new Tools(calls);
    // `({ sleep, approve })` is how many write their steps.
    for (const name of ["approve", "branch", "emit", "now", "sleep"]) {
      this[name] = this[name].bind(this);
    }
    this.random = this.#random();
    this.log = this.#log();
  }

  /** Sleeps durably: the sandbox ends meanwhile when nothing else of the step goes on. */
  sleep(given, { signal } = {}) {
    const wire = { seconds: seconds(given) };
    return this.#calls.effect("context.sleep", "sleep", "sleep", wire, { signal }, () => undefined);
  }

  /** The time, recorded: the same on resume. A Date. */
  now({ signal } = {}) {
    return this.#calls.effect("context.now", "now", "now", {}, { signal }, (answer) => new Date(answer));
  }

  /** Publishes an event of the run. At least once. */
  emit(name, data = null, { signal } = {}) {
    if (typeof name !== "string" || name === "") {
      throw new TypeError("an event's name must be text");
    }
    const wire = { name, data: plain(data, "data") };
    return this.#calls.effect("context.emit", "emit", "emit", wire, { signal }, () => undefined);
  }

  /**
   * Asks people, and waits as long as it takes: `{approved, comment, by}`. `details` is shown to them. Throws
   * `ApprovalRejected` after a no, unless `on_rejected: "continue"`.
   */
  approve(message, { approvers = [], details = {}, timeout_seconds, on_timeout, on_rejected = "stop", signal } = {}) {
    if (typeof message !== "string") {
      throw new TypeError("the question must be text");
    }
    const wire = {
      message,
      approvers: plain(approvers, "approvers"),
      details: plain(details, "details"),
      timeout_seconds: timeout_seconds ?? null,
      on_timeout: on_timeout ?? null,
    };
    const decided = (answer, { path, seq }) => {
      const decision = {
        approved: answer?.approved === true,
        comment: answer?.comment ?? null,
        by: answer?.by ?? null,
      };
      if (decision.approved || on_rejected === "continue") {
        return decision;
      }
      const who = decision.by === null ? "" : ` by ${decision.by}`;
      const why = decision.comment === null ? "" : `: ${decision.comment}`;
      throw new ApprovalRejected(`the approval was rejected${who}${why}`, {
        code: "WFLO-3310",
        hint: 'give on_rejected: "continue" to get the decision instead of this error',
        kind: "approval_rejected",
        effect: { path, seq },
      });
    };
    return this.#calls.effect("context.approve", "approval", "approve", wire, { signal }, decided);
  }

  /**
   * Runs a function on a branch of its own, whose effects are counted by themselves: for work that is done side
   * by side, `Promise.all(rows.map((row) => context.branch(() => work(row))))`.
   */
  branch(run) {
    return this.#broker.identities.branch(async () => run(this));
  }

  #random() {
    const ask = (method, n, options, finish) => {
      const name = method === "random" ? "context.random" : `context.random.${method}`;
      const request = { kind: method, n };
      return this.#calls.effect(name, "random", method, request, options, finish);
    };
    const random = (options = {}) => ask("random", null, options);
    random.uuid4 = (options = {}) => ask("uuid4", null, options);
    random.bytes = (n, options = {}) => ask("bytes", n, options, read);
    return random;
  }

  #log() {
    const write = (level) => (message, fields = {}) => {
      const found = plain({ ...fields }, "log");
      this.#broker.log(level, String(message), found);
    };
    return Object.assign(write("info"), Object.fromEntries(LEVELS.map((level) => [level, write(level)])));
  }
}
