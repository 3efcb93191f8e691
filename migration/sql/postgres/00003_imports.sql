-- What an import leaves behind so that it can be resumed, verified and rolled back.

-- +goose Up
CREATE TABLE talkbase_import_runs (
    id text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL,
    phase text COLLATE "C" NOT NULL,
    owner text COLLATE "C" NOT NULL,
    started_at bigint NOT NULL,
    finished_at bigint NOT NULL DEFAULT 0,
    options jsonb NOT NULL DEFAULT '{}',
    backup text COLLATE "C" NOT NULL DEFAULT '',
    progress jsonb NOT NULL DEFAULT '{}',
    report jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (id)
);

CREATE TABLE talkbase_import_sources (
    run_id text COLLATE "C" NOT NULL,
    position bigint NOT NULL,
    path text COLLATE "C" NOT NULL,
    kind text COLLATE "C" NOT NULL,
    fingerprint text COLLATE "C" NOT NULL,
    config jsonb NOT NULL DEFAULT '{}',
    progress jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (run_id, position)
);

CREATE TABLE talkbase_import_batches (
    run_id text COLLATE "C" NOT NULL,
    seq bigint NOT NULL,
    table_name text COLLATE "C" NOT NULL,
    merged integer NOT NULL DEFAULT 0,
    keys bytea NOT NULL,
    hashes bytea NOT NULL,
    replaced bytea NOT NULL,
    PRIMARY KEY (run_id, seq)
);

CREATE TABLE talkbase_import_marks (
    table_name text COLLATE "C" NOT NULL,
    last_id bigint NOT NULL,
    PRIMARY KEY (table_name)
);

CREATE TABLE talkbase_import_edits (
    table_name text COLLATE "C" NOT NULL,
    row_key text COLLATE "C" NOT NULL,
    edited_at bigint NOT NULL,
    PRIMARY KEY (table_name, row_key)
);

-- +goose Down
DROP TABLE talkbase_import_edits;
DROP TABLE talkbase_import_marks;
DROP TABLE talkbase_import_batches;
DROP TABLE talkbase_import_sources;
DROP TABLE talkbase_import_runs;
