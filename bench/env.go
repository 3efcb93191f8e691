package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/talkbase/talkbase"
)

// The engines.
const (
	SQLite   = "sqlite"
	Postgres = "postgres"
)

// Env makes the databases that are measured, each once, and removes them at the end.
type Env struct {
	// DSN is the Postgres to make schemas in.
	DSN string
	// Log receives a line for each database made.
	Log io.Writer
	// Profile is a folder for the profiles of child processes, "" for none.
	Profile string

	dir     string
	loads   []string
	imports []Imported
	made    map[string]*Database
	close   []func() error
	notes   []func() string
	// groups are the comparisons that were made, with what they need in the databases.
	groups map[string][]Comparison
}

// NewEnv returns an Env that makes its files in a temporary folder.
func NewEnv(dsn string, log io.Writer) (*Env, error) {
	dir, err := os.MkdirTemp("", "talkbase-bench-")
	if err != nil {
		return nil, err
	}
	return &Env{DSN: dsn, Log: log, dir: dir, made: map[string]*Database{}, groups: map[string][]Comparison{}}, nil
}

// Close removes every database.
func (e *Env) Close() error {
	var errs []error
	for i := len(e.close) - 1; i >= 0; i-- {
		errs = append(errs, e.close[i]())
	}
	return errors.Join(append(errs, os.RemoveAll(e.dir))...)
}

// Loads says how long the loading of each database took, and what else is worth a line.
func (e *Env) Loads() []string {
	lines := slices.Clone(e.loads)
	for _, note := range e.notes {
		if line := note(); line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

// Database is one made database, opened by talkbase and by hand.
type Database struct {
	Engine string
	DB     *talkbase.DB
	Raw    Raw
	// Messages is how many it was made with.
	Messages int
	// LoadTime is how long that took.
	LoadTime time.Duration

	path, schema string
}

// Database returns the database of that name on an engine, making it with so many messages when
// it is first asked for.
func (e *Env) Database(ctx context.Context, engine, name string, messages int) (*Database, error) {
	key := engine + " " + name
	if d, ok := e.made[key]; ok {
		return d, nil
	}
	d := &Database{Engine: engine, Messages: messages, path: filepath.Join(e.dir, name+".db"), schema: "talkbase_bench_" + name}
	if engine == Postgres {
		if err := e.dropSchema(ctx, d.schema); err != nil {
			return nil, err
		}
		e.close = append(e.close, func() error { return e.dropSchema(context.Background(), d.schema) })
	}
	var err error
	if d.DB, err = e.open(ctx, d, ""); err != nil {
		return nil, err
	}
	if d.Raw, err = e.openRaw(ctx, d, "FULL"); err != nil {
		return nil, err
	}
	start := time.Now()
	if err := Load(ctx, d.DB, messages); err != nil {
		return nil, fmt.Errorf("load %s: %w", key, err)
	}
	d.LoadTime = time.Since(start)
	if err := d.Raw.Settle(ctx); err != nil {
		return nil, err
	}
	e.load(fmt.Sprintf("%s: %s messages made and loaded in %.1f s, %.0f a second.", key, count(messages), d.LoadTime.Seconds(), float64(messages)/d.LoadTime.Seconds()))
	e.made[key] = d
	return d, nil
}

func (e *Env) load(line string) {
	e.loads = append(e.loads, line)
	_, _ = fmt.Fprintln(e.Log, line)
}

// Relaxed returns d opened again with synchronous=NORMAL on both sides; it is for SQLite.
func (e *Env) Relaxed(ctx context.Context, d *Database) (*Database, error) {
	key := d.path + " relaxed"
	if r, ok := e.made[key]; ok {
		return r, nil
	}
	r := *d
	var err error
	if r.DB, err = e.open(ctx, d, "NORMAL"); err != nil {
		return nil, err
	}
	if r.Raw, err = e.openRaw(ctx, d, "NORMAL"); err != nil {
		return nil, err
	}
	e.made[key] = &r
	return &r, nil
}

func (e *Env) open(ctx context.Context, d *Database, synchronous string) (*talkbase.DB, error) {
	db, err := e.connect(ctx, d, synchronous)
	if err == nil {
		e.close = append(e.close, db.Close)
	}
	return db, err
}

// connect is open for a caller that closes the database.
func (e *Env) connect(ctx context.Context, d *Database, synchronous string) (*talkbase.DB, error) {
	cfg := talkbase.Config{DSN: d.path}
	if d.Engine == Postgres {
		cfg.DSN, cfg.Schema = e.DSN, d.schema
	}
	cfg.Performance.Synchronous = synchronous
	return talkbase.Open(ctx, cfg)
}

func (e *Env) openRaw(ctx context.Context, d *Database, synchronous string) (raw Raw, err error) {
	if d.Engine == Postgres {
		raw, err = OpenRawPostgres(ctx, e.DSN, d.schema)
	} else {
		raw, err = OpenRawSQLite(ctx, d.path, synchronous)
	}
	if err == nil {
		e.close = append(e.close, raw.Close)
	}
	return raw, err
}

func (e *Env) dropSchema(ctx context.Context, schema string) error {
	return e.exec(ctx, "DROP SCHEMA IF EXISTS "+pgx.Identifier{schema}.Sanitize()+" CASCADE")
}

// exec runs a statement on the server.
func (e *Env) exec(ctx context.Context, statement string) error {
	conn, err := pgx.Connect(ctx, e.DSN)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	_, err = conn.Exec(ctx, statement)
	return err
}
