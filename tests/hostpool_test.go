package tests_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver pgx
	"gorm.io/driver/postgres"
	"gorm.io/driver/sqlite"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/talkbase/talkbase"
	"github.com/talkbase/talkbase/models"
	"github.com/talkbase/talkbase/repo"
	"github.com/talkbase/talkbase/tests"
)

// sqlitePool opens a pool as a host does that knows what SQLite needs.
func sqlitePool(t testing.TB) *sql.DB {
	t.Helper()
	pool, err := sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "host.db")+
		"?_pragma=busy_timeout(60000)&_pragma=journal_mode(WAL)&_pragma=foreign_keys(1)&_pragma=recursive_triggers(1)&_pragma=synchronous(NORMAL)")
	if err != nil {
		t.Fatalf("open: got error %v, want none", err)
	}
	pool.SetMaxOpenConns(6)
	closeLast(t, pool)
	return pool
}

// postgresPool opens a pool whose connections use a schema of their own.
func postgresPool(t testing.TB) *sql.DB {
	t.Helper()
	dsn := postgresDSN(t)
	schema := schemaName(t, dsn)
	admin(t, dsn, "CREATE SCHEMA "+schema)
	pool, err := sql.Open("pgx", withParams(t, dsn, map[string]string{"search_path": schema + ",public", "lock_timeout": "2000"}))
	if err != nil {
		t.Fatalf("open: got error %v, want none", err)
	}
	pool.SetMaxOpenConns(6)
	closeLast(t, pool)
	return pool
}

// closeLast closes a host's pool, which must still work after talkbase was closed.
func closeLast(t testing.TB, pool *sql.DB) {
	t.Cleanup(func() {
		if err := pool.Ping(); err != nil {
			t.Errorf("the host's pool after talkbase was closed: got error %v, want none", err)
		}
		if err := pool.Close(); err != nil {
			t.Errorf("close the pool: got error %v, want none", err)
		}
	})
}

// runPool runs what may depend on who opened the pool.
func runPool(t *testing.T, pool func(testing.TB) *sql.DB) {
	skip := map[tests.Category]string{}
	for _, c := range []tests.Category{
		tests.Conversations, tests.Messages, tests.Attachments, tests.Paging, tests.Search, tests.HostileText, tests.Drift, tests.Large,
	} {
		skip[c] = "the same statements run on a pool of talkbase's own"
	}
	tests.Run(t, tests.Suite{
		Open: func(t testing.TB, configure func(*talkbase.Config)) *talkbase.DB {
			return fresh(t, talkbase.Config{SQLDB: pool(t)}, configure)
		},
		Skip: secondWay(skip),
	})
}

func TestSQLiteHostPool(t *testing.T) {
	t.Parallel()
	runPool(t, sqlitePool)
}

func TestPostgresHostPool(t *testing.T) {
	t.Parallel()
	runPool(t, postgresPool)
}

