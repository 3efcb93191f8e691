-- What GORM cannot say: the checks on JSON, the text index, and the triggers that keep it and the
-- counts true under cascades and plain SQL. Reset runs this file after AutoMigrate.

-- +goose Up
ALTER TABLE conversations ADD CONSTRAINT chk_conversations_settings CHECK (jsonb_typeof(settings) = 'object');
ALTER TABLE messages ADD CONSTRAINT chk_messages_metadata CHECK (jsonb_typeof(metadata) = 'object');
ALTER TABLE knowledge_bases ADD CONSTRAINT chk_knowledge_bases_settings CHECK (jsonb_typeof(settings) = 'object');
ALTER TABLE knowledge_files ADD CONSTRAINT chk_knowledge_files_metadata CHECK (jsonb_typeof(metadata) = 'object');

CREATE TABLE conversation_terms (
    id bigint PRIMARY KEY REFERENCES conversations (id) ON DELETE CASCADE,
    terms tsvector NOT NULL
);
CREATE INDEX idx_conversation_terms ON conversation_terms USING gin (terms);
CREATE TABLE message_terms (
    id bigint PRIMARY KEY REFERENCES messages (id) ON DELETE CASCADE,
    terms tsvector NOT NULL
);
CREATE INDEX idx_message_terms ON message_terms USING gin (terms);
CREATE TABLE chunk_terms (
    id bigint PRIMARY KEY REFERENCES knowledge_chunks (seq) ON DELETE CASCADE,
    terms tsvector NOT NULL
);
CREATE INDEX idx_chunk_terms ON chunk_terms USING gin (terms);

-- Rows that an older version counted or did not count.
UPDATE conversations SET message_count = (SELECT count(*) FROM messages WHERE conversation_id = conv_id);

-- SET search_path FROM CURRENT: the functions find their tables whatever path a session has.
-- +goose StatementBegin
CREATE FUNCTION talkbase_conversation_title() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    DELETE FROM conversation_terms WHERE id = OLD.id;
    RETURN NULL;
END $$;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE FUNCTION talkbase_message_content() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    DELETE FROM message_terms WHERE id = OLD.id;
    RETURN NULL;
END $$;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE FUNCTION talkbase_chunk_content() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    DELETE FROM chunk_terms WHERE id = OLD.seq;
    RETURN NULL;
END $$;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE FUNCTION talkbase_messages_inserted() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    UPDATE conversations c SET message_count = c.message_count + n.n
    FROM (SELECT conversation_id, count(*) AS n FROM new_rows GROUP BY conversation_id) n
    WHERE c.conv_id = n.conversation_id;
    RETURN NULL;
END $$;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE FUNCTION talkbase_messages_deleted() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    UPDATE conversations c SET message_count = c.message_count - o.n
    FROM (SELECT conversation_id, count(*) AS n FROM old_rows GROUP BY conversation_id) o
    WHERE c.conv_id = o.conversation_id;
    RETURN NULL;
END $$;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE FUNCTION talkbase_message_moved() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    UPDATE conversations SET message_count = message_count - 1 WHERE conv_id = OLD.conversation_id;
    UPDATE conversations SET message_count = message_count + 1 WHERE conv_id = NEW.conversation_id;
    RETURN NULL;
END $$;
-- +goose StatementEnd

CREATE TRIGGER trg_conversations_title AFTER UPDATE OF title ON conversations
    FOR EACH ROW EXECUTE FUNCTION talkbase_conversation_title();
CREATE TRIGGER trg_messages_insert AFTER INSERT ON messages REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION talkbase_messages_inserted();
CREATE TRIGGER trg_messages_delete AFTER DELETE ON messages REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION talkbase_messages_deleted();
CREATE TRIGGER trg_messages_content AFTER UPDATE OF content ON messages
    FOR EACH ROW EXECUTE FUNCTION talkbase_message_content();
CREATE TRIGGER trg_messages_move AFTER UPDATE OF conversation_id ON messages
    FOR EACH ROW WHEN (OLD.conversation_id <> NEW.conversation_id) EXECUTE FUNCTION talkbase_message_moved();
CREATE TRIGGER trg_knowledge_chunks_content AFTER UPDATE OF content ON knowledge_chunks
    FOR EACH ROW EXECUTE FUNCTION talkbase_chunk_content();

-- +goose Down
DROP TRIGGER trg_knowledge_chunks_content ON knowledge_chunks;
DROP TRIGGER trg_messages_move ON messages;
DROP TRIGGER trg_messages_content ON messages;
DROP TRIGGER trg_messages_delete ON messages;
DROP TRIGGER trg_messages_insert ON messages;
DROP TRIGGER trg_conversations_title ON conversations;
DROP FUNCTION talkbase_message_moved();
DROP FUNCTION talkbase_messages_deleted();
DROP FUNCTION talkbase_messages_inserted();
DROP FUNCTION talkbase_chunk_content();
DROP FUNCTION talkbase_message_content();
DROP FUNCTION talkbase_conversation_title();
DROP TABLE chunk_terms;
DROP TABLE message_terms;
DROP TABLE conversation_terms;
ALTER TABLE knowledge_files DROP CONSTRAINT chk_knowledge_files_metadata;
ALTER TABLE knowledge_bases DROP CONSTRAINT chk_knowledge_bases_settings;
ALTER TABLE messages DROP CONSTRAINT chk_messages_metadata;
ALTER TABLE conversations DROP CONSTRAINT chk_conversations_settings;
