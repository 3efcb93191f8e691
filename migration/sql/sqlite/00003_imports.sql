-- What an import leaves behind so that it can be resumed, verified and rolled back.

-- +goose Up
CREATE TABLE talkbase_import_runs (
    id text NOT NULL,
    state text NOT NULL,
    phase text NOT NULL,
    owner text NOT NULL,
    started_at integer NOT NULL,
    finished_at integer NOT NULL DEFAULT 0,
    options text NOT NULL DEFAULT '{}' CHECK (json_valid(options) AND json_type(options) = 'object'),
    backup text NOT NULL DEFAULT '',
    progress text NOT NULL DEFAULT '{}' CHECK (json_valid(progress) AND json_type(progress) = 'object'),
    report text NOT NULL DEFAULT '{}' CHECK (json_valid(report) AND json_type(report) = 'object'),
    PRIMARY KEY (id)
);

CREATE TABLE talkbase_import_sources (
    run_id text NOT NULL,
    position integer NOT NULL,
    path text NOT NULL,
    kind text NOT NULL,
    fingerprint text NOT NULL,
    config text NOT NULL DEFAULT '{}' CHECK (json_valid(config) AND json_type(config) = 'object'),
    progress text NOT NULL DEFAULT '{}' CHECK (json_valid(progress) AND json_type(progress) = 'object'),
    PRIMARY KEY (run_id, position)
);

CREATE TABLE talkbase_import_batches (
    run_id text NOT NULL,
    seq integer NOT NULL,
    table_name text NOT NULL,
    merged integer NOT NULL DEFAULT 0,
    keys blob NOT NULL,
    hashes blob NOT NULL,
    replaced blob NOT NULL,
    PRIMARY KEY (run_id, seq)
);

CREATE TABLE talkbase_import_marks (
    table_name text NOT NULL,
    last_id integer NOT NULL,
    PRIMARY KEY (table_name)
);

CREATE TABLE talkbase_import_edits (
    table_name text NOT NULL,
    row_key text NOT NULL,
    edited_at integer NOT NULL,
    PRIMARY KEY (table_name, row_key)
);

-- +goose Down
DROP TABLE talkbase_import_edits;
DROP TABLE talkbase_import_marks;
DROP TABLE talkbase_import_batches;
DROP TABLE talkbase_import_sources;
DROP TABLE talkbase_import_runs;
