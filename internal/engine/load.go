package engine

import (
	"bytes"
	"context"
	"strings"

	"gorm.io/gorm"
)

func (e *sqliteEngine) HasTable(ctx context.Context, db *gorm.DB, table string) (bool, error) {
	n, err := One(ctx, db, Value[int64], "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ?", table)
	return n > 0, err
}

// LockTables has nothing to do: a transaction that writes is the only one.
func (e *sqliteEngine) LockTables(context.Context, *gorm.DB, []string) error { return nil }

func (e *postgresEngine) HasTable(ctx context.Context, db *gorm.DB, table string) (bool, error) {
	n, err := One(ctx, db, Value[int64], "SELECT count(*) FROM pg_tables WHERE schemaname = current_schema() AND tablename = ?", table)
	return n > 0, err
}

func (e *postgresEngine) LockTables(ctx context.Context, tx *gorm.DB, tables []string) error {
	_, err := Exec(ctx, tx, "LOCK TABLE "+strings.Join(tables, ", ")+" IN SHARE ROW EXCLUSIVE MODE")
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
