-- Schema 5. Budgets of other things than money, in time zones, and such as people keep.
-- The amounts of an account are in the smallest unit of its measure: nano-USD, calls, tokens.

ALTER TABLE budgets ADD COLUMN measure   TEXT    NOT NULL DEFAULT 'cost';
ALTER TABLE budgets ADD COLUMN time_zone TEXT    NOT NULL DEFAULT 'UTC';
ALTER TABLE budgets ADD COLUMN standing  INTEGER NOT NULL DEFAULT 0;
DROP INDEX budgets_account;
CREATE UNIQUE INDEX budgets_account ON budgets (key, scope, period, period_start, measure, time_zone, standing);

-- `amount` is the money of it; null where that is all.
ALTER TABLE holds ADD COLUMN amounts TEXT;

-- Limits that hold until they are changed; their accounts are opened by the calls of each period.
CREATE TABLE standing_budgets (
    n                  INTEGER PRIMARY KEY,
    scope              TEXT    NOT NULL,
    key                TEXT    NOT NULL,
    period             TEXT    NOT NULL,
    time_zone          TEXT    NOT NULL,
    measure            TEXT    NOT NULL,
    limit_units        INTEGER NOT NULL,
    action_on_exceeded TEXT,
    alert_thresholds   TEXT    NOT NULL,    -- JSON, thousandths, ascending
    min_output_tokens  INTEGER
) STRICT;
CREATE UNIQUE INDEX standing_budgets_which ON standing_budgets (key, scope, period, measure, time_zone);

-- What became of limits. `before` and `after` are limits; of an alert, what was settled and the limit.
CREATE TABLE budget_changes (
    n            INTEGER PRIMARY KEY,
    at           TEXT    NOT NULL,
    by           TEXT    NOT NULL,
    change       TEXT    NOT NULL,
    budget       TEXT,
    scope        TEXT    NOT NULL,
    key          TEXT    NOT NULL,
    period       TEXT    NOT NULL,
    period_start TEXT    NOT NULL,
    measure      TEXT    NOT NULL,
    before_units INTEGER,
    after_units  INTEGER
) STRICT;
