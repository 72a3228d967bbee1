-- Schema 6. The limit that a file said last is kept beside the one that holds, so that a top-up outlasts the
-- reading of the file; and what was counted can be corrected, with a reason.

ALTER TABLE budgets ADD COLUMN said_nanos INTEGER NOT NULL DEFAULT 0;
UPDATE budgets SET said_nanos = limit_nanos;
ALTER TABLE budget_changes ADD COLUMN reason TEXT;
