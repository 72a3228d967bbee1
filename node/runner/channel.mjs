// Frames: a 4-byte big-endian length and one JSON object in UTF-8, at most 8 MiB.
//
// Owns the bytes on the socket and nothing of their meaning. What arrives is handed on frame by frame.

import { Socket } from "node:net";

/** The largest frame body, in bytes. */
export const MAX_FRAME = 8 * 1024 * 1024;

/** The deepest that a frame's values may be nested: what is deeper is not parsed. */
const MOST_DEEP = 512;

const text = new TextDecoder("utf-8", { fatal: true });

// Taken now: step code may replace them.
const exit = process.reallyExit.bind(process);
const complain = process.stderr.write.bind(process.stderr);

/** Ends the process at once: no `finally` block, no exit handler. */
export function end(code) {
  exit(code);
}

/** Ends the process because there is no way on, and says why. */
export function leave(reason) {
  try {
    complain(`wflo runner: ${reason}\n`);
  } catch {
    // There is nobody to tell.
  }
  exit(70);
}

export class FrameTooLarge extends Error {
  constructor(size) {
    super(`the frame has ${size} bytes; the most is ${MAX_FRAME}`);
    this.size = size;
  }
}

/** One end of the protocol's socket. */
export class Channel {
  #socket;
  #buffer = Buffer.alloc(0);

  /** `onFrame` is called with each frame, `onEnd` once when the engine has hung up. */
  constructor(fd, onFrame, onEnd) {
    const socket = new Socket({ fd, readable: true, writable: true, allowHalfOpen: true });
    let ended = false;
    const hungUp = () => {
      if (!ended) {
        ended = true;
        onEnd(this.#buffer.length > 0);
      }
    };
    socket.on("data", (data) => this.#take(data, onFrame));
    socket.on("end", hungUp);
    socket.on("error", hungUp);
    socket.on("close", hungUp);
    this.#socket = socket;
  }

  #take(data, onFrame) {
    this.#buffer = this.#buffer.length === 0 ? data : Buffer.concat([this.#buffer, data]);
    while (this.#buffer.length >= 4) {
      const size = this.#buffer.readUInt32BE(0);
      if (size > MAX_FRAME) {
        leave(`the engine broke the protocol: a frame of ${size} bytes was announced; the most is ${MAX_FRAME}`);
      }
      if (this.#buffer.length - 4 < size) {
        return;
      }
      const body = this.#buffer.subarray(4, 4 + size);
      this.#buffer = this.#buffer.subarray(4 + size);
      onFrame(parsed(body));
    }
  }

  /** The frame's bytes; its values must be plain JSON. Throws `FrameTooLarge`. */
  static pack(frame) {
    const body = Buffer.from(JSON.stringify(frame), "utf-8");
    if (body.length > MAX_FRAME) {
      throw new FrameTooLarge(body.length);
    }
    const head = Buffer.alloc(4);
    head.writeUInt32BE(body.length);
    return Buffer.concat([head, body]);
  }

  /** Sends what `pack` made; `sent` is called once it has been handed to the kernel. */
  sendPacked(packed, sent) {
    this.#socket.write(packed, sent);
  }

  send(frame) {
    this.sendPacked(Channel.pack(frame));
  }
}

function parsed(body) {
  let frame;
  try {
    frame = JSON.parse(text.decode(body));
  } catch (error) {
    leave(`the engine broke the protocol: a frame is not JSON: ${error.message}`);
  }
  if (frame === null || typeof frame !== "object" || Array.isArray(frame) || depth(frame) > MOST_DEEP) {
    leave("the engine broke the protocol: a frame is not a JSON object");
  }
  if (typeof frame.type !== "string") {
    leave('the engine broke the protocol: a frame has no "type"');
  }
  return frame;
}

/** How deep values are nested, as far as that matters. */
function depth(value) {
  let level = [value];
  for (let deep = 0; deep <= MOST_DEEP; deep += 1) {
    level = level.flatMap((each) => Object.values(each).filter((inner) => inner !== null && typeof inner === "object"));
    if (level.length === 0) {
      return deep;
    }
  }
  return MOST_DEEP + 1;
}
