// The conformance workflow in JavaScript: each step does what `docs/protocol.md` says of it.

import fs from "node:fs/promises";
import path from "node:path";

import { Workflow } from "wflo";

export const workflow = new Workflow("conformance");
workflow.configure_sandbox({ memory_limit: "64m", io: { read: "1m", write_ops: 5 } });

workflow.step(async function echo(context) {
  context.state.n += 1;
  return { inputs: context.inputs, outputs: context.outputs };
});

workflow.step(async function order(context) {
  return [await context.random(), await context.random(), await context.random()];
});

workflow.step(async function branches(context) {
  const came = [];
  const branch = async (n) => {
    await context.random();
    came.push(n);
    await context.random();
  };
  await Promise.all([0, 1, 2].map((n) => context.branch(() => branch(n))));
  return came;
});

workflow.step(async function waits(context) {
  await Promise.all([context.sleep(3600), context.sleep(7200)]);
});

workflow.step(async function fails(context) {
  if ("own" in context.inputs) {
    throw new RangeError("its own error");
  }
  await context.random();
});

workflow.step(async function stream(context) {
  const answer = context.llm.stream({ model: "m", messages: [] });
  const parts = [];
  for await (const delta of answer) {
    parts.push(delta.text);
  }
  return [parts, answer.text];
});

workflow.step(async function tool(context) {
  return (await context.tools.run(["echo", "hello"])).stdout;
});

workflow.step(async function files(context) {
  await context.tools.run(["sh", "-c", "echo made > made.txt"]);
  return fs.readFile(path.join(context.workspace, "made.txt"), "utf-8");
});

workflow.step(async function gives_up(context) {
  let came = true;
  try {
    await context.random({ signal: AbortSignal.timeout(context.inputs.seconds * 1000) });
  } catch (error) {
    if (error.name !== "TimeoutError") {
      throw error;
    }
    came = false;
  }
  await context.random();
  return came;
});

workflow.step(async function prints(context) {
  process.stdout.write("\x00\x00\x00\x02{}\n");
  context.log("a line of the log");
});
