-- +goose Up
CREATE TABLE conversations (
    id integer PRIMARY KEY AUTOINCREMENT,
    conv_id text NOT NULL,
    title text NOT NULL,
    created_at integer NOT NULL,
    updated_at integer NOT NULL,
    is_pinned integer NOT NULL DEFAULT 0,
    is_new integer NOT NULL DEFAULT 1,
    settings text NOT NULL DEFAULT '{}' CHECK (json_valid(settings) AND json_type(settings) = 'object'),
    message_count integer NOT NULL DEFAULT 0,
    CONSTRAINT uni_conversations_conv_id UNIQUE (conv_id)
);
CREATE INDEX idx_conversations_updated ON conversations (updated_at DESC, id DESC);
CREATE INDEX idx_conversations_recent ON conversations (is_pinned DESC, updated_at DESC, id DESC);

CREATE TABLE messages (
    id integer PRIMARY KEY AUTOINCREMENT,
    msg_id text NOT NULL,
    conversation_id text NOT NULL,
    parent_id text NOT NULL DEFAULT '',
    role text NOT NULL,
    content text NOT NULL,
    created_at integer NOT NULL,
    order_seq integer NOT NULL DEFAULT 0,
    token_count integer NOT NULL DEFAULT 0,
    status text NOT NULL DEFAULT 'sent',
    metadata text NOT NULL DEFAULT '{}' CHECK (json_valid(metadata) AND json_type(metadata) = 'object'),
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
    id integer PRIMARY KEY AUTOINCREMENT,
    attachment_id text NOT NULL DEFAULT (lower(hex(randomblob(16)))),
    message_id text NOT NULL,
    attachment_type text NOT NULL,
    attachment_data text NOT NULL,
    created_at integer NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS integer)),
    CONSTRAINT uni_message_attachments_attachment_id UNIQUE (attachment_id),
    CONSTRAINT fk_message_attachments_message FOREIGN KEY (message_id) REFERENCES messages (msg_id) ON DELETE CASCADE
);
CREATE INDEX idx_message_attachments_message ON message_attachments (message_id, attachment_type);

CREATE TABLE knowledge_bases (
    id text NOT NULL,
    name text NOT NULL,
    dimensions integer NOT NULL,
    metric text NOT NULL,
    embedding_model text NOT NULL DEFAULT '',
    settings text NOT NULL DEFAULT '{}' CHECK (json_valid(settings) AND json_type(settings) = 'object'),
    created_at integer NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS integer)),
    PRIMARY KEY (id),
    CONSTRAINT chk_knowledge_bases_dimensions CHECK (dimensions BETWEEN 1 AND 16000),
    CONSTRAINT chk_knowledge_bases_metric CHECK (metric IN ('cosine', 'l2', 'ip'))
);

CREATE TABLE knowledge_files (
    id text NOT NULL,
    base_id text NOT NULL,
    name text NOT NULL,
    path text NOT NULL,
    mime_type text NOT NULL DEFAULT '',
    status text NOT NULL,
    uploaded_at integer NOT NULL,
    metadata text NOT NULL DEFAULT '{}' CHECK (json_valid(metadata) AND json_type(metadata) = 'object'),
    PRIMARY KEY (id),
    CONSTRAINT fk_knowledge_files_base FOREIGN KEY (base_id) REFERENCES knowledge_bases (id) ON DELETE CASCADE,
    CONSTRAINT chk_knowledge_files_status CHECK (status IN ('pending', 'processing', 'paused', 'processed', 'error'))
);
CREATE INDEX idx_knowledge_files_base ON knowledge_files (base_id);
CREATE INDEX idx_knowledge_files_status ON knowledge_files (status);
CREATE INDEX idx_knowledge_files_path ON knowledge_files (path);

CREATE TABLE knowledge_chunks (
    seq integer PRIMARY KEY AUTOINCREMENT,
    id text NOT NULL,
    file_id text NOT NULL,
    chunk_index integer NOT NULL,
    content text NOT NULL,
    status text NOT NULL,
    error text NOT NULL DEFAULT '',
    CONSTRAINT uni_knowledge_chunks_id UNIQUE (id),
    CONSTRAINT fk_knowledge_chunks_file FOREIGN KEY (file_id) REFERENCES knowledge_files (id) ON DELETE CASCADE,
    CONSTRAINT chk_knowledge_chunks_status CHECK (status IN ('pending', 'processing', 'paused', 'processed', 'error'))
);
CREATE INDEX idx_knowledge_chunks_file ON knowledge_chunks (file_id, chunk_index);
CREATE INDEX idx_knowledge_chunks_status ON knowledge_chunks (status);

CREATE TABLE knowledge_vectors (
    seq integer PRIMARY KEY AUTOINCREMENT,
    id text NOT NULL,
    base_id text NOT NULL,
    file_id text NOT NULL,
    chunk_id text NOT NULL,
    embedding blob NOT NULL,
    created_at integer NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS integer)),
    CONSTRAINT uni_knowledge_vectors_id UNIQUE (id),
    CONSTRAINT fk_knowledge_vectors_base FOREIGN KEY (base_id) REFERENCES knowledge_bases (id) ON DELETE CASCADE,
    CONSTRAINT fk_knowledge_vectors_file FOREIGN KEY (file_id) REFERENCES knowledge_files (id) ON DELETE CASCADE,
    CONSTRAINT fk_knowledge_vectors_chunk FOREIGN KEY (chunk_id) REFERENCES knowledge_chunks (id) ON DELETE CASCADE
);
CREATE INDEX idx_knowledge_vectors_base ON knowledge_vectors (base_id);
CREATE INDEX idx_knowledge_vectors_file ON knowledge_vectors (file_id);
CREATE INDEX idx_knowledge_vectors_chunk ON knowledge_vectors (chunk_id);

CREATE TABLE talkbase_meta (
    key text NOT NULL,
    value text NOT NULL,
    PRIMARY KEY (key)
);

-- +goose Down
DROP TABLE talkbase_meta;
DROP TABLE knowledge_vectors;

DROP TABLE knowledge_chunks;
DROP TABLE knowledge_files;
DROP TABLE knowledge_bases;
DROP TABLE message_attachments;

DROP TABLE messages;

DROP TABLE conversations;
