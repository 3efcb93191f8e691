package tests

import (
	"fmt"

	"github.com/talkbase/talkbase/migration"
)

// driftCases change one thing each and check that it is reported, and nothing else.
func driftCases() []testCase {
	cases := []testCase{}
	for _, d := range []struct {
		name             string
		sqlite, postgres string // "" where the engine cannot do it
		want             migration.Drift
	}{
		{"missing table", "DROP TABLE message_attachments", "DROP TABLE message_attachments", migration.Drift{Table: "message_attachments", Kind: "table", Name: "message_attachments", Problem: "missing"}},
		{"missing text index", "DROP TABLE chunk_terms", "DROP TABLE chunk_terms", migration.Drift{Table: "chunk_terms", Kind: "table", Name: "chunk_terms", Problem: "missing"}},
		{
			"missing column", "ALTER TABLE knowledge_bases DROP COLUMN embedding_model", "ALTER TABLE knowledge_bases DROP COLUMN embedding_model",
			migration.Drift{Table: "knowledge_bases", Kind: "column", Name: "embedding_model", Problem: "missing"},
		},
		{
			"extra column", "ALTER TABLE messages ADD COLUMN mood text", "ALTER TABLE messages ADD COLUMN mood text",
			migration.Drift{Table: "messages", Kind: "column", Name: "mood", Problem: "extra"},
		},
		{"changed type", "", "ALTER TABLE messages ALTER COLUMN token_count TYPE integer", migration.Drift{Table: "messages", Kind: "column", Name: "token_count", Problem: "different"}},
		{"changed default", "", "ALTER TABLE conversations ALTER COLUMN is_new SET DEFAULT 0", migration.Drift{Table: "conversations", Kind: "column", Name: "is_new", Problem: "different"}},
		{"dropped not null", "", "ALTER TABLE messages ALTER COLUMN content DROP NOT NULL", migration.Drift{Table: "messages", Kind: "column", Name: "content", Problem: "different"}},
		{"changed collation", "", `ALTER TABLE knowledge_bases ALTER COLUMN name TYPE text COLLATE "default"`, migration.Drift{Table: "knowledge_bases", Kind: "column", Name: "name", Problem: "different"}},
		{"missing index", "DROP INDEX idx_messages_parent", "DROP INDEX idx_messages_parent", migration.Drift{Table: "messages", Kind: "index", Name: "idx_messages_parent", Problem: "missing"}},
		{"extra index", "CREATE INDEX mine ON messages (role)", "CREATE INDEX mine ON messages (role)", migration.Drift{Table: "messages", Kind: "index", Name: "mine", Problem: "extra"}},
		{
			"changed index", "DROP INDEX idx_messages_parent; CREATE INDEX idx_messages_parent ON messages (parent_id DESC)",
			"DROP INDEX idx_messages_parent; CREATE INDEX idx_messages_parent ON messages (parent_id DESC)",
			migration.Drift{Table: "messages", Kind: "index", Name: "idx_messages_parent", Problem: "different"},
		},
		{
			"dropped check", "", "ALTER TABLE messages DROP CONSTRAINT chk_messages_role",
			migration.Drift{Table: "messages", Kind: "constraint", Name: "chk_messages_role", Problem: "missing"},
		},
		{
			"dropped foreign key", "", "ALTER TABLE message_attachments DROP CONSTRAINT fk_message_attachments_message",
			migration.Drift{Table: "message_attachments", Kind: "constraint", Name: "fk_message_attachments_message", Problem: "missing"},
		},
		{
			"foreign key without cascade", "", "ALTER TABLE message_attachments DROP CONSTRAINT fk_message_attachments_message; " +
				"ALTER TABLE message_attachments ADD CONSTRAINT fk_message_attachments_message FOREIGN KEY (message_id) REFERENCES messages (msg_id)",
			migration.Drift{Table: "message_attachments", Kind: "constraint", Name: "fk_message_attachments_message", Problem: "different"},
		},
		{
			"dropped unique", "", "ALTER TABLE message_attachments DROP CONSTRAINT uni_message_attachments_attachment_id",
			migration.Drift{Table: "message_attachments", Kind: "constraint", Name: "uni_message_attachments_attachment_id", Problem: "missing"},
		},
		{"dropped trigger", "DROP TRIGGER trg_messages_delete", "DROP TRIGGER trg_messages_delete ON messages", migration.Drift{Table: "messages", Kind: "trigger", Name: "trg_messages_delete", Problem: "missing"}},
		{
			"extra trigger", "CREATE TRIGGER mine AFTER DELETE ON messages BEGIN SELECT 1; END",
			"CREATE TRIGGER mine AFTER DELETE ON messages FOR EACH STATEMENT EXECUTE FUNCTION talkbase_conversation_title()",
			migration.Drift{Table: "messages", Kind: "trigger", Name: "mine", Problem: "extra"},
		},
	} {
		cases = append(cases, testCase{name: d.name, run: func(b *bench) {
			change := b.pick(d.sqlite, d.postgres)
			if change == "" {
				rebuiltDrift(b, d.name)
				return
			}
			b.statements(change)
			r, err := b.db.ValidateSchema(b.ctx)
			wantNil(b.t, "validate", err)
			equal(b.t, "ok", r.OK, false)
			if len(r.Drift) != 1 {
				b.t.Fatalf("drift: got %+v, want one difference", r.Drift)
			}
			got := r.Drift[0]
			if (got.Want == "") != (d.want.Problem == "extra" || d.want.Kind == "table") || (got.Have == "") != (d.want.Problem == "missing") {
				b.t.Errorf("definitions: got want %q and have %q, which do not fit %s", got.Want, got.Have, d.want.Problem)
			}
			got.Want, got.Have = "", ""
			equal(b.t, "drift", got, d.want)
		}})
	}
	return cases
}

