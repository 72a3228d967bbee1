// Where in the user's code something stands: `workflow.mjs:12`.

import { fileURLToPath } from "node:url";
import path from "node:path";

/** The folder that holds the SDK and the runner. */
export const OWN = path.dirname(path.dirname(fileURLToPath(import.meta.url))) + path.sep;

const FRAME = /(?:\(|at (?:async )?)((?:file:\/\/)?\/[^()]*?):(\d+):\d+\)?$/u;

/** The frames of a stack, each with its file and line where it has one. */
export function frames(stack) {
  const lines = String(stack).split("\n").filter((line) => /^\s+at /u.test(line));
  return lines.map((text) => {
    const [, where, line] = FRAME.exec(text) ?? [];
    const file = where?.startsWith("file://") ? fileURLToPath(where.replace(/\?.*$/u, "")) : where;
    return { text, file, line: Number(line) };
  });
}

/** Whether a frame is the user's or a library's, and not wflo's or Node's. */
export const isUser = ({ file }) => file !== undefined && !file.startsWith(OWN);

/** `workflow.mjs:12`, below the project; the whole path elsewhere. */
export function short({ file, line }, project = process.cwd()) {
  const relative = path.relative(project, file);
  return `${relative.startsWith("..") ? file : relative}:${line}`;
}

/** Where the user's code that called this stands. */
export function callingPlace() {
  const limit = Error.stackTraceLimit;
  Error.stackTraceLimit = 20;
  const found = frames(new Error().stack).find(isUser);
  Error.stackTraceLimit = limit;
  return found === undefined ? undefined : short(found);
}
