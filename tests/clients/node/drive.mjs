// Runs the cases of one client, one after the other, as they are asked for on standard input: the same
// as `programs/drive.py`, for Node.
//
//     node drive.mjs PROGRAM VARIANT CHEAP_MODEL DEAR_MODEL

import { createInterface } from 'node:readline';

const ASK = 'hello';
const CUT = 'cut this short';

const [name, variant, cheap, dear] = process.argv.slice(2);
// What clients print is not an answer.
console.log = console.warn = console.info = console.error;
const program = await import(`./${name}.mjs`);

for await (const line of createInterface({ input: process.stdin })) {
  const wanted = line.trim();
  const kind = wanted.replace(/^halt-/, '');
  const run = program[variant][kind === 'cut' ? 'stream' : kind];
  const told = { case: wanted, said: null, error: null };
  try {
    told.said = await run(wanted.startsWith('halt-') ? dear : cheap, kind === 'cut' ? CUT : ASK);
  } catch (error) {
    const status = error.statusCode ?? error.status ?? '';
    told.error = `${error.constructor.name}: ${status} ${error.message}`;
    console.error(error);
  }
  process.stdout.write(`${JSON.stringify(told)}\n`);
}