// rebuilt is what SQLite changes only by making a table anew.
var rebuilt = map[string]struct{ replace, with, name, kind, problem string }{
	"changed type":                {"token_count integer", "token_count text", "token_count", "column", "different"},
	"changed default":             {"status text NOT NULL DEFAULT 'sent'", "status text NOT NULL DEFAULT 'error'", "status", "column", "different"},
	"dropped not null":            {"content text NOT NULL", "content text", "content", "column", "different"},
	"dropped check":               {"CHECK (role IN ('user', 'assistant', 'system', 'function'))", "CHECK (role <> '')", "", "constraint", ""},
	"dropped foreign key":         {"FOREIGN KEY (conversation_id) REFERENCES conversations (conv_id) ON DELETE CASCADE", "CHECK (1)", "foreign key (conversation_id)", "constraint", ""},
	"foreign key without cascade": {"ON DELETE CASCADE", "", "foreign key (conversation_id)", "constraint", "different"},
	"dropped unique":              {"UNIQUE (msg_id)", "CHECK (msg_id <> '')", "unique (msg_id)", "constraint", ""},
	"changed collation":           {"content text NOT NULL", "content text COLLATE NOCASE NOT NULL", "", "", ""},
}

// rebuiltDrift makes SQLite's table of messages anew with one part of its definition replaced.
func rebuiltDrift(b *bench, name string) {
	c := rebuilt[name]
	if c.kind == "" {
		return // SQLite does not tell the collation of a column
	}
	var ddl string
	b.scan([]any{&ddl}, "SELECT replace(sql, ?, ?) FROM sqlite_master WHERE name = 'messages'", c.replace, c.with)
	// The attachments' key refers to a unique column, which the new table may lack.
	b.statements("DROP TABLE message_attachments; ALTER TABLE messages RENAME TO old_messages")
	b.exec(ddl)
	b.statements("DROP TABLE old_messages")
	r, err := b.db.ValidateSchema(b.ctx)
	wantNil(b.t, "validate", err)
	for _, d := range r.Drift {
		if d.Table == "messages" && d.Kind == c.kind && (c.name == "" || d.Name == c.name) && (c.problem == "" || d.Problem == c.problem) {
			return
		}
	}
	b.t.Errorf("drift: got %s, want one of %s %s", fmt.Sprintf("%+v", r.Drift), c.kind, c.name)
}
