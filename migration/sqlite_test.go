package migration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/talkbase/talkbase/fixtures"
)

// makeSQLite makes a database of statements.
func makeSQLite(t *testing.T, path string, statements ...string) {
	t.Helper()
	db, err := openPrivate(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	for _, s := range statements {
		if _, err := db.Exec(s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

func readAll(t *testing.T, s Source, table string, after int64) []SourceRow {
	t.Helper()
	var out []SourceRow
	for row, err := range s.Rows(t.Context(), table, after) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, row)
	}
	return out
}

func openChat(t *testing.T, path string) Source {
	t.Helper()
	s, err := OpenSource(t.Context(), path, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestSQLiteValuesAsStored(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "odd #1?.db")
	makeSQLite(t, path, `CREATE TABLE conversations (a TEXT, d DATE, dt DATETIME, ts TIMESTAMP, b BOOLEAN, n INTEGER, r REAL, x BLOB, plain, "weird "" name" TEXT)`,
		`INSERT INTO conversations VALUES ('text', '2025-03-01', '2025-03-01 08:00:00', '2025-03-01T08:00:00Z', 1, 9007199254740993, 1.5, x'00ff', NULL, 'w')`,
		`INSERT INTO conversations VALUES (x'68690041', 20250301, 5.5, NULL, 'yes', 'many', 9e999, CAST(x'EDA0BD' AS TEXT), CAST(x'610062' AS TEXT), '')`,
		`INSERT INTO conversations (rowid, a) VALUES (-5, 'before'), (0, 'zero')`)
	s := openChat(t, path)
	tables, err := s.Tables(t.Context())
	if err != nil || len(tables) != 1 || tables[0].Rows != 4 || tables[0].Columns[9] != `weird " name` {
		t.Fatalf("%v %v", tables, err)
	}
	want := []string{
		`[-5 "before" <nil> <nil> <nil> <nil> <nil> <nil> <nil> <nil> <nil>]`,
		`[0 "zero" <nil> <nil> <nil> <nil> <nil> <nil> <nil> <nil> <nil>]`,
		`[1 "text" "2025-03-01" "2025-03-01 08:00:00" "2025-03-01T08:00:00Z" 1 9007199254740993 1.5 [0 255] <nil> "w"]`,
		`[2 [104 105 0 65] 20250301 5.5 <nil> "yes" "many" +Inf "\xed\xa0\xbd" "a\x00b" ""]`,
	}
	for i, row := range readAll(t, s, "conversations", fromStart) {
		got := fmt.Sprint("[", row.RowID)
		for _, v := range row.Values {
			switch x := v.(type) {
			case string:
				got += fmt.Sprintf(" %q", x)
			case nil, int64, float64, []byte:
				got += fmt.Sprint(" ", v)
			default:
				t.Errorf("a value of type %T", v)
			}
		}
		if got += "]"; got != want[i] {
			t.Errorf("row %d:\n got %s\nwant %s", i, got, want[i])
		}
	}
}

func TestSQLiteStreamsInPages(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "chat.db")
	makeSQLite(t, path, "CREATE TABLE messages (id INTEGER PRIMARY KEY, content TEXT)",
		"WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i+1 FROM n WHERE i < 2500) INSERT INTO messages SELECT i*3, 'm' || i FROM n",
		"INSERT INTO messages VALUES (9000, zeroblob(16777216)), (9001, zeroblob(16777216)), (9002, 'after')")
	s := openChat(t, path)
	rows := readAll(t, s, "messages", fromStart)
	if len(rows) != 2503 || rows[2502].Values[1] != "after" {
		t.Fatalf("%d rows", len(rows))
	}
	for i := 1; i < len(rows); i++ {
		if rows[i].RowID <= rows[i-1].RowID {
			t.Fatalf("row %d after %d", rows[i].RowID, rows[i-1].RowID)
		}
	}
	if rest := readAll(t, s, "messages", 7497); len(rest) != 4 {
		t.Errorf("%d rows after 7497", len(rest))
	}
	// A page ends with the row that fills it, so that two large ones are never held together.
	page, more, err := s.(*sqliteSource).page(t.Context(), "SELECT rowid, +id, +content FROM messages WHERE rowid > ? ORDER BY rowid LIMIT 1000", 2, 8000)
	if err != nil || len(page) != 1 || !more {
		t.Errorf("a page of %d rows, more %v, %v", len(page), more, err)
	}
	for _, err := range s.Rows(t.Context(), "messages", fromStart) {
		if err != nil {
			t.Fatal(err)
		}
		break // ending early must not block what follows
	}
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	for _, err := range s.Rows(ctx, "messages", fromStart) {
		if err != nil {
			if !errors.Is(err, context.Canceled) {
				t.Errorf("cancelled: %v", err)
			}
			break
		}
		n++
		cancel()
	}
	cancel()
	if n > pageRows {
		t.Errorf("%d rows after cancelling", n)
	}
	for _, err := range s.Rows(t.Context(), "no such table", 0) {
		if err == nil {
			t.Error("rows of no table")
		}
	}
}

func TestSQLiteRefusesWhatIsNoChat(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name string, content []byte) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	other := filepath.Join(dir, "other.db")
	makeSQLite(t, other, "CREATE TABLE bookmarks (url TEXT)")
	ours := filepath.Join(dir, "ours.db")
	makeSQLite(t, ours, "CREATE TABLE conversations (conv_id TEXT)", "CREATE TABLE talkbase_schema_version (id INTEGER)")
	for name, path := range map[string]string{
		"encrypted":          write("encrypted.db", bytes.Repeat([]byte{0x5a, 0xc3, 0x11}, 2000)),
		"empty":              write("empty.db", nil),
		"short":              write("short.db", []byte("SQLite for")),
		"header only":        write("header.db", append([]byte("SQLite format 3\x00"), bytes.Repeat([]byte{0xee}, 5000)...)),
		"of another program": other,
		"of our own":         ours,
	} {
		s, err := OpenSource(t.Context(), path, t.TempDir())
		if err == nil {
			_ = s.Close()
		}
		if !errors.Is(err, ErrNotLegacy) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := OpenSource(t.Context(), filepath.Join(dir, "missing"), t.TempDir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
}

func TestSQLiteWithoutTables(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "chat.db")
	makeSQLite(t, path, "CREATE TABLE x (a)", "DROP TABLE x")
	target := newMemoryTarget()
	report, _ := mustImport(t, target, ImportOptions{Paths: []string{path}})
	if len(report.Sources[0].Tables) != 0 || len(report.Warnings) != 1 {
		t.Errorf("%+v", report)
	}
}

func TestSQLiteDamage(t *testing.T) {
	t.Parallel()
	whole, _ := writeChat(t, fixtures.LegacyChat{Version: 7, Conversations: 20, MessagesPer: 20})
	content, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	for name, damage := range map[string]func([]byte) []byte{
		"truncated":           func(b []byte) []byte { return b[:len(b)/2] },
		"truncated in a page": func(b []byte) []byte { return b[:len(b)-1000] },
		"pages overwritten": func(b []byte) []byte {
			for i := 5; i < len(b)/4096; i += 3 {
				copy(b[i*4096:], bytes.Repeat([]byte{0xa5}, 4096))
			}
			return b
		},
		"a page of zeros": func(b []byte) []byte {
			clear(b[len(b)-8192 : len(b)-4096])
			return b
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "chat.db")
			if err := os.WriteFile(path, damage(bytes.Clone(content)), 0o600); err != nil {
				t.Fatal(err)
			}
			target := newMemoryTarget()
			report, err := Import(t.Context(), target, ImportOptions{Paths: []string{path}})
			if !errors.Is(err, ErrSourceDamaged) || !strings.Contains(err.Error(), path) || report.OK {
				t.Errorf("%v", err)
			}
			if target.batches != 0 {
				t.Error("something was written")
			}
		})
	}
}

