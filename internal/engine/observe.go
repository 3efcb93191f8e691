package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"gorm.io/gorm"
	modernc "modernc.org/sqlite"
)

// DefaultSlowQuery is from when on a statement is worth a warning, unless the configuration says
// otherwise.
const DefaultSlowQuery = 500 * time.Millisecond

// Observer is told of every statement. It counts them by shape, and logs, traces and measures
// them as far as that is asked for. It never shows a value: neither one that is bound nor one in the
// text, nor the message of an error, which may quote one. A nil *Observer does nothing.
type Observer struct {
	log  *slog.Logger
	slow time.Duration
	// quotedNames says how the engine reads double quotes, classify maps its errors.
	quotedNames bool
	classify    func(error) error
	shapes      shapes
	telemetry   *telemetry // nil when it is off
}

// NewObserver returns an Observer that logs to log, and warns of statements that take slow or longer: of
// none when slow is negative, from DefaultSlowQuery on when it is 0.
func NewObserver(log *slog.Logger, slow time.Duration) *Observer {
	if slow == 0 {
		slow = DefaultSlowQuery
	}
	return &Observer{log: log, slow: slow, classify: generic}
}

// speak says which engine the statements are for. It is called before the first of them.
func (o *Observer) speak(name string) {
	if o == nil {
		return
	}
	o.quotedNames, o.classify = name == Postgres, classifySQLite
	if o.quotedNames {
		o.classify = classifyPostgres
	}
	o.telemetry.speak(name)
}

// observerOf returns the observer of a handle, nil when a host gave it another logger.
func observerOf(db *gorm.DB) *Observer {
	if l, ok := db.Logger.(gormLogger); ok {
		return l.o
	}
	return nil
}

// statement tells of a statement that has ended: how many rows it read or changed, -1 where that is not
// known, and how it failed.
func (o *Observer) statement(ctx context.Context, start time.Time, query string, rows int64, err error) {
	if o == nil {
		return
	}
	took := time.Since(start)
	s := o.shapes.of(query, o.quotedNames, o.telemetry)
	s.count(took, rows, err)
	code := ""
	if err != nil {
		if code = Code(generic(err)); code == "NOT_FOUND" && errors.Is(err, gorm.ErrRecordNotFound) {
			code = "" // how gorm says that there was no row
		}
	}
	if o.telemetry != nil {
		o.telemetry.statement(ctx, start, took, s, rows, code)
	}
	level, msg := slog.LevelDebug, "query"
	if o.slow > 0 && took >= o.slow {
		level, msg = slog.LevelWarn, "slow query"
	}
	switch {
	case code == unexpected:
		level, msg = slog.LevelError, "query failed unexpectedly"
	case level == slog.LevelDebug && troubles[code]:
		level, msg = slog.LevelWarn, "query failed"
	}
	if o.log.Enabled(ctx, level) {
		o.line(ctx, level, msg, s, took, rows, code, err)
	}
}

// unexpected is the code of an error that has no sentinel. troubles are those codes that callers can
// expect and whoever runs the program wants to know of.
const unexpected = "DATABASE"

var troubles = map[string]bool{"DISK_FULL": true, "CORRUPT": true, "NOT_A_DATABASE": true, "UNAVAILABLE": true}

func (o *Observer) line(ctx context.Context, level slog.Level, msg string, s *shape, took time.Duration, rows int64, code string, err error) {
	attrs := make([]slog.Attr, 4, 8)
	attrs[0], attrs[1] = slog.String("query", s.text), slog.Int("parameters", s.parameters)
	attrs[2], attrs[3] = slog.Duration("duration", took), slog.Int64("rows", rows)
	if code != "" {
		attrs = append(attrs, slog.String("code", code))
		if c := driverCode(err); c != "" {
			attrs = append(attrs, slog.String("driver_code", c))
		}
	}
	if code == unexpected {
		attrs = append(attrs, slog.String("error_type", rootType(err)), slog.Any("stack", Stack(2)))
	}
	o.log.LogAttrs(ctx, level, msg, attrs...)
}

// driverCode is SQLite's extended result code or Postgres' SQLSTATE, "" for an error without.
func driverCode(err error) string {
	if pg := pgCode(err); pg != "" {
		return pg
	}
	var me *modernc.Error
	if errors.As(err, &me) {
		return strconv.Itoa(me.Code())
	}
	return ""
}

// rootType names the type of the cause, whose message may hold values.
func rootType(err error) string {
	var pe *pgconn.PgError
	var me *modernc.Error
	switch {
	case errors.As(err, &pe):
		return fmt.Sprintf("%T", pe)
	case errors.As(err, &me):
		return fmt.Sprintf("%T", me)
	}
	for next := err; next != nil; next = errors.Unwrap(next) {
		err = next
	}
	return fmt.Sprintf("%T", err)
}

