package repo

import (
	"errors"
	"fmt"

	"github.com/talkbase/talkbase/internal/engine"
)

// The errors a caller can tell apart with errors.Is, the same on both engines. Children wrap their
// parents: ErrDimension is an ErrInvalid.
var (
	// ErrNotFound means that the row asked for is not there.
	ErrNotFound = engine.ErrNotFound
	// ErrReference means that a row refers to another that does not exist, such as a message to its
	// conversation. It is an ErrNotFound.
	ErrReference = engine.ErrReference
	// ErrConflict means that a row with this id is already there.
	ErrConflict = engine.ErrConflict
	// ErrInvalid means that the input cannot be stored or asked for; the message says why.
	ErrInvalid = engine.ErrInvalid
	// ErrText means that a text holds NUL or invalid UTF-8. It is an ErrInvalid.
	ErrText = engine.ErrText
	// ErrDimension means that a vector's length is not its base's. It is an ErrInvalid.
	ErrDimension = engine.ErrDimension
	// ErrBusy means that waiting for the writer, a lock or a connection took too long. The call can be
	// repeated.
	ErrBusy = engine.ErrBusy
	// ErrSerialization means that concurrent transactions collided and repeating did not help. It is an
	// ErrBusy.
	ErrSerialization = engine.ErrSerialization
	// ErrDiskFull means that there was no space left. Nothing of the call was written.
	ErrDiskFull = engine.ErrDiskFull
	// ErrReadOnly means that the file, its folder or the role does not allow writing.
	ErrReadOnly = engine.ErrReadOnly
	// ErrCorrupt means that the database file is damaged.
	ErrCorrupt = engine.ErrCorrupt
	// ErrNotDatabase means that a file is not an SQLite database. It is an ErrCorrupt.
	ErrNotDatabase = engine.ErrNotDatabase
	// ErrUnavailable means that the database could not be reached.
	ErrUnavailable = engine.ErrUnavailable
	// ErrUnsupported means that this database cannot do it, such as vectors without pgvector.
	ErrUnsupported = engine.ErrUnsupported
	// ErrClosed means that the database was closed.
	ErrClosed = engine.ErrClosed
	// ErrNotReady means that the application that opens the database has not started.
	ErrNotReady = engine.ErrNotReady
	// ErrTxDone means that a transaction was used after its end.
	ErrTxDone = engine.ErrTxDone
	// ErrSchemaOutdated means that the schema must be migrated first.
	ErrSchemaOutdated = engine.ErrSchemaOutdated
	// ErrSchemaNewer means that a newer talkbase made the schema.
	ErrSchemaNewer = engine.ErrSchemaNewer
	// ErrForeignSchema means that tables of another program are in the way.
	ErrForeignSchema = engine.ErrForeignSchema
)

// DatabaseError is the type of every error the repositories return: what was being done, a stable
// code, details for a program, and the cause.
type DatabaseError = engine.DatabaseError

// CodeTransaction is the code of a TransactionError.
const CodeTransaction = "TRANSACTION_ERROR"

// TransactionError says that a transaction could not be begun, committed, rolled back or used. It
// wraps the cause.
type TransactionError struct {
	// Op is begin, commit, rollback or join.
	Op string
	// ID is the transaction's id, "" before it has one.
	ID string
	// Err is the cause.
	Err error
}

// Error says what could not be done.
func (e *TransactionError) Error() string {
	if e.ID == "" {
		return fmt.Sprintf("%s transaction: %v", e.Op, e.Err)
	}
	return fmt.Sprintf("%s transaction %s: %v", e.Op, e.ID, e.Err)
}

// Unwrap returns the cause.
func (e *TransactionError) Unwrap() error { return e.Err }

// Code is CodeTransaction.
func (e *TransactionError) Code() string { return CodeTransaction }

// ErrorCode returns the stable code of err: that of a TransactionError or DatabaseError, or the one
// that belongs to the sentinel it wraps.
func ErrorCode(err error) string {
	var te *TransactionError
	if errors.As(err, &te) {
		return te.Code()
	}
	var de *DatabaseError
	if errors.As(err, &de) {
		return de.Code
	}
	return engine.Code(err)
}

func wrap(op string, err error) error {
	var te *TransactionError
	if errors.As(err, &te) {
		return err
	}
	return engine.Wrap(op, err)
}
