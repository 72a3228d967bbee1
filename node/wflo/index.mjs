// What `import { Workflow } from "wflo"` gives in a workflow.

export { Workflow } from "./workflow.mjs";
export * from "./errors.mjs";
