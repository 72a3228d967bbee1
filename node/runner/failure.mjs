// What the engine is told about an error that left user code: type, message, the user's frames and place, and
// the effect whose error it was.

import { EffectError, WfloError } from "../wflo/errors.mjs";
import { frames, isUser, short } from "../wflo/place.mjs";

const MOST_MESSAGE = 64 * 1024;
const MOST_TRACEBACK = 512 * 1024;
/** How far back causes are followed. */
const MOST_CAUSES = 100;

/** The `error` object for whatever was thrown; `otherwise` is where it belongs when no line of the user's threw it. */
export function describe(thrown, project, otherwise) {
  const error = thrown instanceof Error ? thrown : new Error(`the step threw ${shown(thrown)}`);
  const found = {
    type: clean(typeOf(error), 300),
    message: clean(error.message || error.name, MOST_MESSAGE),
    traceback: clean(traceback(error), MOST_TRACEBACK),
    place: place(error, project) ?? otherwise,
    effect: effectOf(error),
  };
  if (error instanceof WfloError) {
    found.code = error.code;
    found.hint = error.hint;
  }
  found.hint ??= hintFor(error);
  return found;
}

/** Causes, from the error on; of several at once, those too. */
function chain(error) {
  const found = [];
  const left = [error];
  while (left.length > 0 && found.length < MOST_CAUSES) {
    const next = left.shift();
    if (next instanceof Error && !found.includes(next)) {
      found.push(next);
      left.push(next.cause, ...(Array.isArray(next.errors) ? next.errors : []));
    }
  }
  return found;
}

/** The effect whose error this is: a retry must make it anew. */
function effectOf(error) {
  const effect = chain(error).find((each) => each instanceof EffectError && each.effect !== undefined)?.effect;
  return effect ?? null;
}

function typeOf(error) {
  return error.constructor?.name || error.name || "Error";
}

function traceback(error) {
  const head = `${typeOf(error)}: ${error.message}`;
  const user = frames(error.stack).filter(isUser).map(({ text }) => text);
  const cause = error.cause instanceof Error ? `\n[cause] ${traceback(error.cause)}` : "";
  return [head, ...user].join("\n") + cause;
}

/** The innermost line of the project, else of any code but wflo's and Node's. */
function place(error, project) {
  if (typeof error.place === "string") {
    return error.place;
  }
  const user = chain(error).flatMap((each) => frames(each.stack)).filter(isUser);
  const inside = user.find(({ file }) => file.startsWith(`${project}/`) && !file.includes("/node_modules/"));
  const found = inside ?? user[0];
  return found === undefined ? undefined : short(found, project);
}

const NO_NETWORK = new Set(["ECONNREFUSED", "ENETUNREACH", "EHOSTUNREACH", "ENETDOWN", "EADDRNOTAVAIL", "ENOTFOUND", "EAI_AGAIN"]);

/** What an error that looks like something else has to do with the sandbox. */
function hintFor(error) {
  const isolated = globalThis[Symbol.for("wflo.isolated")] !== false;
  for (const { code, message } of chain(error)) {
    if (isolated && (code === "ENOSPC" || code === "EDQUOT")) {
      return (
        "a step may write so much and no more, /tmp counted: raise `disk_limit` under [sandbox], or `inodes_limit` for " +
        "many small files"
      );
    }
    if (isolated && NO_NETWORK.has(code)) {
      return (
        "steps have no network, this machine's own servers included: models go through `context.llm` or a stock " +
        "client, databases through `context.db`; other hosts are named in `allow_hosts` or by --allow-host"
      );
    }
    if (code === "ERR_MODULE_NOT_FOUND" || code === "MODULE_NOT_FOUND") {
      const name = /'([^']+)'/u.exec(message)?.[1];
      if (name !== undefined && !name.startsWith(".") && !name.startsWith("/")) {
        return `steps see the packages in the project's node_modules: \`npm install ${name}\` in the project`;
      }
    }
  }
  return undefined;
}

function shown(value) {
  try {
    return JSON.stringify(value)?.slice(0, 200) ?? String(value);
  } catch {
    return "something that is no Error";
  }
}

function clean(text, most) {
  const cut = text.length <= most ? text : `${text.slice(0, most - 20)}\n... (cut)`;
  return cut.toWellFormed();
}
