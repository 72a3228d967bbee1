// Model calls: `context.llm`. Prices, budgets and providers are the engine's; no key is ever in the step.

import { plain } from "./values.mjs";

/** A model's answer: `text`, `tool_calls`, `usage`, `cost_usd` (a decimal text, exact), `model`, `raw`. */
function response(answer) {
  const called = (answer?.tool_calls ?? []).map((call) => ({ ...call, arguments: decoded(call.arguments) }));
  return {
    text: answer?.text ?? "",
    tool_calls: called,
    usage: answer?.usage ?? {},
    cost_usd: String(answer?.cost_usd ?? "0"),
    model: answer?.model ?? "",
    raw: answer?.raw ?? {},
  };
}

/** A tool's arguments, decoded if the model wrote JSON. */
function decoded(text) {
  try {
    return typeof text === "string" ? JSON.parse(text) : text;
  } catch {
    return text;
  }
}

function request(given) {
  if (typeof given?.model !== "string" || given.model === "") {
    throw new TypeError('model must be the name of a model, such as model: "gpt-5-mini"');
  }
  if (!Array.isArray(given.messages)) {
    throw new TypeError('messages must be an array, such as [{ role: "user", content: "Hello" }]');
  }
  return plain(given, "llm");
}

/** An async iterator of parts, `{text, tool_call?}`, with the whole answer at its end. */
class ChatStream {
  #waiter;
  #chunks = [];
  #wake = () => {};
  #end;
  #isDone = false;
  #seen = false;

  constructor(calls, wire, signal) {
    const onChunk = (delta) => {
      this.#chunks.push(delta);
      this.#wake();
    };
    this.#waiter = calls.ask("llm", "stream", wire, { signal, onChunk });
    const ended = (end) => {
      this.#end = end;
      this.#isDone = true;
      this.#wake();
    };
    this.#waiter.answer.then((answer) => ended({ answer: response(answer) }), (error) => ended({ error }));
  }

  /** The whole answer, once the stream has ended. */
  get response() {
    if (this.#end?.answer === undefined) {
      throw new Error("the stream has not ended; read it to its end first");
    }
    return this.#end.answer;
  }

  get text() {
    return this.response.text;
  }

  get tool_calls() {
    return this.response.tool_calls;
  }

  get usage() {
    return this.response.usage;
  }

  get cost_usd() {
    return this.response.cost_usd;
  }

  async *[Symbol.asyncIterator]() {
    while (true) {
      while (this.#chunks.length > 0) {
        this.#seen = true;
        const { text = "", tool_call } = this.#chunks.shift() ?? {};
        yield tool_call === undefined ? { text } : { text, tool_call };
      }
      if (this.#isDone) {
        break;
      }
      await new Promise((resolve) => {
        this.#wake = resolve;
      });
    }
    if (this.#end.error !== undefined) {
      throw this.#end.error;
    }
    if (!this.#seen && this.text !== "") {
      // Replayed without its parts: the text comes as one.
      yield { text: this.text };
    }
  }
}

export class Llm {
  #calls;

  constructor(calls) {
    this.#calls = calls;
  }

  /** Asks a model. `max_tokens` bounds the answer; further parameters go to the provider. */
  chat({ signal, ...given } = {}) {
    return this.#calls.effect("context.llm.chat", "llm", "chat", request(given), { signal }, response);
  }

  /** As `chat`, in parts: `for await (const delta of context.llm.stream({…}))`. */
  stream({ signal, ...given } = {}) {
    return new ChatStream(this.#calls, request(given), signal);
  }
}
