package engine

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"gorm.io/gorm"
)

// The sentinels every engine maps its driver's codes to. Package repo publishes them, with what
// each means to a caller.
var (
	ErrNotFound       = errors.New("not found")
	ErrReference      = fmt.Errorf("it refers to a row that does not exist: %w", ErrNotFound)
	ErrConflict       = errors.New("already exists")
	ErrInvalid        = errors.New("invalid input")
	ErrText           = fmt.Errorf("text that cannot be stored: %w", ErrInvalid)
	ErrDimension      = fmt.Errorf("wrong number of dimensions: %w", ErrInvalid)
	ErrBusy           = errors.New("the database is busy")
	ErrSerialization  = fmt.Errorf("transactions collided: %w", ErrBusy)
	ErrDiskFull       = errors.New("no space left")
	ErrReadOnly       = errors.New("the database cannot be written")
	ErrCorrupt        = errors.New("the database is damaged")
	ErrNotDatabase    = fmt.Errorf("not an SQLite database: %w", ErrCorrupt)
	ErrUnavailable    = errors.New("the database cannot be reached")
	ErrUnsupported    = errors.New("not supported here")
	ErrClosed         = errors.New("the database is closed")
	ErrNotReady       = errors.New("the database is not open yet: start the application first")
	ErrTxDone         = errors.New("the transaction has ended")
	ErrSchemaOutdated = errors.New("the schema is older than this program")
	ErrSchemaNewer    = errors.New("the schema is newer than this program")
	ErrForeignSchema  = errors.New("the database belongs to another program")
)

// code is the stable name of a sentinel in a DatabaseError.
var codes = []struct {
	err  error
	code string
}{
	{context.Canceled, "CANCELED"},
	{context.DeadlineExceeded, "DEADLINE_EXCEEDED"},
	{ErrReference, "REFERENCE"},
	{ErrNotFound, "NOT_FOUND"},
	{ErrConflict, "CONFLICT"},
	{ErrDimension, "DIMENSION"},
	{ErrText, "TEXT"},
	{ErrInvalid, "INVALID"},
	{ErrSerialization, "SERIALIZATION"},
	{ErrBusy, "BUSY"},
	{ErrDiskFull, "DISK_FULL"},
	{ErrReadOnly, "READ_ONLY"},
	{ErrNotDatabase, "NOT_A_DATABASE"},
	{ErrCorrupt, "CORRUPT"},
	{ErrUnavailable, "UNAVAILABLE"},
	{ErrUnsupported, "UNSUPPORTED"},
	{ErrClosed, "CLOSED"},
	{ErrNotReady, "NOT_READY"},
	{ErrTxDone, "TRANSACTION_DONE"},
	{ErrSchemaOutdated, "SCHEMA_OUTDATED"},
	{ErrSchemaNewer, "SCHEMA_NEWER"},
	{ErrForeignSchema, "FOREIGN_SCHEMA"},
}

// DatabaseError is what every failing call returns: what was being done, a stable code, details
// for a program, and the cause.
type DatabaseError struct {
	// Op is what was being done, such as "insert message".
	Op string
	// Code is stable: NOT_FOUND, CONFLICT, INVALID, DIMENSION, BUSY …, or DATABASE for a cause
	// that has no sentinel.
	Code string
	// Details holds facts for a program, such as the two lengths of a wrong vector. It never
	// holds the content of a chat.
	Details map[string]any
	// Err is the cause; it wraps one of the sentinels wherever the cause is known.
	Err error
}

// Error says what was being done and why it failed.
func (e *DatabaseError) Error() string { return e.Op + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *DatabaseError) Unwrap() error { return e.Err }

// Code returns the stable code for err.
func Code(err error) string {
	for _, c := range codes {
		if errors.Is(err, c.err) {
			return c.code
		}
	}
	return "DATABASE"
}

// Wrap says what was being done when err happened. A DatabaseError is returned as it is, and nil
// as nil.
func Wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	var de *DatabaseError
	if errors.As(err, &de) {
		return err
	}
	err = generic(err)
	return &DatabaseError{Op: op, Code: Code(err), Err: err}
}

// Ended returns nil while ctx goes on; then context.Canceled or context.DeadlineExceeded, with the
// cause if whoever ended it gave one.
func Ended(ctx context.Context) error {
	err := ctx.Err()
	if cause := context.Cause(ctx); err != nil && !errors.Is(cause, err) {
		return fmt.Errorf("%w: %w", err, cause)
	}
	return err
}

// withEnd makes sure that an error that came while ctx ended says so: a driver may report no more than
// that its connection broke off.
func withEnd(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil || errors.Is(err, ctx.Err()) && errors.Is(err, context.Cause(ctx)) {
		return err
	}
	return fmt.Errorf("%w: %w", Ended(ctx), err)
}

// fault carries a sentinel and the driver's own error, and prints as "sentinel: cause".
type fault struct {
	sentinel error
	cause    error
}

func (f *fault) Error() string   { return f.sentinel.Error() + ": " + f.cause.Error() }
func (f *fault) Unwrap() []error { return []error{f.sentinel, f.cause} }

func because(sentinel, cause error) error { return &fault{sentinel, cause} }

// generic maps what is the same for every driver.
func generic(err error) error {
	switch {
	case err == nil || Code(err) != "DATABASE":
		return err
	case errors.Is(err, gorm.ErrRecordNotFound), errors.Is(err, sql.ErrNoRows):
		return because(ErrNotFound, err)
	case errors.Is(err, sql.ErrTxDone):
		return because(ErrTxDone, err)
	case errors.Is(err, sql.ErrConnDone), err.Error() == "sql: database is closed":
		// database/sql keeps its errDBClosed to itself.
		return because(ErrClosed, err)
	case errors.Is(err, driver.ErrBadConn):
		return because(ErrUnavailable, err)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT), errors.Is(err, syscall.EFBIG):
		return because(ErrDiskFull, err)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return because(ErrReadOnly, err)
	}
	return err
}

// Invalidf returns an error that wraps ErrInvalid.
func Invalidf(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
}
