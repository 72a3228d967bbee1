// `new Workflow("a-name")` and its steps.
//
// Owns what code says of a workflow and its form on the wire, which is the definition's of every language. What
// is wrong with it beyond a mistyped name is said by wflo, which reads the definition.

import { DefinitionError } from "./errors.mjs";
import { callingPlace } from "./place.mjs";
import { nearest, plain } from "./values.mjs";

const TYPES = new Map([
  [String, "string"],
  [Number, "number"],
  [Boolean, "boolean"],
  [Array, "array"],
  [Object, "object"],
]);
const STEP = [
  "name",
  "depends_on",
  "approval_required",
  "approval",
  "rollback_enabled",
  "retries",
  "retry_backoff",
  "timeout_seconds",
  "agent",
  "budgets",
  "cache",
  "effect_class",
  "on_ambiguous",
];
const GATE = ["approvers", "quorum", "timeout_seconds", "on_timeout", "on_rejected", "message", "notify", "depends_on"];

/** All that were made, for the loader. */
export const made = [];

export class Workflow {
  #inputs;
  #budgets = [];
  #sandbox = {};
  #policies = [];
  #steps = [];

  /** `inputs` declares what a run takes: `{ age: { type: "integer", default: 90 }, who: String }`. */
  constructor(name, { version, inputs = {}, ...others } = {}) {
    known("Workflow", others, ["version", "inputs"]);
    if (typeof name !== "string") {
      throw new DefinitionError("a workflow has a name", { hint: 'write new Workflow("a-name")', place: callingPlace() });
    }
    this.name = name;
    this.version = version ?? null;
    this.#inputs = Object.fromEntries(Object.entries(inputs).map(([key, value]) => [key, input(key, value)]));
    made.push(this);
  }

  /** Limits what a run may use: `{ max_cost_usd: "5.00", alert_thresholds: [0.5], action_on_exceeded: "ask" }`. */
  set_budget(limit) {
    const wire = plain({ per: "run", ...limit }, "budget");
    // Money is decimal text: a number means its shortest decimal.
    this.#budgets.push(typeof wire.max_cost_usd === "number" ? { ...wire, max_cost_usd: String(wire.max_cost_usd) } : wire);
    return this;
  }

  /** Limits of each step's sandbox: `{ memory_limit: "512m", timeout_seconds: 60, io: { read: "50m" } }`. */
  configure_sandbox(limits) {
    this.#sandbox = { ...this.#sandbox, ...plain(limits, "sandbox") };
    return this;
  }

  /** A condition and what it leads to: `{ name, condition, actions: [{ type: "deny" }] }`. */
  add_policy(policy) {
    this.#policies.push({ ...plain(policy, "policy"), place: callingPlace() });
    return this;
  }

  /**
   * Makes a function a step: `workflow.step(async function greet(context) {…})`, or with options first,
   * `workflow.step({ depends_on: ["read"], retries: 2 }, async function greet(context) {…})`.
   */
  step(options, run) {
    if (typeof options === "function") {
      return this.step(run ?? {}, options);
    }
    if (typeof run !== "function") {
      throw new DefinitionError("a step is a function", {
        code: "WFLO-1507",
        hint: "write workflow.step(async function greet(context) {…})",
        place: callingPlace(),
      });
    }
    const { name = run.name, depends_on, approval_required, approval, ...others } = options;
    known("step", others, STEP);
    const place = callingPlace();
    if (name === "") {
      const hint = "write `async function greet(context)`, or give { name: \"greet\" }";
      throw new DefinitionError("a step has a name", { code: "WFLO-1002", hint, place });
    }
    const wire = { name, type: "agent", handler: "code", ...plain(others, `step ${name}`), place };
    if (approval !== undefined || approval_required === true) {
      wire.approval = { required: true, ...plain(approval ?? {}, "approval") };
    }
    this.#add({ wire, depends_on, run, name });
    return run;
  }

  /** A step at which people decide: `workflow.gate("sign_off", { approvers: ["ops"] })`. */
  gate(name, { depends_on, ...others } = {}) {
    known("gate", others, GATE);
    const wire = { name, type: "approval", ...plain(others, `gate ${name}`), place: callingPlace() };
    this.#add({ wire, depends_on, name });
    return this;
  }

  #add(step) {
    if (this.#steps.some(({ name }) => name === step.name)) {
      const hint = "give one of them another name: { name: \"…\" }";
      throw new DefinitionError(`there are two steps \`${step.name}\``, { code: "WFLO-1003", hint, place: step.wire.place });
    }
    this.#steps.push(step);
  }

  /** The function of a step. */
  function(name) {
    return this.#steps.find((step) => step.name === name)?.run;
  }

  /** Where a step stands. */
  place(name) {
    return this.#steps.find((step) => step.name === name)?.wire.place;
  }

  /** The definition on the wire. */
  definition() {
    const nameOf = (step) => (typeof step === "function" ? this.#steps.find(({ run }) => run === step)?.name : step);
    const steps = this.#steps.map(({ wire, depends_on }, at) => {
      const before = at === 0 ? [] : [this.#steps[at - 1].name];
      const needs = depends_on === undefined ? before : depends_on.map((step) => String(nameOf(step)));
      const missing = needs.find((name) => !this.#steps.some((step) => step.name === name));
      if (missing !== undefined) {
        const names = this.#steps.map(({ name }) => name);
        const near = nearest(missing, names);
        throw new DefinitionError(`step \`${wire.name}\` depends on \`${missing}\`, which is not a step`, {
          code: "WFLO-1004",
          hint: near === undefined ? `steps: ${names.join(", ")}` : `did you mean \`${near}\`?`,
          place: wire.place,
        });
      }
      return { ...wire, depends_on: needs };
    });
    return {
      name: this.name,
      version: this.version,
      inputs: this.#inputs,
      budgets: this.#budgets,
      sandbox: this.#sandbox,
      policies: this.#policies,
      steps,
    };
  }
}

function input(name, given) {
  const spec = typeof given === "object" && given !== null ? { ...given } : { type: given };
  known(`inputs.${name}`, spec, ["type", "required", "default"]);
  const type = TYPES.get(spec.type) ?? spec.type;
  return { ...plain({ ...spec, type }, `inputs.${name}`), required: spec.required ?? !("default" in spec) };
}

/** Refuses an option that there is not. */
function known(what, given, names) {
  const unknown = Object.keys(given).find((name) => !names.includes(name));
  if (unknown !== undefined) {
    const near = nearest(unknown, names);
    const hint = near === undefined ? `there are: ${names.join(", ")}` : `did you mean \`${near}\`?`;
    throw new DefinitionError(`${what} has no option \`${unknown}\``, { hint, place: callingPlace() });
  }
}
