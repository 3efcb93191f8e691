// Package talkbase is the data layer of an AI chat application: conversations, messages,
// attachments, and a knowledge base with vector search, in one database. A file of SQLite on a desktop,
// Postgres with pgvector on servers, the same calls and the same answers on both.
//
// Open gives a *DB, which has every call. In an fx application, Module provides the same. Package
// repo documents the calls and the errors, package models the rows, package migration the import of
// DeepChat's older files.
package talkbase

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	"github.com/talkbase/talkbase/embedding"
	"github.com/talkbase/talkbase/internal/engine"
	"github.com/talkbase/talkbase/migration"
	"github.com/talkbase/talkbase/repo"
	"github.com/talkbase/talkbase/services"
)

// DB is a database. It is safe for concurrent use.
type DB struct {
	services.Presenter
	migration.SchemaManager

	resolved resolved
	late     *engine.Late
	store    *repo.Store
	schema   *migration.Schema

	mu      sync.Mutex
	closed  bool
	backups backupLoop
}

// Open opens the database that cfg names. It creates the schema in a new SQLite file or an empty
// Postgres schema, and brings an older SQLite file up to date after writing a copy beside it.
//
// Errors wrap repo's sentinels: ErrInvalid for a configuration that cannot be, ErrUnavailable where
// nothing can be reached, ErrNotDatabase for a file that is not SQLite's, ErrForeignSchema where
// another program's tables are in the way, ErrSchemaOutdated and ErrSchemaNewer. No message holds the
// DSN's password.
func Open(ctx context.Context, cfg Config) (*DB, error) {
	db, err := newDB(cfg)
	if err != nil {
		return nil, err
	}
	if err := db.start(ctx); err != nil {
		return nil, err
	}
	return db, nil
}

// newDB builds everything that start then opens.
func newDB(cfg Config) (*DB, error) {
	r, err := cfg.resolve()
	if err != nil {
		return nil, engine.Wrap("open database", err)
	}
	late := &engine.Late{Observer: r.options.Observer, Memory: r.options.Memory}
	store := repo.NewStore(late, r.defaults)
	schema := migration.NewSchema(late, r.index, r.options.Logger)
	return &DB{
		Presenter: services.NewPresenter(store, schema, cfg.Embedder), SchemaManager: schema,
		resolved: r, late: late, store: store, schema: schema,
	}, nil
}

// start opens the engine and brings the schema to where it must be. After an error db is closed.
func (db *DB) start(ctx context.Context) error {
	e, err := engine.Open(ctx, db.resolved.options)
	if err != nil {
		return errors.Join(engine.Wrap("open database", err), db.Close())
	}
	db.late.Set(e)
	if err := db.schema.Prepare(ctx, db.resolved.migrate); err != nil {
		return errors.Join(err, db.Close())
	}
	db.warnOfUnfinished(ctx)
	db.startBackups()
	return nil
}

// warnOfUnfinished says that an import is under way or was cut off: what it does without for speed, the
// application is without as well until it is brought to an end.
func (db *DB) warnOfUnfinished(ctx context.Context) {
	runs, err := db.Bulk().UnfinishedImports(ctx)
	if err != nil {
		return // whoever asks will hear of it
	}
	for _, r := range runs {
		db.resolved.options.Logger.WarnContext(ctx, "an import is under way or was cut off: resume it, or roll it back", slog.String("run", r.ID), slog.String("phase", r.Phase))
	}
}

// Close closes the database. A pool that the host brought stays open. It may be called more than
// once; calls after it return ErrClosed.
func (db *DB) Close() error {
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.closed {
		return nil
	}
	db.closed = true
	db.backups.end()
	err := engine.Wrap("close database", db.late.Close())
	if db.resolved.closeLog != nil {
		err = errors.Join(err, db.resolved.closeLog.Close())
	}
	return err
}

// Ready returns nil when the database answers, else why it does not: ErrNotReady before it was
// opened, ErrClosed after Close, ErrUnavailable when it cannot be reached.
func (db *DB) Ready(ctx context.Context) error {
	r, err := db.late.Get().Reader(ctx)
	if err == nil {
		_, err = engine.One(ctx, r, engine.Value[int64], "SELECT 1")
	}
	return engine.Wrap("ready", err)
}

// Bulk returns the loader that an import writes through.
func (db *DB) Bulk() *repo.Bulk { return repo.NewBulk(db.store) }

// WithEmbedder returns the calls that make vectors of texts with other embedders than Config's, for
// knowledge bases of different models in one database.
func (db *DB) WithEmbedder(es ...embedding.Embedder) services.Embeddings {
	return services.NewPresenter(db.store, db.schema, es...)
}
