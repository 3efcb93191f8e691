package tests_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/talkbase/talkbase"
	"github.com/talkbase/talkbase/fixtures"
	"github.com/talkbase/talkbase/migration"
	"github.com/talkbase/talkbase/repo"
)

// legacyChat makes a chat.db and runs statements in it.
func legacyChat(t *testing.T, chat fixtures.LegacyChat, statements ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "chat.db")
	if _, err := chat.Write(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	plain(t, path, statements...)
	return path
}

func mustImport(t *testing.T, db *talkbase.DB, opts migration.ImportOptions) *migration.ImportReport {
	t.Helper()
	opts.NoBackup = true
	r, err := db.Import(t.Context(), opts)
	if err != nil {
		t.Fatalf("import: got error %v, want none", err)
	}
	return r
}

// TestTablesOfOthers imports a chat.db with a table that is ordered by its key, and one whose index has
// entries too many.
func TestTablesOfOthers(t *testing.T) {
	t.Parallel()
	path := legacyChat(t, fixtures.LegacyChat{Seed: 4, Version: 9, Conversations: 2, MessagesPer: 5},
		"CREATE TABLE plugin (name TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID",
		"INSERT INTO plugin WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 250) SELECT 'key ' || i, zeroblob(i) FROM n",
		"CREATE INDEX surplus ON messages (role)", "CREATE TEMP TABLE kept AS SELECT * FROM sqlite_master WHERE name = 'surplus'",
		"PRAGMA writable_schema = 1", "DELETE FROM sqlite_master WHERE name = 'surplus'", "PRAGMA writable_schema = RESET",
		"DELETE FROM messages WHERE msg_id IN (SELECT msg_id FROM messages LIMIT 2)",
		"PRAGMA writable_schema = 1", "INSERT INTO sqlite_master SELECT * FROM kept", "PRAGMA writable_schema = RESET")
	db := open(t, talkbase.Config{DSN: filepath.Join(t.TempDir(), "talk.db")})
	r := mustImport(t, db, migration.ImportOptions{Paths: []string{path}, BatchRows: 30})
	if c := r.Sources[0].Table("plugin"); c.Read != 250 || c.Rejected != 250 {
		t.Errorf("plugin: got %+v, want 250 rows read and rejected", c)
	}
	if c := r.Sources[0].Table("messages"); c.Read != 8 || c.Written != 8 {
		t.Errorf("messages: got %+v, want the 8 that are there", c)
	}
}

// TestTableWithoutItsModule imports a chat.db with a virtual table whose module is missing, which is no
// damage.
func TestTableWithoutItsModule(t *testing.T) {
	t.Parallel()
	path := legacyChat(t, fixtures.LegacyChat{Seed: 7, Version: 9, Conversations: 2, MessagesPer: 5},
		"PRAGMA writable_schema = 1", "INSERT INTO sqlite_master VALUES ('table', 'odd', 'odd', 0, 'CREATE VIRTUAL TABLE odd USING nosuchmodule(x)')", "PRAGMA writable_schema = RESET")
	db := open(t, talkbase.Config{DSN: filepath.Join(t.TempDir(), "talk.db")})
	r := mustImport(t, db, migration.ImportOptions{Paths: []string{path}})
	if c := r.Sources[0].Table("messages"); c.Written != 10 {
		t.Errorf("messages: got %+v, want 10 written", c)
	}
	if len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], "virtual table odd") {
		t.Errorf("warnings: got %q, want one about the virtual table", r.Warnings)
	}
}

