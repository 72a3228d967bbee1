-- Schema 2. What runs need beside their rows, and what is left of those that were removed.

-- Trees of workspace stores: a run's seal and the layers of its steps.
CREATE TABLE run_trees (
    run  INTEGER NOT NULL REFERENCES runs (n),
    tree TEXT    NOT NULL,
    PRIMARY KEY (run, tree)
) STRICT, WITHOUT ROWID;
INSERT OR IGNORE INTO run_trees
    SELECT run, json_extract(body, '$.layer') FROM events
    WHERE journal = 0 AND json_extract(body, '$.layer') IS NOT NULL;
INSERT OR IGNORE INTO run_trees
    SELECT n, json_extract(options, '$.launch.sealed') FROM run_details
    WHERE options NOT LIKE '{"$blob"%' AND json_extract(options, '$.launch.sealed') IS NOT NULL;
INSERT OR IGNORE INTO run_trees
    SELECT n, json_extract(carried.value, '$.layer') FROM run_details, json_each(options, '$.carried') carried
    WHERE options NOT LIKE '{"$blob"%' AND json_extract(carried.value, '$.layer') IS NOT NULL;
INSERT OR IGNORE INTO run_trees
    SELECT run, layer.value FROM effects, json_each(attributes, '$.files') layer
    WHERE attributes NOT LIKE '{"$blob"%' AND kind = 'tool' AND layer.type = 'text';
-- What these need cannot be read here, and no id of a tree looks like this.
INSERT OR IGNORE INTO run_trees
    SELECT n, '?' FROM run_details WHERE options LIKE '{"$blob"%';

-- Removing a run finds its holds, and whether others of its chain of retries are left.
CREATE INDEX holds_run ON holds (run);
CREATE INDEX run_details_chain ON run_details (budget_key) WHERE retried_from IS NOT NULL;

-- What removed runs spent, a line for each step and model.
CREATE TABLE spent (
    n               INTEGER PRIMARY KEY,
    run             TEXT    NOT NULL,
    workflow        TEXT    NOT NULL,
    created_at      TEXT    NOT NULL,
    step            TEXT    NOT NULL,
    provider        TEXT,
    model           TEXT,
    calls           INTEGER NOT NULL,
    input_tokens    INTEGER NOT NULL,
    output_tokens   INTEGER NOT NULL,
    cost_nanos      INTEGER NOT NULL,
    uncertain_nanos INTEGER NOT NULL
) STRICT;

-- Removed runs whose records still stand in a user's database.
CREATE TABLE leftovers (
    database TEXT NOT NULL,
    run      TEXT NOT NULL,
    PRIMARY KEY (database, run)
) STRICT, WITHOUT ROWID;

-- What a question is about, so that it is found without reading the others.
ALTER TABLE approvals ADD COLUMN purpose TEXT;
UPDATE approvals SET purpose = json_extract(request, '$.purpose')
    || coalesce(':' || json_extract(request, '$.effect.step') || '/'
                    || json_extract(request, '$.effect.generation') || '/'
                    || json_extract(request, '$.effect.path') || '/'
                    || json_extract(request, '$.effect.effect_seq'),
                ':' || json_extract(request, '$.budget'),
                ':' || json_extract(request, '$.policy'), '')
    WHERE request NOT LIKE '{"$blob"%';
CREATE INDEX approvals_purpose ON approvals (run, purpose);
