-- Codes of the vectors, which similarity queries read before the vectors themselves, and what keeps
-- them true under plain SQL. A vector is compared one by one when its seq is above its base's upto, or
-- is pending; a trigger on INSERT, which would make every insert half as fast again, is not needed for
-- that. GORM does not make these tables: Reset runs this file after AutoMigrate.

-- +goose Up
CREATE TABLE knowledge_sketches (
    base_id text NOT NULL,
    version integer NOT NULL,
    dimensions integer NOT NULL,
    metric text NOT NULL,
    upto integer NOT NULL,
    codes integer NOT NULL,
    next_check integer NOT NULL,
    trained integer NOT NULL,
    probes10 integer NOT NULL,
    probes100 integer NOT NULL,
    PRIMARY KEY (base_id),
    CONSTRAINT fk_knowledge_sketches_base FOREIGN KEY (base_id) REFERENCES knowledge_bases (id) ON DELETE CASCADE
);

-- Ids are random, so that none is ever used twice; list -1 holds the centres, list 0 what is in no
-- list yet.
CREATE TABLE knowledge_sketch_blocks (
    id integer PRIMARY KEY,
    base_id text NOT NULL,
    list integer NOT NULL,
    data blob NOT NULL,
    CONSTRAINT uni_knowledge_sketch_blocks_list UNIQUE (base_id, list, id),
    CONSTRAINT fk_knowledge_sketch_blocks_base FOREIGN KEY (base_id) REFERENCES knowledge_bases (id) ON DELETE CASCADE
);

CREATE TABLE knowledge_sketch_pending (
    id integer PRIMARY KEY AUTOINCREMENT,
    base_id text NOT NULL,
    seq integer NOT NULL,
    kept integer NOT NULL DEFAULT 0,
    CONSTRAINT uni_knowledge_sketch_pending_seq UNIQUE (seq),
    CONSTRAINT fk_knowledge_sketch_pending_base FOREIGN KEY (base_id) REFERENCES knowledge_bases (id) ON DELETE CASCADE
);
CREATE INDEX idx_knowledge_sketch_pending_base ON knowledge_sketch_pending (base_id, kept);

-- +goose StatementBegin
CREATE TRIGGER trg_knowledge_vectors_sketch AFTER UPDATE OF embedding, base_id, seq ON knowledge_vectors BEGIN
    DELETE FROM knowledge_sketch_pending WHERE seq = new.seq;
    INSERT INTO knowledge_sketch_pending (base_id, seq) VALUES (new.base_id, new.seq);
END;
-- +goose StatementEnd

-- +goose Down
DROP TRIGGER trg_knowledge_vectors_sketch;
DROP TABLE knowledge_sketch_pending;
DROP TABLE knowledge_sketch_blocks;
DROP TABLE knowledge_sketches;
