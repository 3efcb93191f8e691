package talkbase

import (
	"context"
	"log/slog"

	"go.uber.org/fx"

	"github.com/talkbase/talkbase/embedding"
	"github.com/talkbase/talkbase/migration"
	"github.com/talkbase/talkbase/services"
)

// Module opens a database when the application starts and closes it when it stops. The host
// supplies a Config (fx.Supply(talkbase.Config{…})) and may provide a *slog.Logger, which is used
// unless the Config has one. It provides what Result lists; nothing else leaves the module, so
// that it lives beside a host's own database and logger.
//
// Opening happens in OnStart and is quick: it may create the schema, and never imports data. Before
// that every call returns repo.ErrNotReady, after OnStop repo.ErrClosed.
var Module = fx.Module("talkbase", fx.Provide(newModule))

// Params is what the module takes from the application.
type Params struct {
	fx.In

	Lifecycle fx.Lifecycle
	Config    Config
	Logger    *slog.Logger `optional:"true"`
	// Embedder is used unless the Config has one.
	Embedder embedding.Embedder `optional:"true"`
}

// Result is what the module gives to the application. All of it is one database.
type Result struct {
	fx.Out

	DB            *DB
	Presenter     services.Presenter
	Conversations services.ConversationStore
	Messages      services.MessageStore
	Attachments   services.AttachmentStore
	Knowledge     services.KnowledgeStore
	Search        services.Searcher
	Embeddings    services.Embeddings
	Transactor    services.Transactor
	Health        services.Health
	Schema        migration.SchemaManager
	Migrator      migration.Migrator
	Backups       migration.Backups
}

func newModule(p Params) (Result, error) {
	cfg := p.Config
	if cfg.Logger == nil {
		cfg.Logger = p.Logger
	}
	if cfg.Embedder == nil {
		cfg.Embedder = p.Embedder
	}
	db, err := newDB(cfg)
	if err != nil {
		return Result{}, err
	}
	p.Lifecycle.Append(fx.Hook{
		OnStart: db.start,
		OnStop:  func(context.Context) error { return db.Close() },
	})
	return Result{
		DB: db, Presenter: db, Conversations: db, Messages: db, Attachments: db, Knowledge: db,
		Search: db, Embeddings: db, Transactor: db, Health: db, Schema: db, Migrator: db, Backups: db,
	}, nil
}
