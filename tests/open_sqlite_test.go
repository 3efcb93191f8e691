package tests_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/talkbase/talkbase"
	"github.com/talkbase/talkbase/models"
	"github.com/talkbase/talkbase/repo"
)

// plain runs statements on an SQLite file as another program would.
func plain(t *testing.T, path string, statements ...string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatalf("open %s: got error %v, want none", path, err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			t.Errorf("close %s: got error %v, want none", path, err)
		}
	}()
	db.SetMaxOpenConns(1) // so that temporary tables and pragmas are there for the next
	for _, s := range statements {
		if _, err := db.ExecContext(t.Context(), s); err != nil {
			t.Fatalf("%s: got error %v, want none", s, err)
		}
	}
}

// folder returns the contents of the files of a folder.
func folder(t *testing.T, path string) map[string]string {
	t.Helper()
	out := map[string]string{}
	entries, err := os.ReadDir(path)
	if err != nil {
		t.Fatalf("read %s: got error %v, want none", path, err)
	}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(path, e.Name()))
		if err != nil {
			t.Fatalf("read %s: got error %v, want none", e.Name(), err)
		}
		out[e.Name()] = string(b)
	}
	return out
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatalf("write: got error %v, want none", err)
	}
}

func insertVersion(v int) string {
	return fmt.Sprintf("INSERT INTO talkbase_schema_version (version_id, is_applied) VALUES (%d, true)", v)
}

func TestSQLiteRefusesFilesThatAreNotItsOwn(t *testing.T) {
	t.Parallel()
	legacy := []string{
		"CREATE TABLE conversations (id INTEGER PRIMARY KEY AUTOINCREMENT, conv_id TEXT NOT NULL UNIQUE, title TEXT NOT NULL, created_at INTEGER NOT NULL)",
		"CREATE TABLE messages (id INTEGER PRIMARY KEY AUTOINCREMENT, msg_id TEXT NOT NULL UNIQUE, conversation_id TEXT NOT NULL)",
		"CREATE TABLE schema_versions (version INTEGER PRIMARY KEY, applied_at INTEGER NOT NULL)",
		"INSERT INTO conversations VALUES (1, 'c', 't', 5)",
	}
	for _, c := range []struct {
		name string
		make func(t *testing.T, path string)
		want error
	}{
		{"text", func(t *testing.T, path string) { write(t, path, []byte("this is no database, but a longer text")) }, repo.ErrNotDatabase},
		{"one byte", func(t *testing.T, path string) { write(t, path, []byte("S")) }, repo.ErrNotDatabase},
		{"encrypted", func(t *testing.T, path string) { write(t, path, bytes.Repeat([]byte{0x9a, 3, 0xf1, 0}, 4096)) }, repo.ErrNotDatabase},
		{"header and no more", func(t *testing.T, path string) { write(t, path, []byte("SQLite format 3\x00")) }, repo.ErrCorrupt},
		{"header and garbage", func(t *testing.T, path string) {
			write(t, path, append([]byte("SQLite format 3\x00"), bytes.Repeat([]byte("garbage "), 1000)...))
		}, repo.ErrCorrupt},
		{"legacy", func(t *testing.T, path string) { plain(t, path, legacy...) }, repo.ErrForeignSchema},
		{"legacy in WAL mode", func(t *testing.T, path string) {
			plain(t, path, append([]string{"PRAGMA journal_mode = WAL"}, legacy...)...)
		}, repo.ErrForeignSchema},
		{"newer", func(t *testing.T, path string) {
			db := open(t, talkbase.Config{DSN: path})
			if err := db.Close(); err != nil {
				t.Fatalf("close: got error %v, want none", err)
			}
			plain(t, path, insertVersion(99))
		}, repo.ErrSchemaNewer},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			path := filepath.Join(dir, "chat.db")
			c.make(t, path)
			_ = os.Remove(path + ".schema-lock")
			before := folder(t, dir)
			for range 2 {
				db, err := talkbase.Open(t.Context(), talkbase.Config{DSN: path})
				if db != nil {
					_ = db.Close()
				}
				if !errors.Is(err, c.want) {
					t.Errorf("open: got error %v, want %v", err, c.want)
				}
				var de *repo.DatabaseError
				if !errors.As(err, &de) {
					t.Errorf("open: got error %T, want a DatabaseError", err)
				}
				if err != nil && !strings.Contains(err.Error(), path) {
					t.Errorf("open: got error %v, want it to name %s", err, path)
				}
			}
			after := folder(t, dir)
			for name, content := range before {
				if after[name] != content {
					t.Errorf("%s: got other bytes than before, want it unchanged", name)
				}
			}
			for name := range after {
				if _, ok := before[name]; !ok && name != "chat.db-wal" && name != "chat.db-shm" {
					t.Errorf("folder: got a new file %s, want none", name)
				}
			}
		})
	}
}

