package talkbase

import (
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
	"gorm.io/gorm"

	"github.com/talkbase/talkbase/embedding"
	"github.com/talkbase/talkbase/internal/engine"
	"github.com/talkbase/talkbase/memory"
	"github.com/talkbase/talkbase/models"
	"github.com/talkbase/talkbase/repo"
)

// Config says which database to open and how. Only one of DSN, SQLDB and Dialector is needed; the
// zero value of everything else is its default.
type Config struct {
	// DSN names the database: sqlite:///path/file.db, sqlite::memory:, a bare path, or postgres://….
	// A database in memory is a private temporary file that Close removes.
	DSN string
	// SQLDB is a pool the host brings and closes itself. Foreign keys must be on (SQLite).
	SQLDB *sql.DB
	// Dialector is a gorm dialector the host brings instead.
	Dialector gorm.Dialector
	// Engine is "sqlite" or "postgres". It is needed only where SQLDB's driver does not tell.
	Engine string

	// Schema is the Postgres schema that holds everything; it is created if need be. "" is the first of
	// the connection's search path. SQLite has none.
	Schema string
	// Migrate lets Open bring an older Postgres schema up to date; without it that is
	// ErrSchemaOutdated. An SQLite file is always brought up to date, after a copy was written beside it.
	Migrate bool

	// Embedder makes vectors of texts for EmbedPending, SearchSimilar and SearchHybrid; without one they
	// return ErrUnsupported. Package embedding/openai is one for OpenAI-compatible servers.
	Embedder embedding.Embedder

	Vector      VectorConfig
	Performance PerformanceConfig
	Logging     LoggingConfig
	Backup      BackupConfig

	// Logger is the host's; Logging is then only about the level and slow queries. It never receives the
	// values of queries.
	Logger *slog.Logger
	// TracerProvider and MeterProvider are the host's of OpenTelemetry; without them nothing is traced and
	// measured. Calls and statements get spans, statements, connections and memory metrics, without the values
	// of queries and the server's address.
	TracerProvider trace.TracerProvider
	MeterProvider  metric.MeterProvider

	// Memory is shared with other databases of the program, in place of Performance.MemoryBudget.
	Memory *memory.Manager
}

// VectorConfig is about the knowledge base.
type VectorConfig struct {
	// Disabled opens without vectors: the knowledge calls return ErrUnsupported. The same happens on a
	// Postgres without pgvector.
	Disabled bool
	// Dimensions of the base "default" and of a base created without; 1536 when 0.
	Dimensions int
	// Metric of the base "default" and of a base created without; cosine when "".
	Metric models.Metric
	// Index is the kind of vector index CreateOptimalIndexes builds on Postgres: "hnsw", "ivfflat", or by
	// the number of vectors when "": HNSW for a base of up to a million; above IVFFlat, whose answers may take ten
	// times as long at the same recall, but which is built in minutes where HNSW takes hours. SQLite has its own.
	Index string
}

// PerformanceConfig sets how much memory the database and its calls may use. Sizes are written as Postgres writes
// them: 64kB, 256MB, 1GB, each unit 1,024 times the one before. A setting that was given and has no
// effect on the database at hand is named in a log line.
type PerformanceConfig struct {
	// MemoryBudget is what the calls of this process that need much memory may use together, 256MB when "":
	// imports, inserts of many rows, and the cache of vector sketches, which gives its part back when others
	// need it. Calls wait for each other to stay below it; DB.Memory shows it. Calls that need less than
	// 1 MB do not count, nor do the buffers below, which belong to the engine.
	MemoryBudget string
	// MemoryLimit stands in for SharedBuffers when that is "".
	MemoryLimit string
	// SharedBuffers is 256MB when "". SQLite: PRAGMA mmap_size of each connection, memory that the
	// operating system shares between them. Postgres: its server alone can set it; a log line says so.
	SharedBuffers string
	// WorkMem is 64MB when "". SQLite: PRAGMA cache_size of each reading connection. Postgres: work_mem.
	WorkMem string
	// MaintenanceWorkMem is 256MB when "". SQLite: PRAGMA cache_size of the writing connection, which
	// bounds what building an index sorts in memory. Postgres: maintenance_work_mem.
	MaintenanceWorkMem string
	// Synchronous is SQLite's PRAGMA synchronous: "FULL" (when ""), which survives a power cut with
	// every commit, or "NORMAL", which may lose the last ones but never damages the file.
	Synchronous string
	// MaxConns bounds the connections: on SQLite those that read, 4 or the number of processors when 0;
	// on Postgres all, 8 or four times the number of processors when 0.
	MaxConns int
	// BusyTimeout bounds how long a call waits for the writer, a lock or a connection before ErrBusy;
	// 5 s when 0.
	BusyTimeout time.Duration
}

// LoggingConfig is about log lines.
type LoggingConfig struct {
	// Level is "error", "warn" (when ""), "info" or "debug". At debug every statement is logged, without
	// its values.
	Level string
	// Destination is "stderr" (when ""), "stdout", or a file to append to, created 0600. It has no effect
	// with a Logger of the host's.
	Destination string
	// SlowQuery is from when on a statement is logged as a warning, 500 ms when 0, never when negative.
	SlowQuery time.Duration
}

// sizes are parsed with the units that Postgres has.
var sizeUnits = strings.NewReplacer("kB", "KiB", "MB", "MiB", "GB", "GiB", "TB", "TiB")

func parseSize(name, s, def string) (int64, error) {
	if s == "" {
		s = def
	}
	n, err := humanize.ParseBytes(sizeUnits.Replace(s))
	if err != nil || n == 0 || n > 1<<46 {
		return 0, engine.Invalidf("%s %q: write a size such as 64MB", name, s)
	}
	return int64(n), nil
}

