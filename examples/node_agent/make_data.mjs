// Makes data/tickets.db, a small made-up support database. Needs Python, which has SQLite.

import { execFileSync } from "node:child_process";
import fs from "node:fs";

const SUBJECTS = ["Cannot sign in", "Export stops half-way", "API returns 502", "Duplicate charge", "Broken link"];

fs.mkdirSync("data", { recursive: true });
fs.rmSync("data/tickets.db", { force: true });
const rows = SUBJECTS.map((subject, at) => `(${at + 1}, '${subject}', 'open', ${10 + at * 40})`);
const make = "import sqlite3, sys; sqlite3.connect('data/tickets.db').executescript(sys.stdin.read())";
execFileSync("python3", ["-c", make], {
  input: `CREATE TABLE tickets (id INTEGER PRIMARY KEY, subject TEXT, status TEXT, age_days INTEGER);
    INSERT INTO tickets VALUES ${rows.join(", ")};`,
});