func TestSQLiteRefusesConfigurations(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pool, err := sql.Open("sqlite", filepath.Join(dir, "pool.db"))
	if err != nil {
		t.Fatalf("open: got error %v, want none", err)
	}
	t.Cleanup(func() { _ = pool.Close() })
	file := filepath.Join(dir, "f.db")
	const secret = "hunter2"
	for name, cfg := range map[string]talkbase.Config{
		"nothing":              {},
		"two databases":        {DSN: file, SQLDB: pool},
		"a folder":             {DSN: dir},
		"a missing folder":     {DSN: filepath.Join(dir, "missing", "f.db")},
		"unknown scheme":       {DSN: "mysql://u:" + secret + "@localhost/db"},
		"parameters":           {DSN: "sqlite://" + file + "?_pragma=foreign_keys(0)"},
		"NUL":                  {DSN: "a\x00b"},
		"keywords":             {DSN: "host=localhost user=u password=" + secret + " dbname=x"},
		"broken Postgres URL":  {DSN: "postgres://u:" + secret + "@localhost:port/db"},
		"broken Postgres host": {DSN: "postgres://u:" + secret + "@[::1/db"},
		"size":                 {DSN: file, Performance: talkbase.PerformanceConfig{WorkMem: "much"}},
		"synchronous":          {DSN: file, Performance: talkbase.PerformanceConfig{Synchronous: "OFF"}},
		"connections":          {DSN: file, Performance: talkbase.PerformanceConfig{MaxConns: -1}},
		"timeout":              {DSN: file, Performance: talkbase.PerformanceConfig{BusyTimeout: -1}},
		"dimensions":           {DSN: file, Vector: talkbase.VectorConfig{Dimensions: 20000}},
		"metric":               {DSN: file, Vector: talkbase.VectorConfig{Metric: "manhattan"}},
		"index":                {DSN: file, Vector: talkbase.VectorConfig{Index: "btree"}},
		"level":                {DSN: file, Logging: talkbase.LoggingConfig{Level: "loud"}},
		"destination":          {DSN: file, Logging: talkbase.LoggingConfig{Destination: filepath.Join(dir, "missing", "log")}},
		"unknown engine":       {SQLDB: pool, Engine: "oracle"},
		"foreign keys off":     {SQLDB: pool},
	} {
		db, err := talkbase.Open(t.Context(), cfg)
		if db != nil {
			_ = db.Close()
		}
		if !errors.Is(err, repo.ErrInvalid) {
			t.Errorf("%s: got error %v, want %v", name, err, repo.ErrInvalid)
		}
		if err != nil && strings.Contains(err.Error(), secret) {
			t.Errorf("%s: got the password in %q, want it left out", name, err)
		}
	}
	for name := range folder(t, dir) {
		if name != "pool.db" {
			t.Errorf("folder: got %s, want nothing made by what was refused", name)
		}
	}
}

func TestSQLiteCreatesFiles(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, file, dsn string }{
		{"new", "new.db", "new.db"},
		{"empty", "empty.db", "empty.db"},
		{"space and signs", "my chats #1 100%?&=;.db", "my chats #1 100%?&=;.db"},
		{"chinese", "聊天 👩‍🚀.db", "聊天 👩‍🚀.db"},
		{"scheme", "s.db", "sqlite://s.db"},
		{"escaped in a URL", "a b%.db", "sqlite://a%20b%25.db"},
		{"no extension", "data", "data"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			path := filepath.Join(dir, c.file)
			if c.name == "empty" {
				write(t, path, nil)
			}
			dsn := filepath.Join(dir, c.dsn)
			if rest, ok := strings.CutPrefix(c.dsn, "sqlite://"); ok {
				dsn = "sqlite://" + filepath.Join(dir, rest)
			}
			db := open(t, talkbase.Config{DSN: dsn})
			if _, err := db.CreateConversation(t.Context(), models.Conversation{ConvID: "c"}); err != nil {
				t.Errorf("create: got error %v, want none", err)
			}
			entries, err := os.ReadDir(dir)
			if err != nil {
				t.Fatalf("read: got error %v, want none", err)
			}
			for _, e := range entries {
				if !strings.HasPrefix(e.Name(), c.file) {
					t.Errorf("folder: got %s, want only %s and what belongs to it", e.Name(), c.file)
				}
				info, err := e.Info()
				if err != nil || info.Mode().Perm() != 0o600 {
					t.Errorf("mode of %s: got %v (%v), want 0600", e.Name(), info.Mode(), err)
				}
			}
			if err := db.Close(); err != nil {
				t.Errorf("close: got error %v, want none", err)
			}
			again := open(t, talkbase.Config{DSN: path})
			if _, err := again.GetConversation(t.Context(), "c"); err != nil {
				t.Errorf("get after opening %s again: got error %v, want none", path, err)
			}
		})
	}
}

