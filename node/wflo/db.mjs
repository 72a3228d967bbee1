// Databases: `context.db`. Statements run in the engine: neither the database nor its credentials are in the
// step. Bytes are `Uint8Array`s.

import { cell, plain, read } from "./values.mjs";

const ON_CONFLICT = ["abort", "skip", "force"];

/** The rows of a query: an array of objects by column name. */
function rows(answer) {
  const columns = answer?.columns ?? [];
  return (answer?.rows ?? []).map((row) => Object.fromEntries(columns.map((name, at) => [name, read(row[at])])));
}

function statement(sql, params, database) {
  if (typeof sql !== "string") {
    throw new TypeError(`sql must be text, not ${typeof sql}`);
  }
  if (params === null || typeof params !== "object") {
    throw new TypeError('params must be an array or an object, such as ["text"]');
  }
  const wire = Array.isArray(params) ? params.map(cell) : cells(params);
  return { database: database ?? null, sql, params: plain(wire, "params") };
}

const cells = (row) => Object.fromEntries(Object.entries(row).map(([name, value]) => [name, cell(value)]));

/** `(rows)`, `(table, rows)`. */
function changes(first, second, database) {
  const table = typeof first === "string" ? first : null;
  const given = table === null ? first : second;
  const listed = Array.isArray(given) ? given : [given];
  if (!listed.every((row) => row !== null && typeof row === "object")) {
    throw new TypeError('rows are missing: write update("table", [{ id: 1, name: "..." }])');
  }
  return { database: database ?? null, table, rows: plain(listed.map(cells), "rows") };
}

const affected = (answer) => answer?.rows_affected ?? 0;

export class Database {
  #calls;

  constructor(calls) {
    this.#calls = calls;
  }

  /** Reads. An array of rows, by column name. */
  query(sql, params = [], { database, signal } = {}) {
    const wire = statement(sql, params, database);
    return this.#calls.effect("context.db.query", "db", "query", wire, { signal }, rows);
  }

  /** Changes: `{rows_affected, last_insert_id, rows}`; `rows` holds what RETURNING gave. */
  execute(sql, params = [], { database, signal } = {}) {
    const done = (answer) => ({
      rows_affected: affected(answer),
      last_insert_id: answer?.last_insert_id ?? null,
      rows: rows(answer),
    });
    const wire = statement(sql, params, database);
    return this.#calls.effect("context.db.execute", "db", "execute", wire, { signal }, done);
  }

  /** Changes rows by their key: `update("table", rows)`, or `update(rows)` where one table fits. */
  update(table, given, { database, signal } = {}) {
    const wire = changes(table, given, database);
    return this.#calls.effect("context.db.update", "db", "update", wire, { signal }, affected);
  }

  /** As `update`, for many rows. */
  bulk_update(table, given, { database, signal } = {}) {
    const wire = changes(table, given, database);
    return this.#calls.effect("context.db.bulk_update", "db", "bulk_update", wire, { signal }, affected);
  }

  /** The state of some tables now, to be given to `restore`; without `tables` what the step changes. */
  snapshot({ tables, database, signal } = {}) {
    const wire = { database: database ?? null, tables: tables === undefined ? null : plain(tables, "tables") };
    const found = (answer) => ({
      id: String(answer?.snapshot ?? ""),
      capabilities: answer?.capabilities ?? {},
      database: database ?? null,
    });
    return this.#calls.effect("context.db.snapshot", "db", "snapshot", wire, { signal }, found);
  }

  /** Undoes what this step has changed since. What it changed, row by row. */
  restore(snapshot, { dry_run = false, on_conflict = "abort", database, signal } = {}) {
    if (typeof snapshot?.id !== "string") {
      throw new TypeError("restore takes what context.db.snapshot() returned");
    }
    if (!ON_CONFLICT.includes(on_conflict)) {
      throw new RangeError(`on_conflict must be "abort", "skip" or "force", not ${JSON.stringify(on_conflict)}`);
    }
    const wire = { database: database ?? snapshot.database, snapshot: snapshot.id, dry_run, on_conflict };
    const diff = (answer) => answer?.diff ?? [];
    return this.#calls.effect("context.db.restore", "db", "restore", wire, { signal }, diff);
  }
}
