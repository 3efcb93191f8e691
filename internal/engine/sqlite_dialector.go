package engine

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	"gorm.io/driver/sqlite"
	"gorm.io/gorm"
	"gorm.io/gorm/schema"
	modernc "modernc.org/sqlite"
)

// sqliteDialector is gorm's for SQLite with what it lacks on modernc's driver: errors that can be
// told apart, savepoints whose errors are not swallowed, and the column types of our models.
type sqliteDialector struct{ *sqlite.Dialector }

// Translate maps the driver's codes to the sentinels.
func (sqliteDialector) Translate(err error) error { return classifySQLite(err) }

// Explain leaves a statement whose values are not to be shown as it is.
func (d sqliteDialector) Explain(sql string, vars ...any) string {
	if len(vars) == 0 {
		return sql
	}
	return d.Dialector.Explain(sql, vars...)
}

// SavePoint begins a savepoint.
func (sqliteDialector) SavePoint(tx *gorm.DB, name string) error {
	return tx.Session(&gorm.Session{}).Exec("SAVEPOINT " + name).Error
}

// RollbackTo goes back to a savepoint.
func (sqliteDialector) RollbackTo(tx *gorm.DB, name string) error {
	return tx.Session(&gorm.Session{}).Exec("ROLLBACK TO SAVEPOINT " + name).Error
}

// BindVector stores a vector as a BLOB.
func (sqliteDialector) BindVector(v []float32) any { return blobOf(v) }

// DataTypeOf adds the defaults, which gorm's own tag would also write over explicit zeros.
func (d sqliteDialector) DataTypeOf(f *schema.Field) string {
	t := d.Dialector.DataTypeOf(f)
	switch f.DataType {
	case "json":
		t = "text"
	case "vector":
		t = "blob"
	}
	if def, ok := f.TagSettings["SQLDEFAULT"]; ok {
		switch def {
		case "now":
			def = "(CAST(unixepoch('subsec') * 1000 AS integer))"
		case "unique":
			def = "(lower(hex(randomblob(16))))"
		}
		t += " DEFAULT " + def
	}
	if f.DataType == "json" {
		t += " CHECK (json_valid(" + f.DBName + ") AND json_type(" + f.DBName + ") = 'object')"
	}
	return t
}

// Migrator is gorm's own, made for this dialector so that DataTypeOf above is asked.
func (d sqliteDialector) Migrator(db *gorm.DB) gorm.Migrator {
	m := d.Dialector.Migrator(db).(sqlite.Migrator)
	m.Dialector = d
	return m
}

// classifySQLite maps SQLite's result codes (https://www.sqlite.org/rescode.html) to the
// sentinels. It knows modernc's errors and, by their fields, mattn's.
func classifySQLite(err error) error {
	if err == nil {
		return nil
	}
	if Code(err) != "DATABASE" {
		return err
	}
	code := sqliteCode(err)
	if code == 0 {
		return generic(err)
	}
	switch code {
	case 787, 1811:
		return because(ErrReference, err)
	case 1555, 2067, 2579:
		return because(ErrConflict, err)
	case 4874: // SQLITE_IOERR_SHMSIZE: the shared memory file could not grow
		return because(ErrDiskFull, err)
	case 778: // SQLITE_IOERR_WRITE
		return because(ErrDiskFull, err)
	}
	switch code & 0xff {
	case 1:
		if damagedFormat(err) {
			return because(ErrCorrupt, err)
		}
	case 5, 6:
		if code == 517 { // SQLITE_BUSY_SNAPSHOT: only starting over helps
			return because(ErrSerialization, err)
		}
		return because(ErrBusy, err)
	case 8:
		return because(ErrReadOnly, err)
	case 9:
		return because(context.Canceled, err)
	case 11:
		return because(ErrCorrupt, err)
	case 13:
		return because(ErrDiskFull, err)
	case 14:
		return because(ErrUnavailable, err)
	case 10:
		return because(ErrUnavailable, err)
	case 18, 19, 20:
		return because(ErrInvalid, err)
	case 26:
		return because(ErrNotDatabase, err)
	}
	return generic(err)
}

// schemaChanged reports whether it is SQLITE_SCHEMA.
func schemaChanged(err error) bool { return err != nil && sqliteCode(err)&0xff == 17 }

// sqliteCode is SQLite's extended code of an error of either driver, 0 for others.
func sqliteCode(err error) int {
	var me *modernc.Error
	if errors.As(err, &me) {
		return me.Code()
	}
	return mattnCode(err)
}

// damagedFormat reports whether SQLite met a number of a format that it does not know. For that it has no
// code of its own, only words.
func damagedFormat(err error) bool {
	s := err.Error()
	return strings.Contains(s, "unsupported file format") || strings.Contains(s, "invalid fts5 file format")
}

// mattnCode reads the extended code from a github.com/mattn/go-sqlite3 error, whose package is
// not linked here.
func mattnCode(err error) int {
	for ; err != nil; err = errors.Unwrap(err) {
		b, merr := json.Marshal(err)
		if merr != nil {
			continue
		}
		var fields struct{ Code, ExtendedCode int }
		if json.Unmarshal(b, &fields) == nil && fields.Code != 0 {
			return max(fields.ExtendedCode, fields.Code)
		}
	}
	return 0
}
