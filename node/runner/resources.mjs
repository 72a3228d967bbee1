// What of the process goes on by itself: files being read, connections, programs that were started.
//
// Owns what counts as such. The runner's own socket does not, nor do connections to the model gateway: they
// stay open between calls, and the engine itself knows whether a call is under way on one.

import { subscribe } from "node:diagnostics_channel";

/** Work that ends by itself and soon: nothing else of the step should overtake it. */
const WORK = /^(FS|FileHandle|Zlib|ZLIB|RandomBytes|RANDOMBYTES|PBKDF2|SCRYPT|Scrypt|HashJob|SignJob|KeyGen|CipherJob|CheckPrime|DirHandle|BLOB|Close)/iu;
/** The timers of libraries inside Node; those of step code are the runner's own. */
const TIMERS = new Set(["Timeout", "Immediate"]);

/** Where stock clients of this process are pointed to. */
function gateways(environment) {
  const found = new Set();
  for (const name of ["OPENAI_BASE_URL", "ANTHROPIC_BASE_URL"]) {
    const url = URL.canParse(environment[name] ?? "") ? new URL(environment[name]) : undefined;
    if (url !== undefined && url.hostname.startsWith("127.") && url.port !== "") {
      found.add(`${url.hostname}:${url.port}`);
    }
  }
  return found;
}

export class Resources {
  #own = new Map();
  #gateways = gateways(process.env);
  #sockets = new Set();

  constructor() {
    subscribe("net.client.socket", ({ socket }) => {
      this.#sockets.add(socket);
      socket.once("close", () => this.#sockets.delete(socket));
    });
  }

  /** What is there now does not count as the step's. */
  own() {
    this.#own = counted();
  }

  /** Whether work is under way that ends by itself and soon. */
  get busy() {
    return this.#others().some((name) => WORK.test(name));
  }

  /** Whether anything goes on by itself. */
  get foreign() {
    const others = this.#others().filter((name) => !WORK.test(name));
    const connections = this.#connections().filter((socket) => socket._handle?.hasRef?.()).length;
    const sockets = others.filter((name) => name === "TCPSocketWrap").length;
    return this.busy || others.length - Math.min(sockets, connections) > 0;
  }

  /** How many connections to the model gateway there are. */
  get gateway() {
    return this.#connections().length;
  }

  /** How much has come on them, to see whether anything has since. */
  get received() {
    return this.#connections().reduce((sum, socket) => sum + socket.bytesRead, 0);
  }

  #connections() {
    return [...this.#sockets].filter((socket) => this.#gateways.has(`${socket.remoteAddress}:${socket.remotePort}`));
  }

  #others() {
    const left = new Map(this.#own);
    return process.getActiveResourcesInfo().filter((name) => {
      const known = left.get(name) ?? 0;
      left.set(name, known - 1);
      return known <= 0 && !TIMERS.has(name);
    });
  }
}

function counted() {
  const found = new Map();
  for (const name of process.getActiveResourcesInfo()) {
    found.set(name, (found.get(name) ?? 0) + 1);
  }
  return found;
}
