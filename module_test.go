package talkbase_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/fx"
	"go.uber.org/fx/fxtest"

	"github.com/talkbase/talkbase"
	"github.com/talkbase/talkbase/embedding"
	"github.com/talkbase/talkbase/migration"
	"github.com/talkbase/talkbase/models"
	"github.com/talkbase/talkbase/repo"
	"github.com/talkbase/talkbase/services"
)

// hostDB is a database a larger application has for itself.
type hostDB struct{ *sql.DB }

// notes is a part of the larger application that depends on one role only.
type notes struct{ conversations services.ConversationStore }

func hostOptions(path string, cfg talkbase.Config, log *bytes.Buffer) fx.Option {
	return fx.Options(
		fx.NopLogger,
		fx.Supply(cfg),
		fx.Provide(
			func() *slog.Logger {
				return slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
			},
			func(lc fx.Lifecycle) (hostDB, *sql.DB, error) {
				db, err := sql.Open("sqlite", path)
				lc.Append(fx.StopHook(func() error { return db.Close() }))
				return hostDB{db}, db, err
			},
			func(c services.ConversationStore) notes { return notes{c} },
		),
		talkbase.Module,
	)
}

func TestModuleInsideALargerApplication(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	cfg := talkbase.Config{DSN: filepath.Join(t.TempDir(), "chat.db")}
	own := filepath.Join(t.TempDir(), "host.db")
	if err := fx.ValidateApp(hostOptions(own, cfg, &log), fx.Invoke(func(notes, services.Presenter) {})); err != nil {
		t.Fatalf("ValidateApp: %v", err)
	}
	var (
		n        notes
		p        services.Presenter
		k        services.KnowledgeStore
		schema   migration.SchemaManager
		migrator migration.Migrator
		health   services.Health
		host     hostDB
		db       *talkbase.DB
	)
	app := fxtest.New(t, hostOptions(own, cfg, &log), fx.Populate(&n, &p, &k, &schema, &migrator, &health, &host, &db))
	ctx := context.Background()

	for name, err := range map[string]error{
		"read":        errOf(n.conversations.CountConversations(ctx)),
		"write":       errOf(p.CreateConversation(ctx, models.NewConversation("x"))),
		"transaction": p.WithTransaction(ctx, func(context.Context, *repo.Tx) error { return nil }),
		"begin":       errOf(p.Begin(ctx)),
		"knowledge":   errOf(k.ListBases(ctx)),
		"version":     errOf(schema.SchemaVersion(ctx)),
		"validate":    errOf(schema.ValidateSchema(ctx)),
		"up":          schema.MigrateSchema(ctx, 1),
		"reset":       schema.Reset(ctx, nil),
		"indexes":     errOf(schema.CreateOptimalIndexes(ctx)),
		"gorm":        errOf(p.Gorm(ctx)),
		"stats":       errOf(p.GetStatistics(ctx)),
		"integrity":   errOf(health.ValidateIntegrity(ctx)),
		"optimize":    errOf(health.Optimize(ctx, services.OptimizeOptions{})),
		"explain":     errOf(health.AnalyzeQuery(ctx, "SELECT 1")),
		"ready":       db.Ready(ctx),
	} {
		if !errors.Is(err, repo.ErrNotReady) {
			t.Errorf("%s before start: got %v, want ErrNotReady", name, err)
		}
	}

	app.RequireStart()
	c, err := n.conversations.CreateConversation(ctx, models.NewConversation("inside fx"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := p.GetConversation(ctx, c.ConvID); err != nil || got.Title != "inside fx" {
		t.Errorf("the presenter reads %+v, %v: want what the role wrote", got, err)
	}
	if v, err := schema.SchemaVersion(ctx); err != nil || v != schema.LatestSchemaVersion() {
		t.Errorf("schema version %d, %v: want %d", v, err, schema.LatestSchemaVersion())
	}
	if _, err := migrator.Import(ctx, migration.ImportOptions{Paths: []string{filepath.Join(t.TempDir(), "missing")}}); err == nil {
		t.Error("importing a file that is not there: got no error")
	}
	if err := host.PingContext(ctx); err != nil {
		t.Errorf("the host's database: %v", err)
	}
	app.RequireStop()
	if _, err := p.CountConversations(ctx); !errors.Is(err, repo.ErrClosed) {
		t.Errorf("after stop: got %v, want ErrClosed", err)
	}
	if !strings.Contains(log.String(), "schema step") {
		t.Error("the host's logger received nothing")
	}
	if strings.Contains(log.String(), "inside fx") {
		t.Error("the log holds a value of a query")
	}
}

func errOf[T any](_ T, err error) error { return err }

func TestModuleThatCannotOpenStopsTheApplication(t *testing.T) {
	t.Parallel()
	cfg := talkbase.Config{DSN: filepath.Join(t.TempDir(), "no", "such", "folder.db")}
	var db *talkbase.DB
	app := fx.New(fx.NopLogger, fx.Supply(cfg), talkbase.Module, fx.Populate(&db))
	if err := app.Start(context.Background()); !errors.Is(err, repo.ErrInvalid) {
		t.Errorf("start: got %v, want ErrInvalid", err)
	}
}

func TestModuleRefusesABadConfiguration(t *testing.T) {
	t.Parallel()
	app := fx.New(fx.NopLogger, fx.Supply(talkbase.Config{}), talkbase.Module, fx.Invoke(func(*talkbase.DB) {}))
	if !errors.Is(app.Err(), repo.ErrInvalid) {
		t.Errorf("got %v, want ErrInvalid", app.Err())
	}
}

func TestModuleTakesTheHostsEmbedder(t *testing.T) {
	t.Parallel()
	var e services.Embeddings
	var k services.KnowledgeStore
	app := fxtest.New(t, talkbase.Module, fx.NopLogger,
		fx.Supply(talkbase.Config{DSN: "sqlite::memory:", Logger: slog.New(slog.DiscardHandler)}),
		fx.Provide(func() embedding.Embedder { return embedding.HashedWords(8) }), fx.Populate(&e, &k))
	app.RequireStart()
	defer app.RequireStop()
	if _, err := k.CreateBase(t.Context(), models.KnowledgeBase{ID: "kb", Dimensions: 8}); err != nil {
		t.Fatal(err)
	}
	if _, err := e.SearchHybrid(t.Context(), repo.HybridQuery{Text: "a question", BaseID: "kb"}); err != nil {
		t.Errorf("a hybrid search from text: got %v, want the host's embedder used", err)
	}
}
