// When replay stops waiting for the next recorded answer to be asked for.
//
// Owns the clocks of that decision and nothing else. When the step is idle and has not asked for the next
// answer, either something in the process will still lead to it, or it will never be asked for.

/** How long an effect may be without an answer before it counts as new, in milliseconds. */
const GRACE = 2_000;
/** How long replay waits for what goes on by itself: a file, a connection. */
const PATIENCE = 10_000;
/** How long where the journal says that something is still to be asked for first. */
const SURE = 600_000;
/** How many timers in a row replay skips to without an effect being asked for. */
const MOST_SKIPS = 1_000;
const MOST_SURE_SKIPS = 100_000;

const now = performance.now.bind(performance);

export class Patience {
  #stuckSince;
  #skipped = 0;
  #sure = false;

  /** Begins anew: an effect was asked for, or an answer was given out. */
  progress() {
    this.#stuckSince = undefined;
    this.#skipped = 0;
  }

  /**
   * Whether the next recorded answer may still be asked for, or may still arrive. `quiet` says that nothing
   * in this process goes on by itself, `unanswered` that an effect has no answer and is not known to run
   * anew, `sure` that the step did something here the first time before it got any further answer.
   */
  expects({ quiet, unanswered, sure }) {
    this.#sure = sure;
    this.#stuckSince ??= now();
    const waited = now() - this.#stuckSince;
    return quiet ? unanswered && waited < GRACE : waited < this.#limit;
  }

  /** Counts a timer that is skipped to; false when it has been too many (a heartbeat). */
  skip() {
    this.#skipped += 1;
    return !this.#skippedEnough;
  }

  /** Whether replay has waited too long, whatever else goes on. */
  get over() {
    const waited = this.#stuckSince === undefined ? 0 : now() - this.#stuckSince;
    return this.#skippedEnough || waited >= this.#limit;
  }

  get #limit() {
    return this.#sure ? SURE : PATIENCE;
  }

  get #skippedEnough() {
    return this.#skipped > (this.#sure ? MOST_SURE_SKIPS : MOST_SKIPS);
  }
}
