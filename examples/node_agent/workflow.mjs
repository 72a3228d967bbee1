// Support tickets in JavaScript: reads the old ones, asks before it closes them, writes a report.
//
//     wflo run --require-approval --input age=30

import fs from "node:fs/promises";
import path from "node:path";

import { Workflow } from "wflo";

export const workflow = new Workflow("node-agent", { inputs: { age: { type: "integer", default: 90 } } });

const OLD = "FROM tickets WHERE status = 'open' AND age_days > ?";

workflow.step(async function read_tickets({ db, inputs }) {
  return db.query(`SELECT id, subject, age_days ${OLD} ORDER BY age_days DESC`, [inputs.age]);
});

workflow.step({ rollback_enabled: true }, async function close_tickets({ db, inputs }) {
  const { rows_affected } = await db.execute(
    "UPDATE tickets SET status = 'closed' WHERE status = 'open' AND age_days > ?",
    [inputs.age],
  );
  return rows_affected;
});

workflow.step(async function report({ outputs, workspace }) {
  const lines = outputs.read_tickets.map(({ id, subject }) => `- ${id}: ${subject}`);
  const text = `# ${outputs.close_tickets} tickets closed\n\n${lines.join("\n")}\n`;
  await fs.writeFile(path.join(workspace, "report.md"), text);
});
