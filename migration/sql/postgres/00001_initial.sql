-- Text compares bytewise, as it does on SQLite.

-- +goose Up
CREATE TABLE conversations (
    id bigserial PRIMARY KEY,
    conv_id text COLLATE "C" NOT NULL,
    title text COLLATE "C" NOT NULL,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    is_pinned integer NOT NULL DEFAULT 0,
    is_new integer NOT NULL DEFAULT 1,
    settings jsonb NOT NULL DEFAULT '{}',
    message_count bigint NOT NULL DEFAULT 0,
    CONSTRAINT uni_conversations_conv_id UNIQUE (conv_id)
);
CREATE INDEX idx_conversations_updated ON conversations (updated_at DESC, id DESC);
CREATE INDEX idx_conversations_recent ON conversations (is_pinned DESC, updated_at DESC, id DESC);

CREATE TABLE messages (
    id bigserial PRIMARY KEY,
    msg_id text COLLATE "C" NOT NULL,
    conversation_id text COLLATE "C" NOT NULL,
    parent_id text COLLATE "C" NOT NULL DEFAULT '',
    role text COLLATE "C" NOT NULL,
    content text COLLATE "C" NOT NULL,
    created_at bigint NOT NULL,
    order_seq bigint NOT NULL DEFAULT 0,
    token_count bigint NOT NULL DEFAULT 0,
    status text COLLATE "C" NOT NULL DEFAULT 'sent',
    metadata jsonb NOT NULL DEFAULT '{}',
    is_context_edge integer NOT NULL DEFAULT 0,
    is_variant integer NOT NULL DEFAULT 0,
    CONSTRAINT uni_messages_msg_id UNIQUE (msg_id),
    CONSTRAINT fk_messages_conversation FOREIGN KEY (conversation_id) REFERENCES conversations (conv_id) ON DELETE CASCADE,
    CONSTRAINT chk_messages_role CHECK (role IN ('user', 'assistant', 'system', 'function')),
    CONSTRAINT chk_messages_status CHECK (status IN ('sent', 'pending', 'error'))
);
CREATE INDEX idx_messages_conversation ON messages (conversation_id, order_seq, id);
CREATE INDEX idx_messages_timeline ON messages (created_at DESC);
CREATE INDEX idx_messages_context_edge ON messages (is_context_edge);
CREATE INDEX idx_messages_parent ON messages (parent_id);

CREATE TABLE message_attachments (
    id bigserial PRIMARY KEY,
    attachment_id text COLLATE "C" NOT NULL DEFAULT gen_random_uuid()::text,
    message_id text COLLATE "C" NOT NULL,
    attachment_type text COLLATE "C" NOT NULL,
    attachment_data text COLLATE "C" NOT NULL,
    created_at bigint NOT NULL DEFAULT (extract(epoch FROM clock_timestamp()) * 1000)::bigint,
    CONSTRAINT uni_message_attachments_attachment_id UNIQUE (attachment_id),
    CONSTRAINT fk_message_attachments_message FOREIGN KEY (message_id) REFERENCES messages (msg_id) ON DELETE CASCADE
);
CREATE INDEX idx_message_attachments_message ON message_attachments (message_id, attachment_type);

CREATE TABLE knowledge_bases (
    id text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    dimensions bigint NOT NULL,
    metric text COLLATE "C" NOT NULL,
    embedding_model text COLLATE "C" NOT NULL DEFAULT '',
    settings jsonb NOT NULL DEFAULT '{}',
    created_at bigint NOT NULL DEFAULT (extract(epoch FROM clock_timestamp()) * 1000)::bigint,
    PRIMARY KEY (id),
    CONSTRAINT chk_knowledge_bases_dimensions CHECK (dimensions BETWEEN 1 AND 16000),
    CONSTRAINT chk_knowledge_bases_metric CHECK (metric IN ('cosine', 'l2', 'ip'))
);

CREATE TABLE knowledge_files (
    id text COLLATE "C" NOT NULL,
    base_id text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    path text COLLATE "C" NOT NULL,
    mime_type text COLLATE "C" NOT NULL DEFAULT '',
    status text COLLATE "C" NOT NULL,
    uploaded_at bigint NOT NULL,
    metadata jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (id),
    CONSTRAINT fk_knowledge_files_base FOREIGN KEY (base_id) REFERENCES knowledge_bases (id) ON DELETE CASCADE,
    CONSTRAINT chk_knowledge_files_status CHECK (status IN ('pending', 'processing', 'paused', 'processed', 'error'))
);
CREATE INDEX idx_knowledge_files_base ON knowledge_files (base_id);
CREATE INDEX idx_knowledge_files_status ON knowledge_files (status);
CREATE INDEX idx_knowledge_files_path ON knowledge_files (path);

CREATE TABLE knowledge_chunks (
    seq bigserial PRIMARY KEY,
    id text COLLATE "C" NOT NULL,
    file_id text COLLATE "C" NOT NULL,
    chunk_index bigint NOT NULL,
    content text COLLATE "C" NOT NULL,
    status text COLLATE "C" NOT NULL,
    error text COLLATE "C" NOT NULL DEFAULT '',
    CONSTRAINT uni_knowledge_chunks_id UNIQUE (id),
    CONSTRAINT fk_knowledge_chunks_file FOREIGN KEY (file_id) REFERENCES knowledge_files (id) ON DELETE CASCADE,
    CONSTRAINT chk_knowledge_chunks_status CHECK (status IN ('pending', 'processing', 'paused', 'processed', 'error'))
);
CREATE INDEX idx_knowledge_chunks_file ON knowledge_chunks (file_id, chunk_index);
CREATE INDEX idx_knowledge_chunks_status ON knowledge_chunks (status);

CREATE TABLE talkbase_meta (
    key text COLLATE "C" NOT NULL,
    value text COLLATE "C" NOT NULL,
    PRIMARY KEY (key)
);

-- +goose Down
DROP TABLE talkbase_meta;
DROP TABLE IF EXISTS knowledge_vectors;
DROP TABLE knowledge_chunks;
DROP TABLE knowledge_files;
DROP TABLE knowledge_bases;
DROP TABLE message_attachments;
DROP TABLE messages;
DROP TABLE conversations;