// Stack names the callers, the innermost first, without what they were called with; skip leaves out so
// many of them.
func Stack(skip int) []string {
	var pcs [32]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(skip+2, pcs[:])])
	var out []string
	for {
		f, again := frames.Next()
		if f.Function != "" {
			out = append(out, fmt.Sprintf("%s (%s:%d)", f.Function, filepath.Base(f.File), f.Line))
		}
		if !again {
			return out
		}
	}
}

// SlowQuery is what is known of the statements of one shape: those that differ only in their
// literals and in how many values a list has.
type SlowQuery struct {
	// Query is the statement with ? for each value.
	Query string `json:"query"`
	// Parameters is how many values the first of them had bound.
	Parameters int `json:"parameters"`
	// Calls is how many there were, Failed how many of them failed.
	Calls  int64 `json:"calls"`
	Failed int64 `json:"failed"`
	// Rows is how many rows they read or changed in all, where that is known.
	Rows int64 `json:"rows"`
	// Total is how long they took in all, reading their rows included, Max how long the slowest took. BEGIN
	// includes the wait for a connection, and on SQLite for the other writers.
	Total time.Duration `json:"total"`
	Max   time.Duration `json:"max"`
}

// SlowQueries returns the shapes of this process's statements on which most time was spent, the
// most first; at most limit of them, or all that are remembered when limit is 0. Some hundreds are
// remembered.
func (o *Observer) SlowQueries(limit int) []SlowQuery {
	if o == nil {
		return nil
	}
	all := o.shapes.all()
	out := make([]SlowQuery, 0, len(all))
	for _, s := range all {
		out = append(out, SlowQuery{
			Query: s.text, Parameters: s.parameters, Calls: s.calls.Load(), Failed: s.failed.Load(),
			Rows: s.rows.Load(), Total: time.Duration(s.total.Load()), Max: time.Duration(s.max.Load()),
		})
	}
	slices.SortFunc(out, func(a, b SlowQuery) int {
		return cmp.Or(cmp.Compare(b.Total, a.Total), cmp.Compare(a.Query, b.Query))
	})
	if limit > 0 && len(out) > limit {
		out = out[:limit]
	}
	return out
}

// shape counts the statements of one shape.
type shape struct {
	statementShape
	telemetry shapeTelemetry

	calls, failed, rows, total, max atomic.Int64
}

func (s *shape) count(took time.Duration, rows int64, err error) {
	s.calls.Add(1)
	s.total.Add(int64(took))
	if rows > 0 {
		s.rows.Add(rows)
	}
	if err != nil {
		s.failed.Add(1)
	}
	for {
		most := s.max.Load()
		if int64(took) <= most || s.max.CompareAndSwap(most, int64(took)) {
			return
		}
	}
}

// How many shapes are remembered, and how many statements are known to have one.
const (
	maxShapes     = 512
	maxKnownTexts = 2048
	maxKnownText  = 16 << 10
)

// shapes remembers the shapes of statements. Statements of this program are few; a host may write any.
type shapes struct {
	// known is the shape of a statement's text, so that it is looked for in it once.
	known sync.Map
	texts atomic.Int64

	mu    sync.Mutex
	shape map[string]*shape
}

func (c *shapes) of(query string, quotedNames bool, t *telemetry) *shape {
	if s, ok := c.known.Load(query); ok {
		return s.(*shape)
	}
	found := normalise(query, quotedNames)
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.shape[found.text]
	if s == nil {
		if c.shape == nil {
			c.shape = map[string]*shape{}
		}
		if len(c.shape) >= maxShapes {
			c.forget()
		}
		s = &shape{statementShape: found, telemetry: t.shape(found)}
		c.shape[found.text] = s
	}
	if len(query) <= maxKnownText {
		if c.texts.Add(1) > maxKnownTexts {
			c.known.Clear()
			c.texts.Store(1)
		}
		c.known.Store(query, s)
	}
	return s
}

// forget drops the half on which the least time was spent.
func (c *shapes) forget() {
	all := make([]*shape, 0, len(c.shape))
	for _, s := range c.shape {
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b *shape) int { return cmp.Compare(a.total.Load(), b.total.Load()) })
	for _, s := range all[:len(all)/2] {
		delete(c.shape, s.text)
	}
	c.known.Clear()
	c.texts.Store(0)
}

func (c *shapes) all() []*shape {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make([]*shape, 0, len(c.shape))
	for _, s := range c.shape {
		all = append(all, s)
	}
	return all
}
