-- Schema 1. Ids are the text that people see; `n` is the insertion order and the join key.
-- Times are RFC 3339 text with every digit given. Money is integer nano-USD.
-- A JSON column holds the value itself, or {"$blob": digest, "bytes": n} for one kept in blobs/.

CREATE TABLE definitions (
    digest     TEXT NOT NULL PRIMARY KEY,
    definition TEXT NOT NULL
) STRICT;

-- Rewritten when the status or the lease changes, so what is large stands in run_details. The last
-- event's number and time are read from the events.
CREATE TABLE runs (
    n           INTEGER PRIMARY KEY,
    id          TEXT    NOT NULL UNIQUE,
    lease_epoch INTEGER NOT NULL,
    status      TEXT    NOT NULL,
    updated_at  TEXT    NOT NULL,
    finished_at TEXT,                       -- not null exactly when the status is terminal
    engine      TEXT,
    workflow    TEXT    NOT NULL
) STRICT;
CREATE INDEX runs_open ON runs (n) WHERE finished_at IS NULL;
CREATE INDEX runs_engine ON runs (engine) WHERE engine IS NOT NULL;
CREATE INDEX runs_workflow ON runs (workflow, n);

CREATE TABLE run_details (
    n            INTEGER PRIMARY KEY REFERENCES runs (n),
    version      TEXT NOT NULL,
    label        TEXT,
    code         TEXT NOT NULL,
    definition   TEXT NOT NULL REFERENCES definitions (digest),
    inputs       TEXT NOT NULL,
    options      TEXT NOT NULL,
    outputs      TEXT,
    error        TEXT,
    retried_from TEXT,
    budget_key   TEXT NOT NULL,
    trace_id     TEXT NOT NULL,
    created_at   TEXT NOT NULL
) STRICT;

-- Appended at the end of one tree, whichever run it belongs to: a group commit of many runs
-- dirties few pages. The index tells the families apart, so that machine events (journal = 0)
-- are found without reading the others.
CREATE TABLE events (
    n       INTEGER PRIMARY KEY,
    run     INTEGER NOT NULL REFERENCES runs (n),
    seq     INTEGER NOT NULL,
    journal INTEGER NOT NULL,
    body    TEXT    NOT NULL
) STRICT;
CREATE UNIQUE INDEX events_place ON events (run, seq, journal);

CREATE TABLE effects (
    n           INTEGER PRIMARY KEY,
    run         INTEGER NOT NULL REFERENCES runs (n),
    step        TEXT    NOT NULL,
    generation  INTEGER NOT NULL,
    path        TEXT    NOT NULL,
    seq         INTEGER NOT NULL,
    ord         INTEGER,                    -- null while it is an intent
    kind        TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    fingerprint TEXT    NOT NULL,
    hold        TEXT,
    cost        INTEGER NOT NULL,
    uncertain   INTEGER NOT NULL,
    attributes  TEXT    NOT NULL,
    after       INTEGER NOT NULL,           -- the last ord that the step knew when it asked; 0 for none
    active_ms   INTEGER NOT NULL,           -- of the generation, when it asked
    started_at  TEXT    NOT NULL,
    finished_at TEXT,
    result      TEXT,
    error       TEXT
) STRICT;
CREATE UNIQUE INDEX effects_key ON effects (run, step, generation, path, seq);
CREATE UNIQUE INDEX effects_order ON effects (run, step, generation, ord) WHERE ord IS NOT NULL;

-- Effects that the step stopped waiting for, which need not have been journaled themselves.
CREATE TABLE cancelled_waits (
    run        INTEGER NOT NULL REFERENCES runs (n),
    step       TEXT    NOT NULL,
    generation INTEGER NOT NULL,
    path       TEXT    NOT NULL,
    seq        INTEGER NOT NULL,
    after      INTEGER NOT NULL,            -- the last ord that the step knew then
    PRIMARY KEY (run, step, generation, path, seq)
) STRICT, WITHOUT ROWID;

-- Apart, so that a result does not rewrite its request.
CREATE TABLE effect_requests (
    n       INTEGER PRIMARY KEY REFERENCES effects (n),
    request TEXT NOT NULL
) STRICT;

CREATE TABLE budgets (
    n                  INTEGER PRIMARY KEY,
    id                 TEXT    NOT NULL UNIQUE,
    scope              TEXT    NOT NULL,
    key                TEXT    NOT NULL,
    period             TEXT    NOT NULL,
    period_start       TEXT    NOT NULL,
    limit_nanos        INTEGER NOT NULL,
    settled_nanos      INTEGER NOT NULL CHECK (settled_nanos >= 0),
    held_nanos         INTEGER NOT NULL CHECK (held_nanos >= 0),
    action_on_exceeded TEXT    NOT NULL,
    alert_thresholds   TEXT    NOT NULL,    -- JSON, thousandths, ascending
    alerted            INTEGER NOT NULL     -- how many of them were raised
) STRICT;
CREATE UNIQUE INDEX budgets_account ON budgets (key, scope, period, period_start);

CREATE TABLE holds (
    n       INTEGER PRIMARY KEY,
    id      TEXT    NOT NULL UNIQUE,
    run     INTEGER NOT NULL REFERENCES runs (n),
    budgets TEXT    NOT NULL,               -- JSON list of ids
    amount  INTEGER NOT NULL CHECK (amount >= 0),
    actual  INTEGER,                        -- what was billed, once settled
    state   TEXT    NOT NULL CHECK (state IN ('open', 'settled', 'released'))
) STRICT;

CREATE TABLE approvals (
    n            INTEGER PRIMARY KEY,
    id           TEXT    NOT NULL UNIQUE,
    run          INTEGER NOT NULL REFERENCES runs (n),
    status       TEXT    NOT NULL,
    requested_at TEXT    NOT NULL,
    consumed_at  TEXT,
    decision     TEXT,
    request      TEXT    NOT NULL,          -- without its evidence
    evidence     TEXT    NOT NULL
) STRICT;
CREATE INDEX approvals_run ON approvals (run, n);
CREATE INDEX approvals_open ON approvals (n) WHERE status IN ('pending', 'approved');

-- AUTOINCREMENT: a number is never used twice, so that dropping one cannot drop a later message.
CREATE TABLE inbox (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    run     INTEGER NOT NULL REFERENCES runs (n),
    message TEXT    NOT NULL,
    at      TEXT    NOT NULL
) STRICT;
CREATE INDEX inbox_run ON inbox (run, id);

CREATE TABLE timers (
    run         INTEGER NOT NULL REFERENCES runs (n),
    key         TEXT    NOT NULL,
    due         TEXT    NOT NULL,
    set_wall    TEXT    NOT NULL,
    set_boot_ms INTEGER NOT NULL,
    set_boot_id TEXT    NOT NULL,
    PRIMARY KEY (run, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE engines (
    n          INTEGER PRIMARY KEY,
    id         TEXT    NOT NULL UNIQUE,
    pid        INTEGER NOT NULL,
    started_at TEXT    NOT NULL
) STRICT;

-- One row: alarms that stay 0.
CREATE TABLE counters (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    overruns INTEGER NOT NULL
) STRICT;
INSERT INTO counters VALUES (1, 0);
