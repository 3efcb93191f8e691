-- The one table that needs pgvector. It is created with the schema, or later, when the extension
-- has come; without the extension everything else works. The column is untyped: each knowledge
-- base has its own dimensions.
CREATE TABLE IF NOT EXISTS knowledge_vectors (
    seq bigserial PRIMARY KEY,
    id text COLLATE "C" NOT NULL,
    base_id text COLLATE "C" NOT NULL,
    file_id text COLLATE "C" NOT NULL,
    chunk_id text COLLATE "C" NOT NULL,
    embedding vector NOT NULL,
    created_at bigint NOT NULL DEFAULT (extract(epoch FROM clock_timestamp()) * 1000)::bigint,
    CONSTRAINT uni_knowledge_vectors_id UNIQUE (id),
    CONSTRAINT fk_knowledge_vectors_base FOREIGN KEY (base_id) REFERENCES knowledge_bases (id) ON DELETE CASCADE,
    CONSTRAINT fk_knowledge_vectors_file FOREIGN KEY (file_id) REFERENCES knowledge_files (id) ON DELETE CASCADE,
    CONSTRAINT fk_knowledge_vectors_chunk FOREIGN KEY (chunk_id) REFERENCES knowledge_chunks (id) ON DELETE CASCADE
);
CREATE INDEX IF NOT EXISTS idx_knowledge_vectors_base ON knowledge_vectors (base_id);
CREATE INDEX IF NOT EXISTS idx_knowledge_vectors_file ON knowledge_vectors (file_id);
CREATE INDEX IF NOT EXISTS idx_knowledge_vectors_chunk ON knowledge_vectors (chunk_id);
