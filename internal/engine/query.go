package engine

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"gorm.io/gorm"
)

// placeholders is implemented by a dialector whose driver wants $1, $2 … for ?.
type placeholders interface{ Numbered() bool }

// rebound caches statements with numbered placeholders, so many of them: most texts are constants of this
// program.
var (
	rebound  sync.Map
	rebounds atomic.Int64
)

const maxRebound = 2048

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
	if len(query) < 4096 && rebounds.Load() < maxRebound {
		rebounds.Add(1)
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

// Query runs a statement with ? placeholders on db's pool or transaction, past gorm's callbacks,
// which cost more than the statement on the hot paths. It is logged as gorm's are.
func Query(ctx context.Context, db *gorm.DB, query string, args ...any) (*Rows, error) {
	return queryBound(ctx, db, bound(db, query), args)
}

// queryNow is Query for a caller that closes the rows before anything else runs, and calls done
// then.
func queryNow(ctx context.Context, db *gorm.DB, query string, args []any) (rows *Rows, done func(), err error) {
	p, ok := db.Statement.ConnPool.(*preparedTx)
	if !ok {
		rows, err = Query(ctx, db, query, args...)
		return rows, func() {}, err
	}
	if err := checkArgs(args); err != nil {
		return nil, func() {}, err
	}
	r := &Rows{db: db, ctx: ctx, query: bound(db, query), start: time.Now()}
	plain, err := again(func() (rows *sql.Rows, err error) {
		if rows, done, err = p.query(ctx, r.query, args...); err != nil {
			done()
			done = func() {}
		}
		return rows, err
	})
	rows, err = r.begun(plain, err)
	return rows, done, err
}

// Exec runs a statement with ? placeholders as Query does and returns how many rows it changed.
func Exec(ctx context.Context, db *gorm.DB, query string, args ...any) (int64, error) {
	if err := checkArgs(args); err != nil {
		return 0, err
	}
	start := time.Now()
	res, err := again(func() (sql.Result, error) { return db.Statement.ConnPool.ExecContext(ctx, bound(db, query), args...) })
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
	var out []T
	err := Each(ctx, db, scan, func(v *T) bool {
		out = append(out, *v)
		return true
	}, query, args...)
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Each is Collect for a caller that takes the rows one by one, until f returns false. f must not use the
// database.
func Each[T any](ctx context.Context, db *gorm.DB, scan func(Scanner, *T) error, f func(*T) bool, query string, args ...any) error {
	rows, done, err := queryNow(ctx, db, query, args)
	defer done()
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var v T
		if err := scan(rows, &v); err != nil {
			return withEnd(ctx, translate(db, err))
		}
		if !f(&v) {
			return withEnd(ctx, translate(db, rows.Close()))
		}
	}
	return withEnd(ctx, translate(db, rows.Err()))
}

// One runs a query for a single row; without one the error wraps ErrNotFound.
func One[T any](ctx context.Context, db *gorm.DB, scan func(Scanner, *T) error, query string, args ...any) (T, error) {
	var v T
	rows, done, err := queryNow(ctx, db, query, args)
	defer done()
	if err != nil {
		return v, err
	}
	defer func() { _ = rows.Close() }()
	if !rows.Next() {
		if err := rows.Err(); err != nil {
			return v, withEnd(ctx, translate(db, err))
		}
		return v, ErrNotFound
	}
	if err := scan(rows, &v); err != nil {
		return v, withEnd(ctx, translate(db, err))
	}
	return v, withEnd(ctx, translate(db, rows.Close()))
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

// checkKeys is checkArgs for keys that are bound as one value.
func checkKeys(keys []string) error {
	for _, k := range keys {
		if err := CheckText("a key", k); err != nil {
			return err
		}
	}
	return nil
}

// translate maps an error of db's driver to the sentinels.
func translate(db *gorm.DB, err error) error {
	if err == nil {
		return nil
	}
	if t, ok := db.Dialector.(gorm.ErrorTranslator); ok {
		return t.Translate(err)
	}
	return generic(err)
}
