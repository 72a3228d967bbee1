// The runner for JavaScript: the process in the sandbox that loads the user's module and runs its steps.
//
// Owns the conversation with the engine (`docs/protocol.md`).
// Architecture Invariant: the runner is not trusted and keeps nothing: the journal, fingerprints and digests are
// the engine's. It only says what step code asked for and returned.

import fs from "node:fs";

import { StepError } from "../wflo/errors.mjs";
import { Calls } from "../wflo/calls.mjs";
import { Context } from "../wflo/context.mjs";
import { plain } from "../wflo/values.mjs";
import { Broker } from "./broker.mjs";
import { Channel, FrameTooLarge, end, leave } from "./channel.mjs";
import { Marks } from "./deliveries.mjs";
import { describe } from "./failure.mjs";
import { Loader } from "./loader.mjs";
import { Resources } from "./resources.mjs";
import { Timers, real } from "./timers.mjs";
import { Turn } from "./turn.mjs";

const PROTOCOL = 1;
const VERSION = "0.1.0";
/** The oldest Node that runs steps. */
const OLDEST = 20;
const MAJOR = process.versions.node.split(".")[0];

class Runner {
  #channel;
  #loader;
  #features = new Set();
  #isGreeted = false;
  #requests = Promise.resolve();
  #broker;
  #early = [];
  #isRunning = false;
  #timers = new Timers();

  constructor(fd) {
    this.#timers.install();
    this.#channel = new Channel(fd, (frame) => this.#take(frame), (isCut) => this.#hungUp(isCut));
  }

  #hungUp(isCut) {
    if (this.#isRunning || isCut) {
      leave("the engine closed the connection");
    }
    // Between requests this is the engine's way of saying goodbye.
    end(0);
  }

  #take(frame) {
    if (!this.#isGreeted) {
      this.#greet(frame);
    } else if (this.#broker !== undefined) {
      this.#broker.take(frame);
    } else if (this.#isRunning) {
      this.#early.push(frame);
    } else if (frame.type === "describe") {
      this.#requests = this.#requests.then(() => this.#describe(frame));
    } else if (frame.type === "run_step") {
      this.#isRunning = true;
      this.#requests = this.#requests.then(() => this.#runStep(frame));
    } else if (frame.type === "cancel") {
      end(0);
    } else if (["hello", "effect_result", "effect_chunk"].includes(frame.type)) {
      leave(`the engine broke the protocol: "${frame.type}" came where a request was expected`);
    }
    // Other types are of a later version of the protocol, which only adds.
  }

  #greet(frame) {
    if (frame.type !== "hello") {
      leave(`the engine broke the protocol: the first frame is "${frame.type}", not "hello"`);
    }
    if (frame.protocol !== PROTOCOL) {
      leave(`the engine speaks version ${frame.protocol} of the protocol and this runner version ${PROTOCOL}`);
    }
    this.#isGreeted = true;
    this.#features = new Set(Array.isArray(frame.features) ? frame.features.map(String) : []);
    globalThis[Symbol.for("wflo.isolated")] = frame.isolated !== false;
    this.#loader = new Loader();
    this.#channel.send({
      type: "hello",
      protocol: PROTOCOL,
      language: "javascript",
      language_version: process.versions.node,
      sdk_version: VERSION,
    });
  }

  async #describe(frame) {
    const { project, workflow } = target(frame);
    let answer;
    try {
      const found = await this.#loader.load(project, workflow);
      const definition = plain(found.definition(), "the definition");
      const files = await this.#loader.files(project);
      answer = Channel.pack({ type: "definition", definition, files, interpreter: `node-${MAJOR}` });
    } catch (error) {
      answer = Channel.pack({ type: "failed", error: describe(error, project) });
    }
    this.#channel.sendPacked(answer);
  }

  async #runStep(frame) {
    const { project, workflow } = target(frame);
    const marks = new Marks(frame.asked ?? [], frame.cancelled ?? []);
    const broker = new Broker(this.#channel, this.#features, project, { length: frame.replay_length ?? 0, marks });
    const resources = new Resources();
    const turn = new Turn(broker, this.#timers, resources);
    let last;
    let place;
    try {
      const found = await this.#loader.load(project, workflow);
      place = found.place(frame.step);
      // What was there before the step is not the step's.
      resources.own();
      this.#timers.give(() => broker.changed());
      this.#broker = broker;
      this.#early.forEach((early) => broker.take(early));
      last = await succeeded(found, frame, broker, turn, resources);
    } catch (error) {
      last = Channel.pack({ type: "failed", error: describe(error, project, place) });
    }
    turn.stop();
    broker.ended = true;
    this.#channel.sendPacked(last, () => end(0));
  }
}

function target({ type, project, workflow }) {
  if (typeof project !== "string" || typeof workflow !== "string" || !project.startsWith("/")) {
    leave(`the engine broke the protocol: "${type}" needs "project" (absolute) and "workflow"`);
  }
  return { project, workflow };
}

/** Runs the step to its end; the packed `succeeded` frame. */
async function succeeded(workflow, frame, broker, turn, resources) {
  const run = workflow.function(frame.step);
  if (run === undefined) {
    throw new StepError(`the workflow \`${workflow.name}\` has no step \`${frame.step}\` with a function`, {
      code: "WFLO-1503",
      hint: "the code has changed since the run was submitted",
    });
  }
  // What nobody in the step catches is the step's error, as of any program.
  process.on("uncaughtException", (error) => turn.fail(error));
  process.on("unhandledRejection", (error) => turn.fail(error));
  process.exit = (code) => {
    throw new StepError(`the step called process.exit(${code ?? ""}); a step ends by returning`, {
      code: "WFLO-3306",
      hint: "return from the step, or throw an error that says why",
    });
  };
  const calls = new Calls(broker);
  const context = new Context(calls, frame);
  broker.checkUsable();
  turn.look();
  const output = await Promise.race([(async () => run(context))(), turn.cancelled]);
  calls.check();
  [...broker.pending.values()].forEach((waiter) => broker.giveUp(waiter));
  const last = packed(plain(output, "outputs"), plain(context.state, "state"));
  await flushed(resources);
  process.emit("exit", 0);
  return last;
}

function packed(output, state) {
  try {
    return Channel.pack({ type: "succeeded", output, state });
  } catch (error) {
    if (!(error instanceof FrameTooLarge)) {
      throw error;
    }
    throw new StepError(`the step's output and state have ${error.size} bytes; the most is 8 MiB`, {
      code: "WFLO-3302",
      hint: "write large results to a file in the workspace and return its path",
    });
  }
}

/** Waits until what the step still writes is written. */
async function flushed(resources) {
  do {
    await new Promise((resolve) => real.setImmediate(resolve));
  } while (resources.busy);
}

if (Number(MAJOR) < OLDEST) {
  leave(`Node ${process.versions.node} is too old for steps: use ${OLDEST} or newer, or name one with WFLO_NODE`);
}
const number = process.env.WFLO_RUNNER_FD ?? "";
delete process.env.WFLO_RUNNER_FD;
if (!/^\d+$/u.test(number)) {
  leave("WFLO_RUNNER_FD is not set: the runner is started by wflo, not by hand");
}
try {
  fs.fstatSync(Number(number));
} catch {
  leave(`descriptor ${number} (WFLO_RUNNER_FD) is not open`);
}
new Runner(Number(number));
