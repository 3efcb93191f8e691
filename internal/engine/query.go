package engine

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"gorm.io/gorm"
)

// placeholders is implemented by a dialector whose driver wants $1, $2 … for ?.
type placeholders interface{ Numbered() bool }

// rebound caches statements with numbered placeholders. Their texts are constants of this
// program or few, so the cache stays small.
var rebound sync.Map

// rebind turns every ? into $n. The statements of this program hold ? as a placeholder only.
func rebind(query string) string {
	if q, ok := rebound.Load(query); ok {
		return q.(string)
	}
	var b strings.Builder
	b.Grow(len(query) + 16)
	n := 0
	for i := range len(query) {
		if query[i] != '?' {
			b.WriteByte(query[i])
			continue
		}
		n++
		b.WriteByte('$')
		b.WriteString(strconv.Itoa(n))
	}
	if len(query) < 4096 {
		rebound.Store(query, b.String())
	}
	return b.String()
}

func bound(db *gorm.DB, query string) string {
	if p, ok := db.Dialector.(placeholders); ok && p.Numbered() {
		return rebind(query)
	}
	return query
}

// Rows are the rows of a query, which it is logged with when they are closed.
type Rows struct {
	*sql.Rows
	db    *gorm.DB
	ctx   context.Context
	query string
	start time.Time
	read  int64
	// held is the prepared statement that was taken for these rows.
	tx   *preparedTx
	held *txStatement
	over bool
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

// Err returns the error that ended the rows.
func (r *Rows) Err() error { return withEnd(r.ctx, translate(r.db, r.Rows.Err())) }

// Scan reads the row at hand.
func (r *Rows) Scan(dest ...any) error {
	err := r.Rows.Scan(dest...)
	if err == nil {
		return nil
	}
	r.unread = withEnd(r.ctx, translate(r.db, err))
	return r.unread
}

// Close ends the query. It may be called more than once.
func (r *Rows) Close() error {
	err := translate(r.db, r.Rows.Close())
	if r.over {
		return err
	}
	r.over = true
	if r.held != nil {
		r.tx.give(r.held)
	}
	r.observe(cmp.Or(r.unread, r.Err(), err))
	return err
}

func (r *Rows) observe(err error) {
	observerOf(r.db).statement(r.ctx, r.start, r.query, r.read, err)
}

// Query runs a statement with ? placeholders on db's pool or transaction, past gorm's callbacks,
// which cost more than the statement on the hot paths. It is logged as gorm's are.
func Query(ctx context.Context, db *gorm.DB, query string, args ...any) (*Rows, error) {
	return queryBound(ctx, db, bound(db, query), args)
}

// queryBound is Query for a statement with the placeholders of the driver.
func queryBound(ctx context.Context, db *gorm.DB, query string, args []any) (*Rows, error) {
	if err := checkArgs(args); err != nil {
		return nil, err
	}
	r := &Rows{db: db, ctx: ctx, query: query, start: time.Now()}
	var err error
	r.Rows, err = db.Statement.ConnPool.QueryContext(ctx, query, args...)
	return r.begun(err)
}

// begun returns rows, or the error that there are none.
func (r *Rows) begun(err error) (*Rows, error) {
	if err == nil {
		return r, nil
	}
	if r.held != nil {
		r.tx.give(r.held)
	}
	err = withEnd(r.ctx, translate(r.db, err))
	r.read = -1
	r.observe(err)
	return nil, err
}

// queryNow is Query for a caller that closes the rows before anything else runs.
func queryNow(ctx context.Context, db *gorm.DB, query string, args []any) (*Rows, error) {
	p, ok := db.Statement.ConnPool.(*preparedTx)
	if !ok {
		return queryBound(ctx, db, bound(db, query), args)
	}
	if err := checkArgs(args); err != nil {
		return nil, err
	}
	r := &Rows{db: db, ctx: ctx, query: bound(db, query), start: time.Now(), tx: p}
	var err error
	r.Rows, r.held, err = p.query(ctx, r.query, args...)
	return r.begun(err)
}

// Exec runs a statement with ? placeholders as Query does and returns how many rows it changed.
func Exec(ctx context.Context, db *gorm.DB, query string, args ...any) (int64, error) {
	if err := checkArgs(args); err != nil {
		return 0, err
	}
	start := time.Now()
	res, err := db.Statement.ConnPool.ExecContext(ctx, bound(db, query), args...)
	var n int64
	if err == nil {
		n, err = res.RowsAffected()
	}
	err = withEnd(ctx, translate(db, err))
	observerOf(db).statement(ctx, start, query, n, err)
	return n, err
}

// Scanner is what a row can be read from.
type Scanner interface{ Scan(dest ...any) error }

// Collect runs a query and reads each row with scan.
func Collect[T any](ctx context.Context, db *gorm.DB, scan func(Scanner, *T) error, query string, args ...any) ([]T, error) {
	rows, err := queryNow(ctx, db, query, args)
	if err != nil {
		return nil, err
	}
	return collect(rows, scan)
}

func collect[T any](rows *Rows, scan func(Scanner, *T) error) ([]T, error) {
	defer func() { _ = rows.Close() }()
	var out []T
	for rows.Next() {
		var v T
		if err := scan(rows, &v); err != nil {
			return nil, withEnd(rows.ctx, translate(rows.db, err))
		}
		out = append(out, v)
	}
	return out, rows.Err()
}

// One runs a query for a single row; without one the error wraps ErrNotFound.
func One[T any](ctx context.Context, db *gorm.DB, scan func(Scanner, *T) error, query string, args ...any) (T, error) {
	var v T
	rows, err := queryNow(ctx, db, query, args)
	if err != nil {
		return v, err
	}
	defer func() { _ = rows.Close() }()
	if !rows.Next() {
		if err := rows.Err(); err != nil {
			return v, err
		}
		return v, ErrNotFound
	}
	if err := scan(rows, &v); err != nil {
		return v, withEnd(ctx, translate(db, err))
	}
	return v, withEnd(ctx, rows.Close())
}

// Value reads a row of one column.
func Value[T any](s Scanner, v *T) error { return s.Scan(v) }

// CheckText refuses what one of the engines cannot store or compare: NUL and invalid UTF-8.
func CheckText(name, value string) error {
	if i := strings.IndexByte(value, 0); i >= 0 {
		return fmt.Errorf("%s holds a NUL byte at %d: remove it: %w", name, i, ErrText)
	}
	if !utf8.ValidString(value) {
		return fmt.Errorf("%s is not valid UTF-8: convert it or use strings.ToValidUTF8: %w", name, ErrText)
	}
	return nil
}

// checkArgs is CheckText for the values of a statement, so that an id that is only looked for is
// the same error on both engines.
func checkArgs(args []any) error {
	for i, a := range args {
		if s, ok := a.(string); ok {
			if err := CheckText("value "+strconv.Itoa(i+1)+" of the statement", s); err != nil {
				return err
			}
		}
	}
	return nil
}

func translate(db *gorm.DB, err error) error {
	if err == nil {
		return nil
	}
	if t, ok := db.Dialector.(gorm.ErrorTranslator); ok {
		return t.Translate(err)
	}
	return generic(err)
}
