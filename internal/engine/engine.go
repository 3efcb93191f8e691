// Package engine is the one seam between SQLite and Postgres. Everything that differs between the
// two is behind the Engine interface; nothing above this package asks which engine it is on.
package engine

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/pressly/goose/v3"
	"golang.org/x/sync/semaphore"
	"gorm.io/gorm"

	"github.com/talkbase/talkbase/internal/text"
	"github.com/talkbase/talkbase/memory"
	"github.com/talkbase/talkbase/models"
)

// The names of the engines.
const (
	SQLite   = "sqlite"
	Postgres = "postgres"
)

// Options is what Open needs to know; the root package's Config resolves to it.
type Options struct {
	// DSN names the database, unless SQLDB or Dialector is set.
	DSN string
	// SQLDB is a host's own pool. It is not closed.
	SQLDB *sql.DB
	// Dialector is a host's own gorm dialector.
	Dialector gorm.Dialector
	// Name says which engine SQLDB speaks when its driver does not tell.
	Name string
	// Schema is the Postgres schema that holds everything; "" is the connection's own.
	Schema string
	// NoVectors leaves the knowledge tables' vectors unused.
	NoVectors bool
	// Synchronous is SQLite's PRAGMA synchronous: FULL or NORMAL.
	Synchronous string
	// SharedBuffers, WorkMem and MaintenanceWorkMem are in bytes.
	SharedBuffers, WorkMem, MaintenanceWorkMem int64
	// SketchCache bounds the memory for SQLite's sketches of vectors, in bytes; DefaultSketchCache when 0.
	SketchCache int64
	// MaxConns bounds the connections (SQLite: the readers).
	MaxConns int
	// BusyTimeout bounds how long a call waits for the writer, a lock or a connection.
	BusyTimeout time.Duration
	// Logger receives what the engine has to say. Never nil.
	Logger *slog.Logger
	// Observer is told of every statement; nil for none.
	Observer *Observer
	// Memory is shared by all that needs much of it; nil for no limit.
	Memory *memory.Manager
	// Given holds the settings that were not left to their defaults, by their names in Config.
	Given map[string]string
}

// cannotSet says in the log which of the settings that were given have no effect here, and why.
func (o Options) cannotSet(ctx context.Context, why string, names ...string) {
	for _, name := range names {
		if v, ok := o.Given[name]; ok {
			o.Logger.WarnContext(ctx, "setting has no effect", slog.String("setting", name), slog.String("value", v), slog.String("reason", why))
		}
	}
}

// perConnection are the settings that belong to connections, which a host makes for its own pool.
var perConnection = []string{"MemoryLimit", "SharedBuffers", "WorkMem", "MaintenanceWorkMem", "Synchronous", "MaxConns"}

