-- What GORM cannot say: the text index and the triggers that keep it and the counts true under
-- cascades and plain SQL. Reset runs this file after AutoMigrate.

-- +goose Up
CREATE VIRTUAL TABLE conversation_terms USING fts5(terms, content='', contentless_delete=1, tokenize="ascii tokenchars '!""#$%&''()*+,-./:;<=>?@[\]^_`{|}~'");
CREATE VIRTUAL TABLE message_terms USING fts5(terms, content='', contentless_delete=1, tokenize="ascii tokenchars '!""#$%&''()*+,-./:;<=>?@[\]^_`{|}~'");
CREATE VIRTUAL TABLE chunk_terms USING fts5(terms, content='', contentless_delete=1, tokenize="ascii tokenchars '!""#$%&''()*+,-./:;<=>?@[\]^_`{|}~'");

-- Rows that an older version counted or did not count.
UPDATE conversations SET message_count = (SELECT count(*) FROM messages WHERE conversation_id = conv_id);

-- +goose StatementBegin
CREATE TRIGGER trg_conversations_delete AFTER DELETE ON conversations BEGIN
    DELETE FROM conversation_terms WHERE rowid = old.id;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER trg_conversations_title AFTER UPDATE OF title ON conversations BEGIN
    DELETE FROM conversation_terms WHERE rowid = old.id;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER trg_messages_insert AFTER INSERT ON messages BEGIN
    UPDATE conversations SET message_count = message_count + 1 WHERE conv_id = new.conversation_id;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER trg_messages_delete AFTER DELETE ON messages BEGIN
    DELETE FROM message_terms WHERE rowid = old.id;
    UPDATE conversations SET message_count = message_count - 1 WHERE conv_id = old.conversation_id;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER trg_messages_content AFTER UPDATE OF content ON messages BEGIN
    DELETE FROM message_terms WHERE rowid = old.id;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER trg_messages_move AFTER UPDATE OF conversation_id ON messages WHEN old.conversation_id <> new.conversation_id BEGIN
    UPDATE conversations SET message_count = message_count - 1 WHERE conv_id = old.conversation_id;
    UPDATE conversations SET message_count = message_count + 1 WHERE conv_id = new.conversation_id;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER trg_knowledge_chunks_delete AFTER DELETE ON knowledge_chunks BEGIN
    DELETE FROM chunk_terms WHERE rowid = old.seq;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER trg_knowledge_chunks_content AFTER UPDATE OF content ON knowledge_chunks BEGIN
    DELETE FROM chunk_terms WHERE rowid = old.seq;
END;
-- +goose StatementEnd

-- +goose Down
DROP TRIGGER trg_knowledge_chunks_content;
DROP TRIGGER trg_knowledge_chunks_delete;
DROP TRIGGER trg_messages_move;
DROP TRIGGER trg_messages_content;
DROP TRIGGER trg_messages_delete;
DROP TRIGGER trg_messages_insert;
DROP TRIGGER trg_conversations_title;
DROP TRIGGER trg_conversations_delete;
DROP TABLE chunk_terms;
DROP TABLE message_terms;
DROP TABLE conversation_terms;
