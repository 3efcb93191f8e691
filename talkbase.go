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
	"io"
	"sync"
	"sync/atomic"

	"github.com/talkbase/talkbase/internal/engine"
	"github.com/talkbase/talkbase/migration"
	"github.com/talkbase/talkbase/repo"
	"github.com/talkbase/talkbase/services"
)

// DB is an open database. It is safe for concurrent use.
type DB struct {
	services.Presenter
	migration.SchemaManager

	engine   engine.Engine
	store    *repo.Store
	log      io.Closer
	closed   atomic.Bool
	closing  sync.Once
	closeErr error
}

// Open opens the database that cfg names. It creates the schema in a new SQLite file or an empty
// Postgres schema, and brings an older SQLite file up to date after writing a copy beside it.
//
// Errors wrap repo's sentinels: ErrInvalid for a configuration that cannot be, ErrUnavailable where
// nothing can be reached, ErrNotDatabase for a file that is not SQLite's, ErrForeignSchema where
// another program's tables are in the way, ErrSchemaOutdated and ErrSchemaNewer. No message holds the
// DSN's password.
func Open(ctx context.Context, cfg Config) (*DB, error) {
	r, err := cfg.resolve()
	if err != nil {
		return nil, engine.Wrap("open database", err)
	}
	db, err := open(ctx, r, cfg.Migrate)
	if err != nil {
		if r.closeLog != nil {
			err = errors.Join(err, r.closeLog.Close())
		}
		return nil, engine.Wrap("open database", err)
	}
	return db, nil
}

func open(ctx context.Context, r resolved, migrate bool) (_ *DB, err error) {
	e, err := engine.Open(ctx, r.options)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, e.Close())
		}
	}()
	schema, err := migration.NewSchema(e, r.index, r.options.Logger)
	if err != nil {
		return nil, err
	}
	if err := schema.Prepare(ctx, migrate); err != nil {
		return nil, err
	}
	store := repo.NewStore(e, r.defaults)
	return &DB{
		Presenter: services.NewPresenter(store), SchemaManager: schema,
		engine: e, store: store, log: r.closeLog,
	}, nil
}

// Close closes the database. A pool that the host brought stays open. It may be called more than
// once.
func (db *DB) Close() error {
	db.closing.Do(func() {
		db.closed.Store(true)
		db.closeErr = engine.Wrap("close database", db.engine.Close())
		if db.log != nil {
			db.closeErr = errors.Join(db.closeErr, db.log.Close())
		}
	})
	return db.closeErr
}

// Ready returns nil when the database answers, else why it does not: ErrClosed after Close,
// ErrUnavailable when it cannot be reached.
func (db *DB) Ready(ctx context.Context) error {
	if db.closed.Load() {
		return engine.Wrap("ready", engine.ErrClosed)
	}
	_, err := engine.One(ctx, db.engine.Reader(ctx), engine.Value[int64], "SELECT 1")
	return engine.Wrap("ready", err)
}

// Bulk returns the loader that an import writes through.
func (db *DB) Bulk() *repo.Bulk { return repo.NewBulk(db.store) }