func TestSQLitePermissions(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" || os.Getuid() == 0 {
		t.Skip("everything is readable here")
	}
	path, _ := writeChat(t, fixtures.LegacyChat{Version: 7})
	if err := os.Chmod(path, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := Import(t.Context(), newMemoryTarget(), ImportOptions{Paths: []string{path}}); !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "permission to read") {
		t.Errorf("%v", err)
	}
}

func TestSQLiteReadsFromAReadOnlyFolder(t *testing.T) {
	t.Parallel()
	path, rows := writeChat(t, fixtures.LegacyChat{Version: 7, Conversations: 1, MessagesPer: 3, Log: fixtures.LogRows})
	if err := os.Chmod(path, 0o400); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(path), 0o500); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chmod(filepath.Dir(path), 0o700) })
	if got := readAll(t, openChat(t, path), "messages", fromStart); int64(len(got)) != rows["messages"] {
		t.Errorf("%d messages", len(got))
	}
}

func TestCopyOfAChangingFile(t *testing.T) {
	t.Parallel()
	path, _ := writeChat(t, fixtures.LegacyChat{Version: 7})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := copyDatabase(ctx, path, filepath.Join(t.TempDir(), "x"), "-wal"); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestImportWithoutIndexesOrConstraints(t *testing.T) {
	t.Parallel()
	at := int64(1740816000000)
	path, _ := writeChat(t, fixtures.LegacyChat{Version: 7, Loose: true, Rows: []fixtures.LegacyRow{
		{Table: "conversations", Values: map[string]any{"conv_id": []byte("blob id"), "title": "t", "created_at": at, "updated_at": at}},
		{Table: "conversations", Values: map[string]any{"conv_id": "", "title": "no id", "created_at": at, "updated_at": at}},
		{Table: "conversations", Values: map[string]any{"conv_id": "nul\x00id", "title": "t", "created_at": at, "updated_at": at}},
		{Table: "messages", Values: map[string]any{"msg_id": "m1", "conversation_id": "blob id", "role": "user", "content": "1", "created_at": at, "order_seq": int64(1)}},
		{Table: "messages", Values: map[string]any{"msg_id": []byte("m2"), "conversation_id": []byte("blob id"), "role": "user", "content": nil, "created_at": at, "order_seq": int64(1)}},
		{Table: "messages", Values: map[string]any{"msg_id": "m3", "conversation_id": "blob id", "parent_id": "m2", "role": "assistant", "content": "3", "created_at": "bad", "order_seq": int64(3)}},
		{Table: "messages", Values: map[string]any{"msg_id": "", "conversation_id": "", "role": "user", "content": "4", "created_at": at + 5}},
		{Table: "messages", Values: map[string]any{"msg_id": "m1", "conversation_id": "blob id", "role": "user", "content": "again", "created_at": at + 9, "order_seq": int64(4)}},
		{Table: "messages", Values: map[string]any{"msg_id": "m5", "conversation_id": "nulid", "role": "wizard", "content": "5", "created_at": at}},
		{Table: "messages", Values: map[string]any{"msg_id": nil, "conversation_id": nil, "role": "user", "content": "6", "created_at": at}},
		{Table: "message_attachments", Values: map[string]any{"attachment_id": "a1", "message_id": "m2", "type": "x", "content": "y", "created_at": nil}},
		{Table: "message_attachments", Values: map[string]any{"attachment_id": nil, "message_id": "m1", "type": "x", "content": "y", "created_at": at}},
		{Table: "attachments", Values: map[string]any{"attach_id": "a2", "message_id": " 2 ", "attachment_type": "image", "created_at": at}},
	}})
	target := newMemoryTarget()
	_, counts := mustImport(t, target, ImportOptions{Paths: []string{path}})
	if c := counts[tableConversations]; c.Written != 3 || target.conversations["blob id"].Title != "t" || target.conversations["nulid"].Title != "t" {
		t.Errorf("conversations: %+v", *c)
	}
	c := counts[tableMessages]
	if c.Read != 7 || c.Written != 5 || c.Reasons[ReasonConflict] != 1 || c.Reasons[ReasonRole] != 1 || c.Reasons[ReasonDanglingParent] != 0 {
		t.Errorf("messages: %+v", *c)
	}
	if m := target.messages["m3"]; m.CreatedAt != at || m.ParentID != "m2" || m.ConversationID != "blob id" {
		t.Errorf("m3: %+v", m)
	}
	checkOrder(t, target)
	var without int
	for _, m := range target.messages {
		if m.Content == "4" && len(m.MsgID) == 36 && target.conversations[m.ConversationID].Title == "no id" {
			without++
		}
	}
	if without != 1 {
		t.Error("the message and conversation without ids lost each other")
	}
	if a := counts[tableMessageAttachments]; a.Written != 3 || target.attachments["a1"].MessageID != "m2" || target.attachments["a1"].CreatedAt != at || target.attachments["a2"].MessageID != "m2" {
		t.Errorf("attachments: %+v %+v", *a, target.attachments)
	}
}
