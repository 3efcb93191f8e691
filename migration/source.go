package migration

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"sync"
)

// Kind names a format of legacy file.
type Kind string

// The kinds of legacy file.
const (
	// KindSQLite is a chat.db: conversations, messages and attachments.
	KindSQLite Kind = "sqlite"
	// KindDuckDB is a knowledge base: files, chunks and vectors.
	KindDuckDB Kind = "duckdb"
)

// Errors about sources.
var (
	// ErrNoReader means that no reader for a kind of file is linked into the program. The message
	// says which import to add.
	ErrNoReader = errors.New("no reader for this kind of file")
	// ErrNotLegacy means that a file is of no known kind: encrypted, damaged or something else.
	ErrNotLegacy = errors.New("not a legacy database")
	// ErrSourceLocked means that another program has the file open.
	ErrSourceLocked = errors.New("the file is in use")
	// ErrSourceDamaged means that a file could be recognised but not read as a whole.
	ErrSourceDamaged = errors.New("the file is damaged")
)

// SourceTable is one table found in a legacy file.
type SourceTable struct {
	// Name is the table's own name in the file.
	Name string
	// Columns are its columns in the file's order.
	Columns []string
	// Rows is how many rows the file says it has.
	Rows int64
}

// SourceRow is one row as the file holds it, nothing coerced.
type SourceRow struct {
	// RowID is the row's place in the file, ascending within a table; keyset paging goes by it.
	RowID int64
	// Values are in the order of the table's columns: nil, int64, float64, bool, string (which
	// may hold any bytes), []byte, or, for a vector, []float32; a vector with NULL elements is []any.
	Values []any
}

// Source is one legacy file opened for reading. It MUST read a private copy, so that neither the
// user's file nor its folder is touched, and it MUST return what the file holds, not what it
// should hold: coercion is the importer's work.
type Source interface {
	// Kind says how the rows are to be understood.
	Kind() Kind
	// Path is the user's file, as given.
	Path() string
	// Tables lists the tables found, in any order. A file without tables has none; that is no
	// error.
	Tables(ctx context.Context) ([]SourceTable, error)
	// Rows streams a table's rows with RowID greater than after, ascending. It reads in pages and
	// holds no more than one page in memory. The yielded Values are the caller's to keep. An error ends
	// the stream.
	Rows(ctx context.Context, table string, after int64) iter.Seq2[SourceRow, error]
	// Close removes the private copy.
	Close() error
}

// Inspector is what a Source implements that does not find all damage when it is opened.
type Inspector interface {
	// Inspect reads everything once. The error is the one that reading the rows would end with.
	Inspect(ctx context.Context) error
}

// OpenFunc opens the file at path for reading, working in workDir, a private folder that the
// caller removes.
type OpenFunc func(ctx context.Context, path, workDir string) (Source, error)

var (
	readersMu sync.RWMutex
	readers   = map[Kind]OpenFunc{}
)

// Register makes a reader available for a kind of file. Readers call it from init; registering a
// kind twice panics, as database/sql's Register does.
func Register(kind Kind, open OpenFunc) {
	readersMu.Lock()
	defer readersMu.Unlock()
	if open == nil {
		panic("migration: Register with a nil reader")
	}
	if _, dup := readers[kind]; dup {
		panic("migration: Register called twice for " + string(kind))
	}
	readers[kind] = open
}

// DetectKind reads the first bytes of the file at path. A file that is neither an SQLite nor a
// DuckDB database gives ErrNotLegacy.
func DetectKind(path string) (Kind, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	head := make([]byte, 16)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return "", err
	}
	head = head[:n]
	switch {
	case string(head) == "SQLite format 3\x00":
		return KindSQLite, nil
	case n >= 12 && string(head[8:12]) == "DUCK":
		return KindDuckDB, nil
	case n == 0:
		return "", fmt.Errorf("migration: %s: %w: it is empty", path, ErrNotLegacy)
	default:
		return "", fmt.Errorf("migration: %s: %w: its header is neither SQLite's nor DuckDB's; it may be encrypted", path, ErrNotLegacy)
	}
}

// OpenSource opens the file at path with the reader registered for its kind. Without one the
// error is ErrNoReader.
func OpenSource(ctx context.Context, path, workDir string) (Source, error) {
	kind, err := DetectKind(path)
	if err != nil {
		return nil, err
	}
	readersMu.RLock()
	open := readers[kind]
	readersMu.RUnlock()
	if open == nil {
		return nil, fmt.Errorf(`migration: %s: %w: add import _ "github.com/talkbase/talkbase/migration/%s"`, path, ErrNoReader, kind)
	}
	return open(ctx, path, workDir)
}