func TestSQLiteCopiesAnOldFileBeforeUpgrading(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "talk.db")
	db := open(t, talkbase.Config{DSN: path})
	if err := db.MigrateSchema(t.Context(), 1); err != nil {
		t.Fatalf("down: got error %v, want none", err)
	}
	if err := db.Close(); err != nil {
		t.Fatalf("close: got error %v, want none", err)
	}
	plain(t, path, "INSERT INTO conversations (conv_id, title, created_at, updated_at) VALUES ('old', 't', 1, 1)")
	db = open(t, talkbase.Config{DSN: path})
	if v, err := db.SchemaVersion(t.Context()); v != db.LatestSchemaVersion() || err != nil {
		t.Errorf("version: got %d (%v), want %d", v, err, db.LatestSchemaVersion())
	}
	if _, err := db.GetConversation(t.Context(), "old"); err != nil {
		t.Errorf("get: got error %v, want the row of the old version", err)
	}
	copies, err := filepath.Glob(path + ".v1-*.bak")
	if err != nil || len(copies) != 1 {
		t.Fatalf("copies: got %v (%v), want one", copies, err)
	}
	info, err := os.Stat(copies[0])
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode of the copy: got %v (%v), want 0600", info.Mode(), err)
	}
	bak, err := sql.Open("sqlite", copies[0])
	if err != nil {
		t.Fatalf("open: got error %v, want none", err)
	}
	defer func() { _ = bak.Close() }()
	var rows, version int
	err = bak.QueryRowContext(t.Context(), "SELECT (SELECT count(*) FROM conversations), (SELECT max(version_id) FROM talkbase_schema_version)").Scan(&rows, &version)
	if err != nil || rows != 1 || version != 1 {
		t.Errorf("the copy: got %d rows at version %d (%v), want 1 row at version 1", rows, version, err)
	}
	// A file that is up to date is not copied.
	open(t, talkbase.Config{DSN: path})
	if copies, _ := filepath.Glob(path + "*.bak"); len(copies) != 1 {
		t.Errorf("copies after opening again: got %v, want one", copies)
	}
}

// openTogether opens one new database from several goroutines and writes through all of them.
func openTogether(t *testing.T, cfg talkbase.Config, n int) {
	t.Helper()
	var wg sync.WaitGroup
	errs := make([]error, n)
	start := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-start
			db, err := talkbase.Open(t.Context(), cfg)
			if err != nil {
				errs[i] = err
				return
			}
			for j := range 5 {
				_, err = db.CreateConversation(t.Context(), models.Conversation{ConvID: fmt.Sprint(i, "-", j)})
				errs[i] = errors.Join(errs[i], err)
			}
			errs[i] = errors.Join(errs[i], db.Close())
		})
	}
	close(start)
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Errorf("%d at once: got error %v, want none", n, err)
	}
	db := open(t, cfg)
	if got, err := db.CountConversations(t.Context()); got != int64(5*n) || err != nil {
		t.Errorf("conversations of %d at once: got %d (%v), want %d", n, got, err, 5*n)
	}
	if r, err := db.ValidateSchema(t.Context()); !r.OK || err != nil {
		t.Errorf("schema made by %d at once: got %+v (%v), want no drift", n, r, err)
	}
}

func TestSQLiteConcurrentOpens(t *testing.T) {
	t.Parallel()
	for _, n := range []int{2, 4} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			openTogether(t, talkbase.Config{DSN: filepath.Join(t.TempDir(), "talk.db")}, n)
		})
	}
}

// TestSQLiteTwoPrograms opens one file twice, as two programs would, and collides on purpose.
func TestSQLiteTwoPrograms(t *testing.T) {
	t.Parallel()
	cfg := talkbase.Config{DSN: filepath.Join(t.TempDir(), "talk.db"), Performance: talkbase.PerformanceConfig{Synchronous: "NORMAL"}}
	one, two := open(t, cfg), open(t, cfg)
	if _, err := one.CreateConversation(t.Context(), models.Conversation{ConvID: "c"}); err != nil {
		t.Fatalf("create: got error %v, want none", err)
	}
	var wg sync.WaitGroup
	errs := make([]error, 2)
	for i, db := range []*talkbase.DB{one, two} {
		wg.Go(func() {
			for range 30 {
				errs[i] = errors.Join(errs[i], db.WithTransaction(t.Context(), func(ctx context.Context, _ *repo.Tx) error {
					if _, err := db.GetConversation(ctx, "c"); err != nil {
						return err
					}
					_, err := db.InsertMessage(ctx, models.Message{ConversationID: "c", Role: models.RoleUser})
					return err
				}))
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Errorf("writing from both: got error %v, want none", err)
	}
	if n, err := one.MaxOrderSeq(t.Context(), "c"); n != 60 || err != nil {
		t.Errorf("highest order_seq: got %d (%v), want 60", n, err)
	}
	cfg.Performance.BusyTimeout = 200e6
	impatient := open(t, cfg)
	tx, err := one.Begin(t.Context())
	if err != nil {
		t.Fatalf("begin: got error %v, want none", err)
	}
	if _, err := impatient.CreateConversation(t.Context(), models.Conversation{}); !errors.Is(err, repo.ErrBusy) {
		t.Errorf("write while another program writes: got error %v, want %v", err, repo.ErrBusy)
	}
	if _, err := impatient.GetConversation(t.Context(), "c"); err != nil {
		t.Errorf("read while another program writes: got error %v, want none", err)
	}
	if err := tx.Rollback(); err != nil {
		t.Errorf("rollback: got error %v, want none", err)
	}
}