// joins runs a host's transactions through talkbase.
func joins(t *testing.T, pool *sql.DB, dialector func(gorm.ConnPool) gorm.Dialector) {
	t.Helper()
	ctx := t.Context()
	db := open(t, talkbase.Config{SQLDB: pool, Performance: talkbase.PerformanceConfig{MaxConns: 4}})
	if _, err := db.CreateBase(ctx, models.KnowledgeBase{ID: "kb", Dimensions: 2, Metric: models.MetricL2}); err != nil {
		t.Fatalf("create base: got error %v, want none", err)
	}
	exists := func(id string) bool {
		_, err := db.GetConversation(ctx, id)
		if err != nil && !errors.Is(err, repo.ErrNotFound) {
			t.Errorf("get %s: got error %v, want none or %v", id, err, repo.ErrNotFound)
		}
		return err == nil
	}
	// work writes everything that is written in a way of its own inside a host's transaction.
	work := func(ctx context.Context, id string) error {
		if _, err := db.CreateConversation(ctx, models.Conversation{ConvID: id, Title: "title of " + id}); err != nil {
			return err
		}
		if _, err := db.CreateConversation(ctx, models.Conversation{ConvID: id}); !errors.Is(err, repo.ErrConflict) {
			t.Errorf("create twice: got error %v, want %v", err, repo.ErrConflict)
		}
		undo := errors.New("undo")
		err := db.WithTransaction(ctx, func(ctx context.Context, tx *repo.Tx) error {
			if _, err := db.InsertMessage(ctx, models.Message{ConversationID: id, Role: models.RoleUser}); err != nil {
				return err
			}
			if err := tx.Commit(); !errors.Is(err, repo.ErrInvalid) {
				t.Errorf("commit of a host's transaction: got error %v, want %v", err, repo.ErrInvalid)
			}
			return undo
		})
		if !errors.Is(err, undo) {
			t.Errorf("nested that fails: got error %v, want its own", err)
		}
		_, err = db.InsertMessage(ctx, models.Message{ConversationID: id, Role: models.RoleUser, Content: "walnut"})
		if err != nil {
			return err
		}
		if _, err := db.InsertFile(ctx, models.KnowledgeFile{ID: id, BaseID: "kb"}); err != nil {
			return err
		}
		if _, err := db.InsertChunks(ctx, []models.KnowledgeChunk{{ID: id, FileID: id, Content: "chunk", Status: models.TaskProcessed}}); err != nil {
			return err
		}
		for range 2 { // new, then known
			if _, err := db.UpsertVectors(ctx, []models.KnowledgeVector{{FileID: id, ChunkID: id, Embedding: []float32{1, 2}}}); err != nil {
				return err
			}
		}
		got, err := db.SimilarityQuery(ctx, repo.SimilarityQuery{BaseID: "kb", Vector: []float32{1, 2}})
		if err == nil && len(got) == 0 {
			err = errors.New("the vector is not found inside")
		}
		if exists(id) {
			t.Errorf("%s is seen outside before the host commits", id)
		}
		return err
	}
	check := func(what string, rows int) {
		t.Helper()
		hits, err := db.SearchText(ctx, repo.TextQuery{Query: "walnut"})
		if err != nil || len(hits) != rows {
			t.Errorf("%s: got %d found (%v), want %d", what, len(hits), err, rows)
		}
	}

	for _, commit := range []bool{false, true} {
		tx, err := pool.BeginTx(ctx, nil)
		if err != nil {
			t.Fatalf("begin: got error %v, want none", err)
		}
		joined, err := db.JoinTx(ctx, tx)
		if err != nil {
			t.Fatalf("join: got error %v, want none", err)
		}
		id := fmt.Sprint("sql ", commit)
		if err := work(joined, id); err != nil {
			t.Errorf("work in a host's transaction: got error %v, want none", err)
		}
		if commit {
			err = tx.Commit()
		} else {
			err = tx.Rollback()
		}
		if err != nil {
			t.Errorf("end: got error %v, want none", err)
		}
		if exists(id) != commit {
			t.Errorf("%s: got exists %t, want %t", id, !commit, commit)
		}
		if _, err := db.CreateConversation(joined, models.Conversation{}); !errors.Is(err, repo.ErrTxDone) {
			t.Errorf("write after the host ended its transaction: got error %v, want %v", err, repo.ErrTxDone)
		}
	}
	check("after a host's transactions", 1)

	for i, cfg := range []*gorm.Config{{}, {PrepareStmt: true, PrepareStmtTTL: 10 * 365 * 24 * time.Hour}} {
		cfg.Logger = logger.Discard
		g, err := gorm.Open(dialector(pool), cfg)
		if err != nil {
			t.Fatalf("gorm: got error %v, want none", err)
		}
		if _, err := db.JoinGorm(ctx, g); !errors.Is(err, repo.ErrInvalid) {
			t.Errorf("joining what is no transaction: got error %v, want %v", err, repo.ErrInvalid)
		}
		id := fmt.Sprint("gorm ", i)
		err = g.Transaction(func(tx *gorm.DB) error {
			joined, err := db.JoinGorm(ctx, tx)
			if err != nil {
				return err
			}
			return work(joined, id)
		})
		if err != nil || !exists(id) {
			t.Errorf("work in gorm's transaction: got error %v, want none", err)
		}
		undo := errors.New("undo")
		err = g.Transaction(func(tx *gorm.DB) error {
			joined, err := db.JoinGorm(ctx, tx)
			if err != nil {
				return err
			}
			return errors.Join(work(joined, "undone"), undo)
		})
		if !errors.Is(err, undo) || exists("undone") {
			t.Errorf("gorm's transaction that fails: got error %v and a row %t, want its own and none", err, exists("undone"))
		}
		if p, ok := g.ConnPool.(*gorm.PreparedStmtDB); ok {
			p.Close()
		}
	}
	check("after gorm's transactions", 3)

	// The host's gorm reads what talkbase wrote, and talkbase's handle is the host's to use.
	h, err := db.Gorm(ctx)
	if err != nil {
		t.Fatalf("gorm: got error %v, want none", err)
	}
	var n int64
	if err := h.Model(&models.Message{}).Count(&n).Error; err != nil || n != 3 {
		t.Errorf("messages: got %d (%v), want 3", n, err)
	}
}

