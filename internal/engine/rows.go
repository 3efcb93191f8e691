package engine

import (
	"cmp"
	"context"
	"database/sql"
	"time"

	"gorm.io/gorm"
)

// Rows are the rows of a query, which the observer is told of when they are closed: only then it is known
// how many there were, how long reading them took, and whether that failed.
type Rows struct {
	*sql.Rows
	db    *gorm.DB
	ctx   context.Context
	query string
	start time.Time
	read  int64
	over  bool
	// unread is the error of a row that could not be read.
	unread error
}

// Next prepares the next row for Scan.
func (r *Rows) Next() bool {
	if !r.Rows.Next() {
		return false
	}
	r.read++
	return true
}

// Scan reads the row at hand.
func (r *Rows) Scan(dest ...any) error {
	err := r.Rows.Scan(dest...)
	if err == nil {
		return nil
	}
	r.unread = r.failure(err)
	return r.unread
}

// Err returns the error that ended the rows.
func (r *Rows) Err() error { return r.failure(r.Rows.Err()) }

// Close ends the query. It may be called more than once.
func (r *Rows) Close() error {
	err := r.failure(r.Rows.Close())
	if r.over {
		return err
	}
	r.over = true
	observerOf(r.db).statement(r.ctx, r.start, r.query, r.read, cmp.Or(r.unread, r.Err(), err))
	return err
}

// failure is what a caller is told of a driver's error.
func (r *Rows) failure(err error) error {
	if err == nil {
		return nil
	}
	return withEnd(r.ctx, translate(r.db, err))
}

// begun takes the rows of a driver, or the error that there are none.
func (r *Rows) begun(rows *sql.Rows, err error) (*Rows, error) {
	if err == nil {
		r.Rows = rows
		return r, nil
	}
	err = r.failure(err)
	observerOf(r.db).statement(r.ctx, r.start, r.query, -1, err)
	return nil, err
}

// queryBound is Query for a statement with the placeholders of the driver.
func queryBound(ctx context.Context, db *gorm.DB, query string, args []any) (*Rows, error) {
	if err := checkArgs(args); err != nil {
		return nil, err
	}
	r := &Rows{db: db, ctx: ctx, query: query, start: time.Now()}
	return r.begun(again(func() (*sql.Rows, error) { return db.Statement.ConnPool.QueryContext(ctx, query, args...) }))
}

// again runs a statement anew while SQLite says that the schema has changed. Where another process changes
// it, that comes through from the statements that FTS5 has of its own, which SQLite does not prepare anew.
// Such a statement has done nothing yet.
func again[T any](statement func() (T, error)) (v T, err error) {
	const attempts = 50
	for range attempts {
		if v, err = statement(); !schemaChanged(err) {
			break
		}
	}
	return v, err
}
