// Values that are recorded: JSON, and nothing that JSON would silently make something else of.

import { ValueNotJson } from "./errors.mjs";

/** The value as plain JSON; `what` names it in an error. `undefined` is null, and left out of objects. */
export function plain(value, what) {
  return walk(value, what, []);
}

function walk(value, where, above) {
  switch (typeof value) {
    case "undefined":
      return null;
    case "boolean":
      return value;
    case "string":
      return value.isWellFormed() ? value : refuse(where, "text with half of a character (a lone surrogate)");
    case "number":
      return Number.isFinite(value) ? value : refuse(where, String(value));
    case "object":
      return value === null ? null : object(value, where, above);
    default:
      return refuse(where, `a ${typeof value}`);
  }
}

function object(value, where, above) {
  if (above.includes(value)) {
    return refuse(where, "an object that holds itself");
  }
  if (typeof value.toJSON === "function") {
    return walk(value.toJSON(), where, [...above, value]);
  }
  const inner = [...above, value];
  if (Array.isArray(value)) {
    return value.map((each, index) => walk(each, `${where}[${index}]`, inner));
  }
  if (value instanceof Map || value instanceof Set || ArrayBuffer.isView(value) || value instanceof Promise) {
    return refuse(where, `a ${value.constructor.name}`);
  }
  const entries = Object.entries(value).filter(([, each]) => each !== undefined);
  return Object.fromEntries(entries.map(([key, each]) => [key, walk(each, `${where}.${key}`, inner)]));
}

function refuse(where, found) {
  throw new ValueNotJson(`${where} is ${found}, which is not JSON`, {
    code: "WFLO-3301",
    hint: "use text, numbers, booleans, null, arrays and plain objects",
  });
}

/** Bytes as they travel: `{"$bytes": "<base64>"}`. */
export function cell(value) {
  return value instanceof Uint8Array ? { $bytes: Buffer.from(value).toString("base64") } : value;
}

/** What came as bytes, as a Buffer. */
export function read(value) {
  const isBytes = value !== null && typeof value === "object" && typeof value.$bytes === "string";
  return isBytes ? Buffer.from(value.$bytes, "base64") : value;
}

/** The name that was most likely meant, of those that there are. */
export function nearest(name, known) {
  const ranked = known.map((each) => [distance(String(name), each), each]);
  const near = ranked.filter(([far, each]) => far <= 1 + each.length / 4);
  return near.sort(([one], [other]) => one - other)[0]?.[1];
}

function distance(one, other) {
  let row = Array.from({ length: other.length + 1 }, (_, index) => index);
  for (let i = 1; i <= one.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= other.length; j += 1) {
      const swap = row[j - 1] + (one[i - 1] === other[j - 1] ? 0 : 1);
      next.push(Math.min(swap, row[j] + 1, next[j - 1] + 1));
    }
    row = next;
  }
  return row[other.length];
}
