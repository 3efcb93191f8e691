package tests_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/talkbase/talkbase"
	"github.com/talkbase/talkbase/fixtures"
	"github.com/talkbase/talkbase/migration"
	"github.com/talkbase/talkbase/models"
	"github.com/talkbase/talkbase/repo"
	"github.com/talkbase/talkbase/services"
)

// TestSQLiteCallsBesideAWriter makes calls while a transaction has the writer's turn: those that only read
// do not wait for it, and the others not for ever.
func TestSQLiteCallsBesideAWriter(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	cfg := talkbase.Config{DSN: filepath.Join(t.TempDir(), "talk.db")}
	cfg.Performance.BusyTimeout = 50 * time.Millisecond
	db := open(t, cfg)
	err := db.WithTransaction(ctx, func(inside context.Context, _ *repo.Tx) error {
		if _, err := db.CreateConversation(inside, models.Conversation{ConvID: "c"}); err != nil {
			return err
		}
		for name, call := range map[string]func(ctx context.Context) error{
			"version":    func(ctx context.Context) error { return ignore(db.SchemaVersion(ctx)) },
			"schema":     func(ctx context.Context) error { return ignore(db.ValidateSchema(ctx)) },
			"integrity":  func(ctx context.Context) error { return ignore(db.ValidateIntegrity(ctx)) },
			"statistics": func(ctx context.Context) error { return ignore(db.GetStatistics(ctx)) },
			"optimize": func(ctx context.Context) error {
				r, err := db.Optimize(ctx, services.OptimizeOptions{})
				if err == nil && (len(r.Steps) == 0 || r.Steps[0].Skipped == "") {
					err = errors.New("nothing was left out")
				}
				return err
			},
		} {
			if err := call(ctx); err != nil {
				t.Errorf("%s: got error %v, want none", name, err)
			}
		}
		if err := ignore(db.SchemaVersion(inside)); err != nil {
			t.Errorf("version inside: got error %v, want none", err)
		}
		return nil
	})
	if err != nil {
		t.Errorf("transaction: got error %v, want none", err)
	}
	if _, err := db.GetConversation(ctx, "c"); err != nil {
		t.Errorf("afterwards: got error %v, want none", err)
	}
	if err := ignore(db.CreateOptimalIndexes(ctx)); err != nil {
		t.Errorf("indexes: got error %v, want none", err)
	}
}

// TestSQLiteImmediatePool reads on a host's pool whose transactions take the writer's lock.
func TestSQLiteImmediatePool(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	pool, err := sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "host.db")+
		"?_pragma=busy_timeout(50)&_pragma=journal_mode(WAL)&_pragma=foreign_keys(1)&_pragma=recursive_triggers(1)&_txlock=immediate")
	if err != nil {
		t.Fatal(err)
	}
	closeLast(t, pool)
	db := open(t, talkbase.Config{SQLDB: pool})
	if _, err := db.CreateBase(ctx, models.KnowledgeBase{ID: "kb", Dimensions: 2}); err != nil {
		t.Fatal(err)
	}
	err = db.WithTransaction(ctx, func(inside context.Context, _ *repo.Tx) error {
		if _, err := db.CreateConversation(inside, models.Conversation{ConvID: "c"}); err != nil {
			return err
		}
		_, err := db.SimilarityQuery(ctx, repo.SimilarityQuery{BaseID: "kb", Vector: []float32{1, 2}})
		return err
	})
	if err != nil {
		t.Errorf("a query beside a writer: got error %v, want none", err)
	}
	err = db.Bulk().Read(ctx, func(inside context.Context) error {
		if _, err := db.Bulk().TextMissing(inside); err != nil {
			return err
		}
		_, err := db.CreateConversation(ctx, models.Conversation{ConvID: "d"})
		return err
	})
	if err != nil {
		t.Errorf("a writer beside a snapshot: got error %v, want none", err)
	}
}

