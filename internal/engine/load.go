package engine

import (
	"bytes"
	"context"
	"strings"

	"gorm.io/gorm"
)

// Each runs a query and calls f for each row while it is read, so that memory does not grow with the
// number of rows. F must not use db. An error of f ends the reading and is returned as it is.
func Each[T any](ctx context.Context, db *gorm.DB, scan func(Scanner, *T) error, f func(*T) error, query string, args ...any) error {
	rows, err := Query(ctx, db, query, args...)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var v T
		if err := scan(rows, &v); err != nil {
			return withEnd(ctx, translate(db, err))
		}
		if err := f(&v); err != nil {
			return err
		}
	}
	return withEnd(ctx, translate(db, rows.Err()))
}

func (e *sqliteEngine) HasTable(ctx context.Context, db *gorm.DB, table string) (bool, error) {
	n, err := One(ctx, db, Value[int64], "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ?", table)
	return n > 0, err
}

// LockTables has nothing to do: a transaction that writes is the only one.
func (e *sqliteEngine) LockTables(context.Context, *gorm.DB, []string) error { return nil }

// AdvanceIDs has nothing to do: an AUTOINCREMENT key follows the rows that are inserted.
func (e *sqliteEngine) AdvanceIDs(context.Context, *gorm.DB, string, string) error { return nil }

func (e *postgresEngine) HasTable(ctx context.Context, db *gorm.DB, table string) (bool, error) {
	n, err := One(ctx, db, Value[int64], "SELECT count(*) FROM pg_tables WHERE schemaname = current_schema() AND tablename = ?", table)
	return n > 0, err
}

func (e *postgresEngine) LockTables(ctx context.Context, tx *gorm.DB, tables []string) error {
	_, err := Exec(ctx, tx, "LOCK TABLE "+strings.Join(tables, ", ")+" IN SHARE ROW EXCLUSIVE MODE")
	return err
}

func (e *postgresEngine) AdvanceIDs(ctx context.Context, tx *gorm.DB, table, key string) error {
	_, err := Exec(ctx, tx, "SELECT setval(pg_get_serial_sequence(?, ?), (SELECT max("+key+") FROM "+table+")) WHERE EXISTS (SELECT 1 FROM "+table+")", table, key)
	return err
}

// BeginsSQLite reports whether a file that begins with head is an SQLite database.
func BeginsSQLite(head []byte) bool { return bytes.HasPrefix(head, []byte(sqliteHeader)) }

// Classify makes an error of a pool that SQL returned wrap the sentinels, as those of all other calls do.
func Classify(err error) error {
	if pgCode(err) != "" {
		return classifyPostgres(err)
	}
	return classifySQLite(err)
}