func TestSQLiteJoin(t *testing.T) {
	t.Parallel()
	joins(t, sqlitePool(t), func(p gorm.ConnPool) gorm.Dialector { return sqlite.Dialector{DriverName: "sqlite", Conn: p} })
}

func TestPostgresJoin(t *testing.T) {
	t.Parallel()
	joins(t, postgresPool(t), func(p gorm.ConnPool) gorm.Dialector { return postgres.New(postgres.Config{Conn: p}) })
}

// brought checks a database that a host's dialector opened.
func brought(t *testing.T, d gorm.Dialector) {
	t.Helper()
	db := open(t, talkbase.Config{Dialector: d})
	if _, err := db.CreateConversation(t.Context(), models.Conversation{ConvID: "c", Title: "walnut"}); err != nil {
		t.Errorf("create: got error %v, want none", err)
	}
	if hits, err := db.SearchText(t.Context(), repo.TextQuery{Query: "walnut"}); err != nil || len(hits) != 1 {
		t.Errorf("search: got %d (%v), want 1", len(hits), err)
	}
	if r, err := db.ValidateSchema(t.Context()); err != nil || !r.OK {
		t.Errorf("validate: got %+v (%v), want no drift", r, err)
	}
}

func TestSQLiteDialector(t *testing.T) {
	t.Parallel()
	brought(t, sqlite.Dialector{DriverName: "sqlite", Conn: sqlitePool(t)})
}

func TestPostgresDialector(t *testing.T) {
	t.Parallel()
	brought(t, postgres.New(postgres.Config{Conn: postgresPool(t)}))
}

func TestSQLitePoolOfOne(t *testing.T) {
	t.Parallel()
	pool := sqlitePool(t)
	pool.SetMaxOpenConns(1)
	db := open(t, talkbase.Config{SQLDB: pool})
	err := db.WithTransaction(t.Context(), func(ctx context.Context, _ *repo.Tx) error {
		if _, err := db.CreateConversation(ctx, models.Conversation{ConvID: "c"}); err != nil {
			return err
		}
		_, err := db.ConversationWithMessages(ctx, "c")
		return err
	})
	if err != nil {
		t.Errorf("transaction on a pool of one: got error %v, want none", err)
	}
	for _, call := range []func() error{
		func() error { return db.Reset(t.Context(), nil) },
		func() error { return db.MigrateSchema(t.Context(), 0) },
		func() error { return db.MigrateSchema(t.Context(), 2) },
		func() error { _, err := db.CreateOptimalIndexes(t.Context()); return err },
	} {
		if err := call(); err != nil {
			t.Errorf("schema call on a pool of one: got error %v, want none", err)
		}
	}
}

func TestPostgresPoolRefusesSchema(t *testing.T) {
	t.Parallel()
	pool := postgresPool(t)
	refuses(t, "a pool with a schema", talkbase.Config{SQLDB: pool, Schema: "s"}, repo.ErrInvalid)
}
