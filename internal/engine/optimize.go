package engine

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Timed runs f and adds what it did to steps. An error becomes part of the step where it only means that
// this is a bad moment.
func Timed(steps *[]Step, s Step, f func() error) error {
	start := time.Now()
	err := f()
	s.Milliseconds = time.Since(start).Milliseconds()
	if errors.Is(err, ErrBusy) {
		s.Skipped, err = "others were at work for too long: "+err.Error(), nil
	}
	if err == nil {
		*steps = append(*steps, s)
	}
	return err
}

// When SQLite's file is rewritten: where this part of it holds nothing, and no more than so many bytes
// hold something, which takes about a second in which writers wait, unless it may take longer.
const (
	freePart  = 4
	quickFile = 64 << 20
)

// Optimize takes the writer's turn for each step.
func (e *sqliteEngine) Optimize(ctx context.Context, full bool) ([]Step, error) {
	var steps []Step
	// The limit bounds how many rows of each index are read: https://www.sqlite.org/lang_analyze.html. It
	// stays with the connection, on which nothing else analyses.
	err := Timed(&steps, Step{Action: "analyze", Subject: "all tables"}, func() error {
		return e.maintain(ctx, "PRAGMA analysis_limit = 1000", "ANALYZE")
	})
	if err != nil {
		return steps, err
	}
	if err := e.giveBack(ctx, &steps, full); err != nil {
		return steps, err
	}
	return steps, e.checkpoint(ctx, &steps)
}

// onWriter runs f on the writer's connection, outside of a transaction. A statement there waits at most
// this long for another program, also on a host's pool that would have it wait longer.
func (e *sqliteEngine) onWriter(ctx context.Context, wait time.Duration, f func(conn *sql.Conn) error) error {
	if err := e.turns.take(ctx); err != nil {
		return err
	}
	defer e.turns.give()
	conn, err := e.writeSQL.Conn(ctx)
	if err != nil {
		return withEnd(ctx, classifySQLite(err))
	}
	defer func() { _ = conn.Close() }()
	var before int64
	err = conn.QueryRowContext(ctx, "PRAGMA busy_timeout").Scan(&before)
	if err == nil {
		err = setBusyTimeout(ctx, conn, wait.Milliseconds())
	}
	if err == nil {
		err = f(conn)
		err = errors.Join(err, setBusyTimeout(context.WithoutCancel(ctx), conn, before))
	}
	return withEnd(ctx, classifySQLite(err))
}

func setBusyTimeout(ctx context.Context, conn *sql.Conn, ms int64) error {
	_, err := conn.ExecContext(ctx, fmt.Sprintf("PRAGMA busy_timeout = %d", ms))
	return err
}

// maintain runs statements on the writer's connection.
func (e *sqliteEngine) maintain(ctx context.Context, statements ...string) error {
	return e.onWriter(ctx, e.turns.wait, func(conn *sql.Conn) error {
		for _, s := range statements {
			if _, err := conn.ExecContext(ctx, s); err != nil {
				return err
			}
		}
		return nil
	})
}

func (e *sqliteEngine) giveBack(ctx context.Context, steps *[]Step, full bool) error {
	var f fileUse
	err := one(ctx, e.read.WithContext(ctx), "SELECT page_size, page_count, freelist_count, auto_vacuum FROM pragma_page_size, pragma_page_count, pragma_freelist_count, pragma_auto_vacuum",
		&f.pageSize, &f.pages, &f.free, &f.autoVacuum)
	if err != nil {
		return err
	}
	s, todo := f.vacuum(full)
	switch {
	case s.Skipped != "":
		*steps = append(*steps, s)
		return nil
	case !todo:
		return nil
	case s.Action == "vacuum":
		return Timed(steps, s, func() error { return e.maintain(ctx, "VACUUM") })
	}
	return Timed(steps, s, func() error {
		for free := f.free; free > 0; free -= 1000 { // in parts, so that writers come in between
			if err := e.maintain(ctx, "PRAGMA incremental_vacuum(1000)"); err != nil {
				return err
			}
		}
		return nil
	})
}

// fileUse is how an SQLite file is used.
type fileUse struct{ pageSize, pages, free, autoVacuum int64 }

// incremental is the value of PRAGMA auto_vacuum with which a file can be shortened in parts.
const incremental = 2

// vacuum says how space is given back, if at all.
func (f fileUse) vacuum(full bool) (s Step, todo bool) {
	s = Step{Action: "vacuum", Subject: "file", Why: fmt.Sprintf("%d of %d pages hold nothing", f.free, f.pages)}
	switch {
	case f.free == 0:
		return s, false
	case f.autoVacuum == incremental:
		s.Action = "incremental_vacuum"
		return s, true
	case full:
		return s, true
	case f.free*freePart < f.pages:
		return s, false
	case (f.pages-f.free)*f.pageSize > quickFile:
		s.Skipped = "writers would wait for long: ask for it in full when nobody writes"
		return s, false
	}
	return s, true
}

// checkpoint works SQLite's log into the file and empties it. It does not wait for readers: those that
// are under way keep a part of the log.
func (e *sqliteEngine) checkpoint(ctx context.Context, steps *[]Step) error {
	mode, err := One(ctx, e.read.WithContext(ctx), Value[string], "PRAGMA journal_mode")
	if err != nil || !strings.EqualFold(mode, "wal") {
		return err
	}
	s := Step{Action: "checkpoint", Subject: "log"}
	start := time.Now()
	var busy, frames, done int64
	err = e.onWriter(ctx, 50*time.Millisecond, func(conn *sql.Conn) error {
		return conn.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &frames, &done)
	})
	if err != nil && !errors.Is(err, ErrBusy) {
		return err
	}
	if err != nil || busy != 0 {
		s.Skipped = "others were reading or writing; it will be done in time"
	}
	s.Milliseconds = time.Since(start).Milliseconds()
	*steps = append(*steps, s)
	return nil
}

// deadRows is when a table is vacuumed by hand: that many rows, and that part of all, are dead. Postgres'
// own rule waits for 50 and 20 %, and for a free worker.
const (
	deadRows = 1000
	deadPart = 10
)

// Optimize analyses every table, and vacuums those with many dead rows; both let others read and write.
func (e *postgresEngine) Optimize(ctx context.Context, _ bool) ([]Step, error) {
	var steps []Step
	r, err := e.Reader(ctx)
	if err != nil {
		return nil, err
	}
	type table struct {
		name       string
		live, dead int64
	}
	all, err := Collect(ctx, r, func(s Scanner, t *table) error { return s.Scan(&t.name, &t.live, &t.dead) },
		"SELECT relname, n_live_tup, n_dead_tup FROM pg_stat_user_tables WHERE schemaname = current_schema() ORDER BY relname")
	if err != nil {
		return nil, err
	}
	for _, t := range all {
		if !isOurTable(t.name) {
			continue
		}
		s, query := Step{Action: "analyze", Subject: t.name}, "ANALYZE "
		if t.dead >= deadRows && t.dead*deadPart >= t.live {
			s.Action, query = "vacuum", "VACUUM (ANALYZE) "
			s.Why = fmt.Sprintf("%d rows are dead beside %d", t.dead, t.live)
		}
		err := Timed(&steps, s, func() error {
			_, err := e.pool.ExecContext(ctx, query+quoteName(t.name))
			return withEnd(ctx, classifyPostgres(err))
		})
		if err != nil {
			return steps, err
		}
	}
	return steps, nil
}