// Engine is one open database. Implementations are in this package only.
//
// Every *gorm.DB an Engine returns carries the ctx it was asked with. Errors wrap the sentinels.
type Engine interface {
	// Name is SQLite or Postgres.
	Name() string
	// Reader returns a handle for reading outside a transaction.
	Reader(ctx context.Context) (*gorm.DB, error)
	// Begin starts a transaction that may write. It waits at most BusyTimeout for its turn, then
	// returns ErrBusy.
	Begin(ctx context.Context) (*Tx, error)
	// BeginRead starts a transaction that sees the database as of one moment.
	BeginRead(ctx context.Context) (*Tx, error)
	// Frugal has tx, begun by this engine, go through much data with little memory until it is told that
	// this is over.
	Frugal(ctx context.Context, tx *gorm.DB) (over func(), err error)
	// Gorm wraps a transaction the host began itself on this database.
	Gorm(ctx context.Context, tx *sql.Tx) (*gorm.DB, error)
	// SQL returns the pool that schema work runs on.
	SQL() *sql.DB
	// Vectors is nil when vectors can be stored and searched, else an error wrapping ErrUnsupported.
	Vectors() error
	// EnableVectors makes vectors available where the database allows it; it runs after the schema is up.
	EnableVectors(ctx context.Context, ddl string) error
	// Goose says how the schema's steps are run.
	Goose() (Migrations, error)
	// LockSuffix is what a SELECT needs at its end to lock the rows it reads, or "".
	LockSuffix() string
	// AnyOf returns the condition that a text column holds one of the keys, and what it binds. The SQL is
	// the same for any number of them.
	AnyOf(column string, keys []string) (where string, arg any, err error)
	// BulkInsert writes rows given in the order of columns, as fast as the engine can, inside tx. Text that
	// cannot be stored is ErrText.
	BulkInsert(ctx context.Context, tx *gorm.DB, table string, columns []string, rows [][]any) error
	// UpsertVectors inserts vectors and replaces those whose id is known, inside tx.
	UpsertVectors(ctx context.Context, tx *gorm.DB, rows []models.KnowledgeVector) error
	// ReserveIDs sets n ids of a table's integer key aside, ascending. The rows are then inserted
	// with these ids in the same transaction.
	ReserveIDs(ctx context.Context, tx *gorm.DB, table, key string, n int) ([]int64, error)
	// VectorBytes is the SQL that reads a column of vectors as bytes, bit for bit and without text to
	// parse, and VectorOf the vector that such bytes are.
	VectorBytes(column string) string
	VectorOf(b []byte) (models.Vector, error)
	// BindVector turns a vector into what BulkInsert's rows hold.
	BindVector(v []float32) any
	// AddTerms indexes documents under their row ids, which must not be in the index: the schema's
	// triggers take a row out when it is deleted or its text changes.
	AddTerms(ctx context.Context, tx *gorm.DB, table string, docs []TermDoc) error
	// DeleteTerms takes rows out of the index.
	DeleteTerms(ctx context.Context, tx *gorm.DB, table string, ids []int64) error
	// MatchTerms returns the SQL that finds q in a terms table under the alias t.
	MatchTerms(table string, q text.Query) TermMatch
	// FilterFiles writes f as conditions on knowledge_files under the alias f, beginning with AND; param
	// binds a value and returns its placeholder.
	FilterFiles(f FileFilter, param func(any) string) string
	// Nearest finds the vectors of one base nearest to q.Vector, nearest first, ties by vector id. It
	// returns fewer than q.K only where no more pass the filters. An index may miss some that are near.
	Nearest(ctx context.Context, db *gorm.DB, q NearestQuery) ([]Neighbor, error)
	// Introspect describes the schema that is there.
	Introspect(ctx context.Context) (Schema, error)
	// Exclusive runs f while no other process that asks for the same changes the schema or its indexes.
	Exclusive(ctx context.Context, f func(ctx context.Context) error) error
	// CreateIndex creates one index if it is missing, without blocking writers where the engine can.
	// It reports whether it was created.
	CreateIndex(ctx context.Context, ix IndexSpec) (bool, error)
	// DropForLoad drops, inside tx, what slows a load into empty tables down: indexes that keep no key
	// unique, what is counted for each row and can as well be for all at once, and, where the rows are known
	// to have their parents, foreign keys. It returns what it dropped in an order in which Restore can make
	// it again, which it does unless it is there. What cascades would have deleted meanwhile is deleted then.
	DropForLoad(ctx context.Context, tx *gorm.DB, parentsKnown bool) ([]Dropped, error)
	Restore(ctx context.Context, tx *gorm.DB, d Dropped) error
	// VectorIndex describes the index of a kind, "" for the engine's choice, that speeds up similarity
	// queries on base; without a name there is none, and why says why, if it is worth saying.
	VectorIndex(base models.KnowledgeBase, kind string, rows int64) (ix IndexSpec, why string)
	// Snapshot writes a consistent copy of the database to path, or returns ErrUnsupported.
	Snapshot(ctx context.Context, path string) error
	// State says what the database holds before the schema is looked at.
	State(ctx context.Context) (State, error)
	// DropAll drops everything talkbase created.
	DropAll(ctx context.Context) error
	// HasTable reports whether a table of the schema is there, as db sees it.
	HasTable(ctx context.Context, db *gorm.DB, table string) (bool, error)
	// LockTables keeps others from writing to tables until tx ends; they can be read.
	LockTables(ctx context.Context, tx *gorm.DB, tables []string) error
	// Health tells of the engine's state.
	Health
	// Close closes what the engine opened.
	Close() error
}

// Migrations says how the schema's steps are run: goose's dialect and lock, and the folder they are in.
type Migrations struct {
	Dialect goose.Dialect
	Options []goose.ProviderOption
	Folder  string
}

// State says what a database holds.
type State struct {
	// Empty is true when there are no tables at all.
	Empty bool
	// Shared is true for a server's database, which other programs may be using: its schema is not
	// changed without being asked.
	Shared bool
	// Versioned is true when the table of schema versions is there.
	Versioned bool
	// Foreign names a table that is in the way of talkbase's own, "" for none.
	Foreign string
	// Path is the file, "" when the database is not one.
	Path string
}

