-- Schema 3. Calls outside of runs: who spends, what each holds of which budget, what was called, and by which keys.

-- Processes that hold slices. Whether one lives, its lock file says.
CREATE TABLE spenders (
    n          INTEGER PRIMARY KEY,
    id         TEXT    NOT NULL UNIQUE,
    pid        INTEGER NOT NULL,
    boot_id    TEXT    NOT NULL,
    position   INTEGER NOT NULL,        -- the last record of its log that is folded
    started_at TEXT    NOT NULL
) STRICT;

-- Part of the budget's held_nanos; a slice of nothing has no row.
CREATE TABLE slices (
    spender  INTEGER NOT NULL REFERENCES spenders (n),
    budget   INTEGER NOT NULL REFERENCES budgets (n),
    amount   INTEGER NOT NULL CHECK (amount > 0),
    recalled INTEGER NOT NULL,
    PRIMARY KEY (spender, budget)
) STRICT, WITHOUT ROWID;
CREATE INDEX slices_budget ON slices (budget);

-- What was called, a row for each fold: its calls as a JSON list.
CREATE TABLE calls (
    n         INTEGER PRIMARY KEY,
    spender   TEXT    NOT NULL,
    at        TEXT    NOT NULL,
    uncertain INTEGER NOT NULL,         -- how many of them have a bill that was lost
    calls     TEXT    NOT NULL
) STRICT;
CREATE INDEX calls_uncertain ON calls (n) WHERE uncertain > 0;
CREATE INDEX calls_spender ON calls (spender);

-- The same in sums, for reports.
CREATE TABLE calls_by_hour (
    hour            TEXT    NOT NULL,
    key             TEXT    NOT NULL,   -- empty where any key is taken
    provider        TEXT    NOT NULL,
    model           TEXT    NOT NULL,
    calls           INTEGER NOT NULL,
    input_tokens    INTEGER NOT NULL,
    cached_tokens   INTEGER NOT NULL,
    output_tokens   INTEGER NOT NULL,
    cost_nanos      INTEGER NOT NULL,
    uncertain_nanos INTEGER NOT NULL,
    PRIMARY KEY (hour, key, provider, model)
) STRICT, WITHOUT ROWID;

-- Virtual keys; of the key itself only its hash.
CREATE TABLE keys (
    n          INTEGER PRIMARY KEY,
    id         TEXT    NOT NULL UNIQUE,
    hash       TEXT    NOT NULL UNIQUE,
    revoked_at TEXT,
    key        TEXT    NOT NULL         -- JSON, without hash and revocation
) STRICT;
