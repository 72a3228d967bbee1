// Putting the files of a recorded tool back into the workspace.
//
// Owns what each part of an `effect_chunk` means for the disk. Names are relative to the workspace; a file is
// written beside its place and renamed, so that nobody sees half of it. Nothing here waits: until the files
// are there, nothing else of the step may run.

import { spawnSync } from "node:child_process";
import fs from "node:fs";

const SUFFIX = Buffer.from(".wflo-part");

export class Restorer {
  /** The first error; nothing is done after it. */
  error;
  #root;
  #part;

  constructor(root) {
    this.#root = Buffer.from(`${root}/`);
  }

  /** Does what one part says. */
  apply(delta) {
    if (this.error !== undefined) {
      return;
    }
    try {
      this.#apply(delta);
    } catch (error) {
      this.error = error;
    }
  }

  #apply(delta) {
    if ("file" in delta) {
      this.#file(this.#place(delta.file), delta);
    } else if ("folder" in delta) {
      const place = this.#place(delta.folder);
      fs.mkdirSync(place, { recursive: true });
      fs.chmodSync(place, delta.mode);
    } else if ("mode_of" in delta) {
      fs.chmodSync(this.#place(delta.mode_of), delta.mode);
    } else if ("link" in delta) {
      const place = this.#place(delta.link);
      fs.rmSync(place, { recursive: true, force: true });
      fs.symlinkSync(bytes(delta.target), place);
    } else if ("remove" in delta) {
      fs.rmSync(this.#place(delta.remove), { recursive: true, force: true });
    }
  }

  #file(place, delta) {
    const part = Buffer.concat([place, SUFFIX]);
    this.#part ??= fs.openSync(part, "w");
    fs.writeSync(this.#part, bytes(delta.data));
    if (!("mode" in delta)) {
      return;
    }
    fs.closeSync(this.#part);
    this.#part = undefined;
    fs.chmodSync(part, delta.mode);
    if ("modified_ns" in delta) {
      changedAt(part, BigInt(delta.modified_ns));
    }
    fs.renameSync(part, place);
  }

  #place(name) {
    return Buffer.concat([this.#root, bytes(name)]);
  }
}

const BILLION = 1_000_000_000n;

/** Sets when a file was changed. Node takes seconds as a number, which has no room for all nanoseconds. */
function changedAt(file, nanoseconds) {
  const seconds = Number(nanoseconds) / 1e9;
  fs.utimesSync(file, seconds, seconds);
  if (fs.statSync(file, { bigint: true }).mtimeNs !== nanoseconds) {
    const rest = String(nanoseconds % BILLION).padStart(9, "0");
    spawnSync("touch", ["--no-create", `--date=@${nanoseconds / BILLION}.${rest}`, file], { stdio: "ignore" });
  }
}

function bytes(value) {
  return typeof value === "string" ? Buffer.from(value) : Buffer.from(value.$bytes, "base64");
}