// VersionTable is where goose keeps the schema's version.
const VersionTable = "talkbase_schema_version"

// TermDoc is what the text index holds of one row.
type TermDoc struct {
	ID  int64
	Doc text.Document
}

// TermMatch is the SQL to search a terms table aliased t.
type TermMatch struct {
	// Key is the column that holds the row id.
	Key string
	// Where and Rank are SQL; lower rank is better. Args bind the placeholders of each.
	Where    string
	Args     []any
	Rank     string
	RankArgs []any
}

// NearestQuery asks for the K vectors of Base nearest to Vector.
type NearestQuery struct {
	Base   models.KnowledgeBase
	Vector []float32
	Metric models.Metric
	K      int
	// MaxDistance drops what is farther.
	MaxDistance *float64
	// Files limits the answer to chunks of some files.
	Files FileFilter
	// Exact compares every vector, without the help of an index.
	Exact bool
	// Index, if it is not nil, is set to the kind of index that gave the answer: IndexSketches, IndexHNSW,
	// IndexIVFFlat, or "" where vectors were compared one by one.
	Index *string
}

// The kinds of vector indexes.
const (
	IndexSketches = "sketches"
	IndexHNSW     = "hnsw"
	IndexIVFFlat  = "ivfflat"
)

// answeredBy notes which index answered.
func (q NearestQuery) answeredBy(index string) {
	if q.Index != nil {
		*q.Index = index
	}
}

// Neighbor is one answer.
type Neighbor struct {
	VectorID string
	ChunkID  string
	FileID   string
	Distance float64
	// Content, FileName, FilePath and ChunkIndex come from the chunk and the file.
	Content    string
	ChunkIndex int64
	FileName   string
	FilePath   string
	FileStatus models.TaskStatus

	seq int64 // the row, on SQLite
}

// IndexSpec names an index and the SQL after "ON table".
type IndexSpec struct {
	Name   string
	Table  string
	Method string // "" or USING clause's method
	Body   string // "(a, b DESC)" and what follows it
	// Base and Rows are what an index of vectors is for, and how many there are.
	Base models.KnowledgeBase
	Rows int64
	// AnyKind keeps an index of vectors that is of another kind.
	AnyKind bool
}

// Dropped is an index, a foreign key or a trigger that was dropped for the time of a load.
type Dropped struct {
	Name string `json:"name"`
	// SQL are the statements that create it.
	SQL []string `json:"sql"`
	// Text says that it is of the text index.
	Text bool `json:"text,omitempty"`
}

// Tx is one transaction on its own connection.
type Tx struct {
	DB     *gorm.DB
	commit func() error
	done   func()
	roll   func() error
}

// Commit ends the transaction; the connection goes back.
func (t *Tx) Commit() error { defer t.done(); return t.commit() }

// Rollback undoes the transaction; the connection goes back.
func (t *Tx) Rollback() error { defer t.done(); return t.roll() }

// Open opens the database that o names.
func Open(ctx context.Context, o Options) (Engine, error) {
	if o.BusyTimeout <= 0 {
		o.BusyTimeout = 5 * time.Second
	}
	switch {
	case o.Dialector != nil:
		return openDialector(ctx, o)
	case o.SQLDB != nil:
		return openSQLDB(ctx, o)
	}
	t, err := ParseDSN(o.DSN)
	if err != nil {
		return nil, err
	}
	if t.Engine == Postgres {
		return openPostgresDSN(ctx, o, t.DSN)
	}
	return openSQLiteFile(ctx, o, t)
}

func openSQLDB(ctx context.Context, o Options) (Engine, error) {
	name := o.Name
	if name == "" {
		name = engineOfDriver(o.SQLDB)
	}
	switch name {
	case SQLite:
		return openSQLitePool(ctx, o, o.SQLDB)
	case Postgres:
		return openPostgresPool(ctx, o, o.SQLDB)
	default:
		return nil, Invalidf("cannot tell which engine the driver %T speaks: set Config.Engine to %q or %q", o.SQLDB.Driver(), SQLite, Postgres)
	}
}

// openDialector lets the host's dialector open its pool and then goes the way of a host's pool.
func openDialector(ctx context.Context, o Options) (Engine, error) {
	name := o.Dialector.Name()
	if name != SQLite && name != Postgres {
		return nil, Invalidf("talkbase runs on %q and %q, not on gorm's %q", SQLite, Postgres, name)
	}
	g, err := gorm.Open(o.Dialector, &gorm.Config{Logger: newGormLogger(o)})
	if err != nil {
		return nil, err
	}
	pool, err := g.DB()
	if err != nil {
		return nil, err
	}
	o.SQLDB, o.Name = pool, name
	return openSQLDB(ctx, o)
}

