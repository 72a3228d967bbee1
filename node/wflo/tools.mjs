// Commands that are journaled: `context.tools`.
//
// Owns running one command around its journal entry: the engine says whether to run it, the command runs here
// in the sandbox, and its result and files are durable before step code sees them. A command that is started
// with `node:child_process` is computation instead: it runs again on resume.

import { spawn } from "node:child_process";
import { constants } from "node:os";

import { ToolFailed } from "./errors.mjs";
import { plain } from "./values.mjs";

/** How much of each output is kept, in bytes; the rest is dropped and `truncated` says so. */
const MOST_OUTPUT = 2 * 1024 * 1024;

export class Tools {
  #calls;

  constructor(calls) {
    this.#calls = calls;
  }

  /**
   * Runs a command, `run(["python3", "report.py"])`: `{exit_code, stdout, stderr}`. Throws `ToolFailed` for
   * another exit code than 0, unless `check: false`.
   */
  run(argv, { cwd, env, stdin, check = true, signal } = {}) {
    if (!Array.isArray(argv) || argv.length === 0) {
      throw new TypeError('a command is an array, such as ["python3", "report.py"]');
    }
    const given = { argv, cwd: cwd ?? null, env: env ?? {}, stdin: stdin ?? null };
    const wire = plain(given, "tools");
    const finish = async (answer, waiter) => {
      const { broker } = this.#calls;
      let result = answer;
      if (answer?.execute === true) {
        result = await broker.done(waiter, await executed(wire, signal));
      } else if (answer?.restore === true) {
        result = await broker.putBack(waiter);
      }
      return ended(argv, result, check, waiter);
    };
    return this.#calls.effect("context.tools.run", "tool", "run", wire, { signal }, finish);
  }
}

function ended(argv, answer, check, { path, seq }) {
  const result = {
    exit_code: answer?.exit_code ?? 0,
    stdout: answer?.stdout ?? "",
    stderr: answer?.stderr ?? "",
    truncated: answer?.truncated === true,
  };
  if (check && result.exit_code !== 0) {
    const last = (result.stderr.trim() || result.stdout.trim()).split("\n").at(-1).slice(0, 300);
    const why = last === "" ? "" : `: ${last}`;
    throw new ToolFailed(`${argv[0]} ended with exit code ${result.exit_code}${why}`, result, { path, seq });
  }
  return result;
}

function executed(wire, signal) {
  return new Promise((resolve) => {
    const [program, ...words] = wire.argv;
    const options = { cwd: wire.cwd ?? undefined, env: { ...process.env, ...wire.env }, signal, killSignal: "SIGKILL" };
    const child = spawn(program, words, options);
    const [out, err] = [kept(child.stdout), kept(child.stderr)];
    child.on("error", (error) => {
      // What a shell reports for a command that cannot be started.
      const exit_code = error.code === "ENOENT" ? 127 : 126;
      resolve({ exit_code, stdout: out.text(), stderr: error.message });
    });
    child.on("close", (code, name) => {
      const exit_code = code ?? -constants.signals[name];
      const truncated = out.isCut() || err.isCut();
      const report = { exit_code, stdout: out.text(), stderr: err.text() };
      resolve(truncated ? { ...report, truncated } : report);
    });
    child.stdin.on("error", () => {});
    child.stdin.end(wire.stdin ?? "");
  });
}

function kept(stream) {
  const parts = [];
  let size = 0;
  stream.on("data", (data) => {
    if (size < MOST_OUTPUT) {
      parts.push(data);
    }
    size += data.length;
  });
  const whole = () => Buffer.concat(parts).subarray(0, MOST_OUTPUT);
  return { text: () => whole().toString("utf-8"), isCut: () => size > MOST_OUTPUT };
}