// TestEverySourceIsNamed imports two files in which a table has the name of an index that the import needs.
func TestEverySourceIsNamed(t *testing.T) {
	t.Parallel()
	statements := []string{"DROP INDEX idx_messages_session", "CREATE TABLE talkbase_order (a)"}
	one := legacyChat(t, fixtures.LegacyChat{Seed: 8, Version: 9, Conversations: 1, MessagesPer: 2}, statements...)
	two := legacyChat(t, fixtures.LegacyChat{Seed: 9, Version: 9, Conversations: 1, MessagesPer: 2}, statements...)
	db := open(t, talkbase.Config{DSN: filepath.Join(t.TempDir(), "talk.db")})
	backups := filepath.Join(t.TempDir(), "backups")
	_, err := db.Import(t.Context(), migration.ImportOptions{Paths: []string{one, two}, BackupDir: backups})
	if !errors.Is(err, migration.ErrSourceDamaged) {
		t.Fatalf("import: got error %v, want ErrSourceDamaged", err)
	}
	for _, path := range []string{one, two} {
		if !strings.Contains(err.Error(), path) {
			t.Errorf("import: got error %v, want it to name %s", err, path)
		}
	}
	if strings.Contains(err.Error(), backups) {
		t.Errorf("import: got error %v, want no name of a copy", err)
	}
}

// TestReplayKnowsTheTarget replays a conversation, whose messages only the database has.
func TestReplayKnowsTheTarget(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	path := legacyChat(t, fixtures.LegacyChat{Seed: 5, Version: 9, Conversations: 1, MessagesPer: 4},
		`UPDATE conversations SET context_chain = (SELECT json_object(a.msg_id, b.msg_id) FROM messages a, messages b WHERE a.msg_id < b.msg_id LIMIT 1)`)
	db := open(t, talkbase.Config{DSN: filepath.Join(t.TempDir(), "talk.db")})
	mustImport(t, db, migration.ImportOptions{Paths: []string{path}})
	list, err := db.RecentConversations(ctx, 1)
	if err != nil || len(list) != 1 {
		t.Fatalf("conversations: got %v (%v), want one", list, err)
	}
	before := list[0].Settings.String()
	if !strings.Contains(before, "selectedVariantsMap") {
		t.Fatalf("settings: got %s, want chosen variants", before)
	}
	if _, err := db.UpdateConversation(ctx, list[0].ConvID, repo.ConversationUpdate{Title: new("mine")}); err != nil {
		t.Fatal(err)
	}
	rejects := filepath.Join(t.TempDir(), "rejects.jsonl")
	mustImport(t, db, migration.ImportOptions{Paths: []string{path}, RejectFile: rejects})
	mustImport(t, db, migration.ImportOptions{Replay: rejects, PreferSource: true})
	c, err := db.GetConversation(ctx, list[0].ConvID)
	if err != nil || c.Title == "mine" || c.Settings.String() != before {
		t.Errorf("replayed: got %s %s (%v), want the source's title and %s", c.Title, c.Settings, err, before)
	}
}

// TestRejectFileThatIsGone resumes an import whose reject file was removed, and after it was put back.
func TestRejectFileThatIsGone(t *testing.T) {
	t.Parallel()
	path := legacyChat(t, fixtures.LegacyChat{Seed: 6, Version: 9, Conversations: 2, MessagesPer: 30, Loose: true},
		"UPDATE messages SET role = 'tool' WHERE id IN (3, 50)")
	db := open(t, talkbase.Config{DSN: filepath.Join(t.TempDir(), "talk.db")})
	rejects := filepath.Join(t.TempDir(), "rejects.jsonl")
	ctx, cancel := context.WithCancel(t.Context())
	_, err := db.Import(ctx, migration.ImportOptions{Paths: []string{path}, NoBackup: true, RejectFile: rejects, BatchRows: 10, Progress: func(p migration.Progress) {
		if p.Table == "messages" && p.Done >= 20 {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("import: got error %v, want it cut off", err)
	}
	if err := os.Rename(rejects, rejects+".away"); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Import(t.Context(), migration.ImportOptions{Resume: true}); !errors.Is(err, migration.ErrRejectFile) {
		t.Errorf("resume without the reject file: got error %v, want ErrRejectFile", err)
	}
	if _, err := os.Stat(rejects); err == nil {
		t.Error("the reject file is there, want none")
	}
	if err := os.Rename(rejects+".away", rejects); err != nil {
		t.Fatal(err)
	}
	r := mustImport(t, db, migration.ImportOptions{Resume: true})
	if c := r.Sources[0].Table("messages"); c.Rejected != 2 {
		t.Errorf("messages: got %+v, want 2 rejected", c)
	}
}