// turns hands out the right to hold a transaction: one for SQLite's writer; on Postgres one fewer
// than there are connections, so that a plain read inside a transaction always finds one.
type turns struct {
	sem  *semaphore.Weighted
	wait time.Duration
}

func newTurns(n int, wait time.Duration) *turns {
	return &turns{sem: semaphore.NewWeighted(int64(max(n, 1))), wait: wait}
}

func (t *turns) take(ctx context.Context) error {
	if t.sem.TryAcquire(1) {
		return nil
	}
	wctx, cancel := context.WithTimeout(ctx, t.wait)
	defer cancel()
	if err := t.sem.Acquire(wctx, 1); err != nil {
		if ctx.Err() != nil {
			return Ended(ctx)
		}
		return fmt.Errorf("%w: waited %s for another transaction to end; inside a transaction, pass on the ctx that its function received", ErrBusy, t.wait)
	}
	return nil
}

func (t *turns) give() { t.sem.Release(1) }

// pool is where transactions are begun.
type pool struct {
	db       *sql.DB
	root     *gorm.DB
	classify func(error) error
	observer *Observer
	// statements stay prepared from one transaction to the next; nil where the driver does that.
	statements *statements
}

// begin starts a transaction on a connection of its own and wraps it for gorm. The connection is
// taken explicitly so that drivers can be reached through it.
func begin(ctx context.Context, p pool, turns *turns, opts *sql.TxOptions, first string) (t *Tx, err error) {
	start := time.Now()
	defer func() { p.observer.statement(ctx, start, "BEGIN", -1, err) }()
	if err := turns.take(ctx); err != nil {
		return nil, err
	}
	actx, cancel := context.WithTimeout(ctx, turns.wait)
	if p.statements != nil {
		p.statements.prepare(actx)
	}
	conn, err := p.db.Conn(actx)
	cancel()
	if err != nil {
		turns.give()
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			return nil, fmt.Errorf("%w: no free connection within %s", ErrBusy, turns.wait)
		}
		return nil, withEnd(ctx, p.classify(err))
	}
	var patience time.Duration
	if first != "" { // a host's pool may not wait for another process of itself
		patience = turns.wait
	}
	var tx *sql.Tx
	err = retryBusy(ctx, patience, func() (err error) {
		if tx, err = conn.BeginTx(ctx, opts); err != nil || first == "" {
			return err
		}
		if _, err = tx.ExecContext(ctx, first); err != nil {
			_ = tx.Rollback()
		}
		return err
	})
	if err != nil {
		_ = conn.Close()
		turns.give()
		return nil, withEnd(ctx, p.classify(err))
	}
	return &Tx{
		DB: withPool(ctx, p.root, tx, conn, p.statements),
		commit: func() error {
			return p.observed(ctx, "COMMIT", func() error { return withEnd(ctx, p.classify(tx.Commit())) })
		},
		roll: func() error {
			return p.observed(ctx, "ROLLBACK", func() error { return p.classify(tx.Rollback()) })
		},
		done: func() { _ = conn.Close(); turns.give() },
	}, nil
}

// observed tells of a statement that changes no rows.
func (p pool) observed(ctx context.Context, query string, f func() error) error {
	start := time.Now()
	err := f()
	p.observer.statement(ctx, start, query, -1, err)
	return err
}

// connKey carries the connection of a transaction for what only the driver can do.
const connKey = "talkbase:conn"

// withPool returns a handle whose statements run in tx.
func withPool(ctx context.Context, root *gorm.DB, tx *sql.Tx, conn *sql.Conn, prepared *statements) *gorm.DB {
	g := root.Session(&gorm.Session{NewDB: true, Context: ctx})
	if conn != nil {
		g = g.Set(connKey, conn)
	}
	g = g.Session(&gorm.Session{Context: ctx})
	g.Statement.ConnPool = tx
	if prepared != nil {
		g.Statement.ConnPool = newPreparedTx(tx, prepared)
	}
	return g
}

// connOf returns the connection of a transaction begun by Begin, or nil for one a host began.
func connOf(tx *gorm.DB) *sql.Conn {
	if v, ok := tx.Get(connKey); ok {
		return v.(*sql.Conn)
	}
	return nil
}