// resolved is a Config whose every default is filled in.
type resolved struct {
	options  engine.Options
	defaults repo.BaseDefaults
	index    string
	migrate  bool
	backup   BackupConfig
	closeLog io.Closer
}

func (c Config) resolve() (r resolved, err error) {
	given := 0
	for _, is := range []bool{c.DSN != "", c.SQLDB != nil, c.Dialector != nil} {
		if is {
			given++
		}
	}
	if given != 1 {
		return r, engine.Invalidf("Config names %d databases: set one of DSN, SQLDB and Dialector", given)
	}
	p := c.Performance
	o := engine.Options{
		DSN: c.DSN, SQLDB: c.SQLDB, Dialector: c.Dialector, Name: c.Engine, Schema: c.Schema,
		NoVectors: c.Vector.Disabled, MaxConns: p.MaxConns, BusyTimeout: p.BusyTimeout,
	}
	shared := p.SharedBuffers
	if shared == "" {
		shared = p.MemoryLimit
	}
	if o.SharedBuffers, err = parseSize("SharedBuffers", shared, "256MB"); err != nil {
		return r, err
	}
	if o.WorkMem, err = parseSize("WorkMem", p.WorkMem, "64MB"); err != nil {
		return r, err
	}
	if o.MaintenanceWorkMem, err = parseSize("MaintenanceWorkMem", p.MaintenanceWorkMem, "256MB"); err != nil {
		return r, err
	}
	switch o.Synchronous = strings.ToUpper(p.Synchronous); o.Synchronous {
	case "", "FULL", "NORMAL":
	default:
		return r, engine.Invalidf("Synchronous %q: use FULL or NORMAL", p.Synchronous)
	}
	if p.MaxConns < 0 || p.BusyTimeout < 0 {
		return r, engine.Invalidf("MaxConns and BusyTimeout cannot be negative")
	}
	if err := c.resolveVectors(&r); err != nil {
		return r, err
	}
	if o.Memory = c.Memory; o.Memory == nil {
		budget, err := parseSize("MemoryBudget", p.MemoryBudget, "256MB")
		if err != nil {
			return r, err
		}
		o.Memory = memory.New(budget)
	} else if p.MemoryBudget != "" {
		return r, engine.Invalidf("Config names two memory budgets: set one of Memory and Performance.MemoryBudget")
	}
	if r.backup, err = c.Backup.resolve(); err != nil {
		return r, err
	}
	o.Given = map[string]string{}
	for name, v := range map[string]string{
		"Schema": c.Schema, "MemoryLimit": p.MemoryLimit, "SharedBuffers": p.SharedBuffers, "WorkMem": p.WorkMem,
		"MaintenanceWorkMem": p.MaintenanceWorkMem, "Synchronous": p.Synchronous, "Vector.Index": c.Vector.Index,
	} {
		if v != "" {
			o.Given[name] = v
		}
	}
	if p.MaxConns != 0 {
		o.Given["MaxConns"] = strconv.Itoa(p.MaxConns)
	}
	if o.Logger, r.closeLog, err = c.logger(); err != nil {
		return r, err
	}
	o.Observer = engine.NewObserver(o.Logger, c.Logging.SlowQuery)
	if err = o.Observer.Telemetry(c.TracerProvider, c.MeterProvider); err != nil && r.closeLog != nil {
		err = errors.Join(err, r.closeLog.Close())
	}
	r.options, r.migrate = o, c.Migrate
	return r, err
}

func (c Config) resolveVectors(r *resolved) error {
	r.defaults = repo.BaseDefaults{Dimensions: int64(c.Vector.Dimensions), Metric: c.Vector.Metric}
	if r.defaults.Dimensions == 0 {
		r.defaults.Dimensions = 1536
	}
	if r.defaults.Dimensions < 1 || r.defaults.Dimensions > 16000 {
		return engine.Invalidf("Vector.Dimensions %d: use 1 to 16000", c.Vector.Dimensions)
	}
	if r.defaults.Metric == "" {
		r.defaults.Metric = models.MetricCosine
	}
	if !r.defaults.Metric.Valid() {
		return engine.Invalidf("Vector.Metric %q: use cosine, l2 or ip", c.Vector.Metric)
	}
	switch r.index = c.Vector.Index; r.index {
	case "", engine.IndexHNSW, engine.IndexIVFFlat:
	default:
		return engine.Invalidf("Vector.Index %q: use hnsw or ivfflat", c.Vector.Index)
	}
	return nil
}

func (c Config) logger() (*slog.Logger, io.Closer, error) {
	level := slog.LevelWarn
	if c.Logging.Level != "" {
		if err := level.UnmarshalText([]byte(c.Logging.Level)); err != nil {
			return nil, nil, engine.Invalidf("Logging.Level %q: use error, warn, info or debug", c.Logging.Level)
		}
	}
	if c.Logger != nil {
		if c.Logging.Level == "" {
			return c.Logger, nil, nil
		}
		return slog.New(minLevel{c.Logger.Handler(), level}), nil, nil
	}
	var w io.Writer
	var closer io.Closer
	switch c.Logging.Destination {
	case "", "stderr":
		w = os.Stderr
	case "stdout":
		w = os.Stdout
	default:
		f, err := os.OpenFile(c.Logging.Destination, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return nil, nil, fmt.Errorf("%w: the log file: %w", engine.ErrInvalid, err)
		}
		w, closer = f, f
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level})), closer, nil
}
