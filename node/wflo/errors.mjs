// Every error that wflo raises in JavaScript, with its stable code and what to do about it.
//
// Owns the classes. Who raises what stands with the noun concerned; each code has a page in `docs/errors/`.

/** An error with a stable code (`WFLO-1501`), a message and, mostly, a hint. */
export class WfloError extends Error {
  constructor(message, { code, hint } = {}) {
    super(message);
    this.name = new.target.name;
    this.code = code;
    this.hint = hint;
  }
}

/** The workflow is not well defined. `place` is the user's line, such as `workflow.mjs:12`. */
export class DefinitionError extends WfloError {
  constructor(message, { code = "WFLO-1501", hint, place } = {}) {
    super(message, { code, hint });
    this.place = place;
  }
}

/** Step code used its context in a way that cannot be recorded or replayed. */
export class StepError extends WfloError {}

/** A value that must be recorded is not JSON. The message names the path inside the value. */
export class ValueNotJson extends StepError {}

/** Step code read an input that the run was not given. */
export class InputMissing extends StepError {}

/** The step is being cancelled. */
export class StepCancelled extends WfloError {
  constructor(reason) {
    super(`the step was cancelled: ${reason}`);
  }
}

/** An effect (a model call, a statement, a tool ...) was refused or failed. `kind` says what went wrong. */
export class EffectError extends WfloError {
  constructor(message, { code = "WFLO-3311", hint, kind = "failed", effect, details = {} } = {}) {
    super(message, { code, hint });
    this.kind = kind;
    this.effect = effect;
    this.details = details;
  }
}

/** The call could have cost more than a budget has left. It was not sent. */
export class BudgetExceeded extends EffectError {}
/** People said no. */
export class ApprovalRejected extends EffectError {}
/** A database refused a statement. */
export class DatabaseError extends EffectError {}
/** The stream or the call was cut short by a crash. */
export class Interrupted extends EffectError {}
/** The model's provider refused the call. */
export class ModelError extends EffectError {}
/** It comes with a later release. */
export class NotAvailable extends EffectError {}
/** A policy forbids it. */
export class PolicyDenied extends EffectError {}
/** The step asked for something else than the first time. */
export class ReplayMismatch extends EffectError {}
/** It took too long. */
export class EffectTimeout extends EffectError {}

/** A command ended with another exit code than 0. `result` is all of it. */
export class ToolFailed extends EffectError {
  constructor(message, result, effect) {
    const hint = "give check: false to get the result instead of this error";
    super(message, { code: "WFLO-3309", hint, kind: "tool_failed", effect });
    this.result = result;
  }
}

const BY_KIND = {
  approval_rejected: ApprovalRejected,
  budget_exceeded: BudgetExceeded,
  database: DatabaseError,
  interrupted: Interrupted,
  model: ModelError,
  not_available: NotAvailable,
  policy_denied: PolicyDenied,
  replay_mismatch: ReplayMismatch,
  timeout: EffectTimeout,
};

/** The error for the `error` object of an `effect_result` frame. */
export function effectError(said, effect) {
  const { code, kind, message, hint, ...details } = said;
  const Kind = (Object.hasOwn(BY_KIND, kind) && BY_KIND[kind]) || EffectError;
  return new Kind(String(message ?? "the effect failed"), { code, hint: hint ?? undefined, kind, effect, details });
}
