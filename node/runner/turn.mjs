// When what happens to a step happens: its timers, and one answer at a time while it is idle.
//
// A turn runs when everything that was ready has run: microtasks always have, before a callback of the event
// loop begins. Then immediates and timers of step code come first, then work that ends by itself and soon (a
// file being read), then one answer. With nothing of these left the step waits for others, and says so when
// only the engine can wake it.
//
// While recorded answers are replayed, timers do not wait for real time: when the step is idle and the next
// recorded answer belongs to an effect that it has not asked for yet, the earliest timer fires at once.

import { StepCancelled } from "../wflo/errors.mjs";
import { real } from "./timers.mjs";

/** How long a step is idle before it says so: quick effects need no `suspended` frame. */
const SETTLE = 5;
/** When `suspended` is repeated: after 50 ms, 200 ms, ... and then every 12.8 s. */
const FIRST_REPEAT = 50;
const LAST_REPEAT = 12_800;
/** How long work that is under way may keep an answer waiting. */
const STARVED = 50;
/** How often what goes on by itself is looked at, at least and at most. */
const FIRST_LOOK = 1;
const LAST_LOOK = 50;

const now = performance.now.bind(performance);

export class Turn {
  #broker;
  #timers;
  #resources;
  #soon;
  #alarm;
  #look = FIRST_LOOK;
  #busySince;
  #idleSince;
  #repeats = 0;
  #saidAt = 0;
  #quiet;
  #over = false;

  constructor(broker, timers, resources) {
    this.#broker = broker;
    this.#timers = timers;
    this.#resources = resources;
    broker.changed = () => this.look();
    this.cancelled = new Promise((_, reject) => {
      this.fail = reject;
    });
    this.cancelled.catch(() => {});
  }

  /** Looks again once everything that is ready has run. */
  look() {
    if (this.#soon === undefined && !this.#over) {
      real.clearTimeout(this.#alarm);
      this.#soon = real.setImmediate(() => {
        this.#soon = undefined;
        this.#turn();
      });
    }
  }

  /** The step has ended. */
  stop() {
    this.#over = true;
    real.clearTimeout(this.#alarm);
  }

  #in(milliseconds) {
    real.clearTimeout(this.#alarm);
    // A longer wait than a timer can have only means that it is looked at in between.
    this.#alarm = real.setTimeout(() => this.look(), Math.min(Math.ceil(milliseconds), 2 ** 31 - 1));
  }

  /** Something of the step ran: it is looked at again when that is over. */
  #ran() {
    this.#look = FIRST_LOOK;
    this.#idleSince = undefined;
    this.#busySince = undefined;
    this.#quiet = undefined;
    this.#broker.calls.forget();
    this.look();
  }

  #turn() {
    if (this.#over) {
      return;
    }
    const [broker, timers] = [this.#broker, this.#timers];
    if (timers.ready) {
      this.#ran();
      timers.runImmediate();
      return;
    }
    // It may throw, as any callback: then the step fails, and nothing is looked at again.
    if (timers.soonest !== undefined && timers.soonest <= timers.now()) {
      this.#ran();
      timers.runDue();
      return;
    }
    if (this.#resources.busy) {
      this.#busySince ??= now();
      if (broker.deliveries.replaying || now() - this.#busySince < STARVED) {
        this.#lookLater();
        return;
      }
    }
    if (broker.deliver()) {
      this.#ran();
      return;
    }
    if (broker.cancelled !== undefined) {
      // What it had to do about the cancellation it has done, as far as it needs nobody else.
      this.fail(new StepCancelled(broker.cancelled));
      return;
    }
    if (broker.deliveries.replaying) {
      this.#replay();
    } else {
      this.#wait();
    }
  }

  #lookLater() {
    this.#look = Math.min(2 * this.#look, LAST_LOOK);
    this.#in(this.#untilTimer(this.#look));
  }

  #untilTimer(most) {
    const soonest = this.#timers.soonest;
    return soonest === undefined ? most : Math.max(0, Math.min(most, soonest - this.#timers.now()));
  }

  #replay() {
    const [broker, timers] = [this.#broker, this.#timers];
    if (!broker.stuck(!this.#resources.foreign)) {
      this.#in(this.#untilTimer(20));
      return;
    }
    const connections = this.#resources.gateway;
    const state = broker.calls.state(connections, (frame) => broker.tell(frame));
    if (state === undefined || state === "answering") {
      this.#in(this.#untilTimer(broker.calls.pause));
    } else if (timers.skippable !== undefined && broker.maySkipTimer(state === "running")) {
      this.#skip(connections);
    } else if (state === "running") {
      this.#in(this.#untilTimer(broker.calls.pause));
    } else if ((timers.skippable === undefined || broker.patience.over) && broker.deliverAny()) {
      this.#ran();
    } else if (!broker.deliveries.replaying) {
      this.look();
    } else {
      this.#in(this.#untilTimer(20));
    }
  }

  /** Lets the earliest timer fire, unless an answer was on its way before the engine said that none is. */
  #skip(connections) {
    if (connections > 0 && this.#quiet !== this.#resources.received) {
      this.#quiet = this.#resources.received;
      // Two rounds of the event loop: what has come is read in between.
      real.setImmediate(() => this.look());
      return;
    }
    this.#timers.skip();
    this.#ran();
  }

  #wait() {
    const broker = this.#broker;
    if (broker.pending.size === 0 || this.#timers.next !== undefined || this.#resources.foreign) {
      this.#idleSince = undefined;
      // What goes on by itself says nothing when it ends: an answer may be due then.
      const waits = broker.pending.size > 0 || this.#timers.soonest !== undefined;
      if (waits) {
        this.#lookLater();
      }
      return;
    }
    this.#idleSince ??= now();
    const idle = now() - this.#idleSince;
    if (!broker.suspended) {
      if (idle < SETTLE) {
        this.#in(SETTLE - idle);
        return;
      }
      this.#repeats = 0;
      this.#saidAt = now();
      broker.suspend();
    }
    const repeat = Math.min(FIRST_REPEAT * 4 ** this.#repeats, LAST_REPEAT);
    const left = this.#saidAt + repeat - now();
    if (left <= 0) {
      this.#repeats += 1;
      this.#saidAt = now();
      broker.suspend();
      this.look();
      return;
    }
    this.#in(this.#untilTimer(left));
  }
}
