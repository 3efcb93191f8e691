package engine

import (
	"context"
	"database/sql"
	"sync/atomic"

	"gorm.io/gorm"

	"github.com/talkbase/talkbase/memory"
)

// Late is an engine that is opened after the things built on it: an fx application constructs
// everything first and opens it when it starts. Until then every way in returns ErrNotReady.
type Late struct {
	// Observer and Memory are the engine's, there from the beginning and after the end; nil for none.
	Observer *Observer
	Memory   *memory.Manager

	engine atomic.Pointer[Engine]
}

// Set makes e the engine.
func (l *Late) Set(e Engine) { l.engine.Store(&e) }

// Get returns the engine, or one that answers ErrNotReady.
func (l *Late) Get() Engine {
	if e := l.engine.Load(); e != nil {
		return *e
	}
	return unready{err: ErrNotReady}
}

// Close closes the engine, which from then on answers ErrClosed, also where a host's pool stays
// open. What is under way goes on with the engine it began with.
func (l *Late) Close() error {
	e := l.Get()
	l.Set(unready{Engine: e, err: ErrClosed, name: e.Name()})
	return e.Close()
}

// unready answers what can be called without an engine; the rest needs a transaction or a
// handle, which it does not give out.
type unready struct {
	Engine
	err  error
	name string
}

func (u unready) Name() string                                    { return u.name }
func (u unready) Reader(context.Context) (*gorm.DB, error)        { return nil, u.err }
func (u unready) Begin(context.Context) (*Tx, error)              { return nil, u.err }
func (u unready) BeginRead(context.Context) (*Tx, error)          { return nil, u.err }
func (u unready) Gorm(context.Context, *sql.Tx) (*gorm.DB, error) { return nil, u.err }
func (u unready) Vectors() error                                  { return u.err }
func (u unready) State(context.Context) (State, error)            { return State{}, u.err }
func (u unready) Introspect(context.Context) (Schema, error)      { return Schema{}, u.err }
func (u unready) DropAll(context.Context) error                   { return u.err }
func (u unready) Goose() (Migrations, error)                      { return Migrations{}, u.err }
func (u unready) Exclusive(context.Context, func(context.Context) error) error {
	return u.err
}

func (u unready) CreateIndex(context.Context, IndexSpec) (bool, error) {
	return false, u.err
}

func (u unready) DropForLoad(context.Context, *gorm.DB, bool) ([]Dropped, error) { return nil, u.err }
func (u unready) Restore(context.Context, *gorm.DB, Dropped) error               { return u.err }
func (u unready) Snapshot(context.Context, string) error                         { return u.err }
func (unready) Close() error                                                     { return nil }
