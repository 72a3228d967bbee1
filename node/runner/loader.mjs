// From `workflow.mjs` to the workflow that it defines.
//
// Owns what `import "wflo"` finds, which of a file's workflows is meant, and which files of the project it was
// made of.

import { spawnSync } from "node:child_process";
import { createRequire, register } from "node:module";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { MessageChannel } from "node:worker_threads";

import { DefinitionError } from "../wflo/errors.mjs";
import { short } from "../wflo/place.mjs";
import { Workflow, made } from "../wflo/workflow.mjs";

const require = createRequire(import.meta.url);
const SDK = new URL("../wflo/index.mjs", import.meta.url).href;

export class Loader {
  #loaded = new Map();
  #urls = new Set();
  #port;
  #flushes = 0;

  constructor() {
    const { port1, port2 } = new MessageChannel();
    register("./hooks.mjs", {
      parentURL: import.meta.url,
      data: { sdk: SDK, port: port2 },
      transferList: [port2],
    });
    this.#port = port1;
    port1.on("message", ({ url }) => url !== undefined && this.#urls.add(url));
    port1.unref();
  }

  /** The workflow of a target, `file.mjs` or `file.mjs:name`. */
  async load(project, target) {
    const key = `${project}\n${target}`;
    if (!this.#loaded.has(key)) {
      this.#loaded.set(key, await this.#import(project, target));
    }
    return this.#loaded.get(key);
  }

  async #import(project, target) {
    process.chdir(project);
    const [, file, name] = /^(.*?)(?::([\p{ID_Start}$_][\p{ID_Continue}$]*))?$/u.exec(target);
    const before = made.length;
    const url = pathToFileURL(path.resolve(project, file)).href;
    let found;
    try {
      found = await import(url);
    } catch (error) {
      if (error instanceof SyntaxError && error.place === undefined) {
        error.place = await this.#misspelt(error, project);
      }
      throw error?.code === "ERR_MODULE_NOT_FOUND" && error.message.includes(fileURLToPath(url) + "'")
        ? new DefinitionError(`there is no file ${file} in ${project}`, {
            code: "WFLO-1506",
            hint: "give the path of a JavaScript module, or set [project] workflow in wflo.toml",
          })
        : error;
    }
    this.#urls.add(url);
    return chosen(file, name, found, made.slice(before));
  }

  /** Where a file cannot be read as JavaScript: the error itself does not always say. */
  async #misspelt(error, project) {
    const said = (text) => /^(?:file:\/\/)?(\/\S+):(\d+)\n/u.exec(text);
    let found = said(String(error.stack));
    for (const file of found === null ? await this.files(project) : []) {
      const checked = spawnSync(process.execPath, ["--check", path.resolve(project, file)], { encoding: "utf-8" });
      found ??= said(checked.stderr ?? "");
    }
    return found === null ? undefined : short({ file: found[1], line: found[2] }, project);
  }

  /** The files of the project that were imported, in order of name; not what is installed in it. */
  async files(project) {
    await this.#heard();
    const urls = [...this.#urls].filter((url) => url.startsWith("file://"));
    const all = urls.map((url) => fileURLToPath(url.replace(/[?#].*$/u, ""))).concat(Object.keys(require.cache));
    const own = all.map((file) => path.relative(project, file)).filter((file) => !/^\.\.|(?:^|\/)node_modules\//u.test(file));
    return [...new Set(own)].sort();
  }

  /** Waits until everything that the hooks had to say is here. */
  async #heard() {
    const flush = `wflo:imported?${(this.#flushes += 1)}`;
    const heard = new Promise((resolve) => {
      const listen = (message) => {
        if (message.flush === flush) {
          this.#port.off("message", listen);
          resolve();
        }
      };
      this.#port.on("message", listen);
    });
    await import(flush);
    await heard;
    this.#port.unref();
  }
}

function chosen(file, name, found, created) {
  const exported = Object.entries(found).filter(([, value]) => value instanceof Workflow);
  if (name !== undefined) {
    const named = found[name];
    if (named instanceof Workflow) {
      return named;
    }
    const have = exported.map(([each]) => each).join(", ") || "none is exported";
    const what = name in found ? "is no Workflow" : "does not exist";
    throw new DefinitionError(`${name} in ${file} ${what}`, { code: "WFLO-1506", hint: `workflows: ${have}` });
  }
  if (found.default instanceof Workflow) {
    return found.default;
  }
  const candidates = [...new Set(exported.length > 0 ? exported.map(([, value]) => value) : created)];
  if (candidates.length === 1) {
    return candidates[0];
  }
  if (candidates.length === 0) {
    throw new DefinitionError(`${file} has no workflow`, {
      code: "WFLO-1504",
      hint:
        'write `export const workflow = new Workflow("a-name")` at the top level of the file; ' +
        `a program that is no workflow runs as it is: \`wflo run -- node ${file}\``,
    });
  }
  const names = exported.map(([each]) => each);
  throw new DefinitionError(`${file} has several workflows: ${candidates.map((each) => each.name).join(", ")}`, {
    code: "WFLO-1505",
    hint: names.length > 0 ? `name one: \`wflo run ${file}:${names[0]}\`` : "export the one that is meant as default",
  });
}
