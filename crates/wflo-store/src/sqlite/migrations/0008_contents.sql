-- Schema 8. What was asked of models: texts that are kept once a run, and the lists that they stand in.
-- Rows of the database and no files: they are made durable by the flush of their call's intent.
CREATE TABLE contents (
    n    INTEGER PRIMARY KEY,
    run  INTEGER NOT NULL REFERENCES runs (n),
    name BLOB    NOT NULL,
    text TEXT    NOT NULL,
    UNIQUE (run, name)
) STRICT;

-- A list is named by its last link. `text` is the name of a row of `contents`.
CREATE TABLE content_links (
    run    INTEGER NOT NULL REFERENCES runs (n),
    name   BLOB    NOT NULL,
    before BLOB,
    text   BLOB    NOT NULL,
    PRIMARY KEY (run, name)
) STRICT, WITHOUT ROWID;
