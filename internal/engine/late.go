package engine

import (
	"context"
	"database/sql"
	"sync/atomic"

	"gorm.io/gorm"
)

// Late is an engine that is opened after the things built on it: an fx application constructs
// everything first and opens it when it starts. Until then every way in returns ErrNotReady.
type Late struct{ engine atomic.Pointer[Engine] }

// Set makes e the engine.
func (l *Late) Set(e Engine) { l.engine.Store(&e) }

// Get returns the engine, or one that answers ErrNotReady.
func (l *Late) Get() Engine {
	if e := l.engine.Load(); e != nil {
		return *e
	}
	return unready{}
}

// unready answers what can be called before anything else; the rest needs a transaction or a
// handle, which it does not give out.
type unready struct{ Engine }

func (unready) Name() string                                    { return "" }
func (unready) Reader(context.Context) (*gorm.DB, error)        { return nil, ErrNotReady }
func (unready) Begin(context.Context) (*Tx, error)              { return nil, ErrNotReady }
func (unready) BeginRead(context.Context) (*Tx, error)          { return nil, ErrNotReady }
func (unready) Gorm(context.Context, *sql.Tx) (*gorm.DB, error) { return nil, ErrNotReady }
func (unready) Vectors() error                                  { return ErrNotReady }
func (unready) State(context.Context) (State, error)            { return State{}, ErrNotReady }
func (unready) Introspect(context.Context) (Schema, error)      { return Schema{}, ErrNotReady }
func (unready) DropAll(context.Context) error                   { return ErrNotReady }
func (unready) Goose() (Migrations, error)                      { return Migrations{}, ErrNotReady }
func (unready) CreateIndex(context.Context, IndexSpec) (bool, error) {
	return false, ErrNotReady
}
func (unready) Close() error { return nil }