// TestSQLiteRepairKeepsWhatAnIndexHides damages the index by which a vector's chunk is found, so that it
// cannot be made anew: nothing may be taken for an orphan then.
func TestSQLiteRepairKeepsWhatAnIndexHides(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	path := filepath.Join(t.TempDir(), "talk.db")
	db, err := talkbase.Open(ctx, talkbase.Config{DSN: path})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.CreateBase(ctx, models.KnowledgeBase{ID: "kb", Dimensions: 2}); err != nil {
		t.Fatal(err)
	}
	if _, err := db.InsertFile(ctx, models.KnowledgeFile{ID: "f", BaseID: "kb", Name: "f"}); err != nil {
		t.Fatal(err)
	}
	if _, err := db.InsertChunks(ctx, []models.KnowledgeChunk{{ID: "a", FileID: "f", Content: "a"}, {ID: "b", FileID: "f", ChunkIndex: 1, Content: "b"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := db.UpsertVectors(ctx, []models.KnowledgeVector{{ID: "va", FileID: "f", ChunkID: "a", Embedding: []float32{1, 2}}, {ID: "vb", FileID: "f", ChunkID: "b", Embedding: []float32{2, 1}}}); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	// The index of another table in its place knows neither chunk, and a second b has its way.
	const theirs = "(SELECT rootpage FROM kept WHERE tbl_name = "
	plain(t, path, "CREATE TABLE host (a text UNIQUE)", "CREATE TEMP TABLE kept AS SELECT * FROM sqlite_master WHERE name IN ('sqlite_autoindex_host_1', 'sqlite_autoindex_knowledge_chunks_1')",
		"PRAGMA writable_schema = 1",
		"UPDATE sqlite_master SET rootpage = "+theirs+"'host') WHERE name = 'sqlite_autoindex_knowledge_chunks_1'",
		"UPDATE sqlite_master SET rootpage = "+theirs+"'knowledge_chunks') WHERE name = 'sqlite_autoindex_host_1'")
	plain(t, path, "INSERT INTO knowledge_chunks (id, file_id, chunk_index, content, status) VALUES ('b', 'f', 1, 'b', 'processed')")
	db = open(t, talkbase.Config{DSN: path})
	r, err := db.Repair(ctx, services.RepairOptions{DeleteOrphans: true})
	if err != nil {
		t.Fatalf("repair: got error %v, want none", err)
	}
	failed := 0
	for _, a := range r.Actions {
		if a.Error != "" {
			failed++
		}
	}
	if failed == 0 {
		t.Fatalf("actions: got %+v, want some that failed", r.Actions)
	}
	st, err := db.GetStatistics(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if n := st.Rows()["knowledge_vectors"]; n != 2 {
		t.Errorf("vectors: got %d, want the 2 that were there: %+v", n, r.Actions)
	}
}

// TestSQLiteUnfinishedImportIsSaid opens a database in which an import was cut off.
func TestSQLiteUnfinishedImportIsSaid(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	chat := fixtures.LegacyChat{Seed: 3, Version: 9, Conversations: 2, MessagesPer: 5}
	if _, err := chat.Write(t.Context(), filepath.Join(dir, "chat.db")); err != nil {
		t.Fatal(err)
	}
	cfg := talkbase.Config{DSN: filepath.Join(dir, "talk.db")}
	db := open(t, cfg)
	ctx, cancel := context.WithCancel(t.Context())
	opts := migration.ImportOptions{Paths: []string{filepath.Join(dir, "chat.db")}, NoBackup: true, Progress: func(p migration.Progress) {
		if p.Phase == migration.PhaseConversations {
			cancel()
		}
	}}
	if _, err := db.Import(ctx, opts); !errors.Is(err, context.Canceled) {
		t.Fatalf("import: got error %v, want it cut off", err)
	}
	said := func() string {
		var log bytes.Buffer
		cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
		if err := open(t, cfg).Close(); err != nil {
			t.Fatal(err)
		}
		return log.String()
	}
	if s := said(); !strings.Contains(s, "cut off") {
		t.Errorf("opened after an import that was cut off: got log %q, want it said", s)
	}
	if _, err := db.Import(t.Context(), migration.ImportOptions{Resume: true}); err != nil {
		t.Fatalf("resume: got error %v, want none", err)
	}
	if s := said(); s != "" {
		t.Errorf("opened after the import: got log %q, want none", s)
	}
}
