//go:build cgo && ((linux && (amd64 || arm64)) || (darwin && (amd64 || arm64)) || (windows && amd64))

package duckdb

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/talkbase/talkbase/migration"
)

func init() { migration.Register(migration.KindDuckDB, Open) }

// DuckDB's own limits, in MB, for what it holds of the file; the rows handed out are not in it.
const (
	// memoryLimit does for ordinary rows. What replaying a large log needs beyond it spills to the private
	// folder.
	memoryLimit = 64
	// listLimit does for lists of any length.
	listLimit = 512
	// DuckDB works on 2,048 rows at a time, a few times over.
	chunkRows, chunksHeld = 2048, 4
)

// limitOf is the limit for reading tables with these columns.
func limitOf(tables map[string][]column) int {
	limit := memoryLimit
	for _, columns := range tables {
		for _, c := range columns {
			switch c.kind {
			case kindArray:
				limit = max(limit, chunksHeld*chunkRows*4*c.size>>20)
			case kindList, kindDoubles:
				limit = max(limit, listLimit)
			}
		}
	}
	return limit
}

func megabytes(n int) string { return strconv.Itoa(n) + "MB" }

// Bounds of what is read at a time: DuckDB makes the whole result of a query in memory that its limit
// does not cover. 4,096 rows are two of its chunks.
const (
	pageRows  = 4096
	pageBytes = 8 << 20
	// listBytes is assumed of a list, whose length is not declared.
	listBytes = 8 << 10
)

// pageOf is how many rows of these columns are read at a time.
func pageOf(columns []column) int64 {
	row := 1
	for _, c := range columns {
		switch c.kind {
		case kindArray:
			row += 4 * c.size
		case kindList, kindDoubles:
			row += listBytes
		}
	}
	return int64(min(pageRows, max(1, pageBytes/row)))
}

// Source is a knowledge base opened for reading. It is a [migration.Source] and safe for use by
// several goroutines; each Rows has a connection of its own.
type Source struct {
	path, dir, copied string
	db                *database
	warnings          []string

	mu     sync.Mutex
	users  int
	closed bool
}

// Open opens the knowledge base at path for reading. It copies the file, and the log `<path>.wal`
// if there is one, into a folder that it makes in workDir, and never writes, locks or leaves
// anything beside the original. Neither the network nor an extension is used: the index of the vss
// extension that the application makes is passed over.
//
// A log of another file may by chance apply: the format of the application's DuckDB does not say
// which file it belongs to.
//
// Errors: migration.ErrNotLegacy for what is not a DuckDB database or is an encrypted one,
// migration.ErrSourceLocked if the application is running, migration.ErrSourceDamaged, with
// [ErrWAL] if the log is to blame, and migration.ErrNoReader with [ErrVersion] for a file of a
// newer DuckDB. A damaged file may also open, and fail in Rows.
//
// On cancellation of ctx the copying stops; DuckDB's own opening, which replays the log, cannot be
// stopped. A process that itself has the file open in DuckDB must not call Open on it: POSIX drops
// a process's locks on a file with the first descriptor closed.
func Open(ctx context.Context, path, workDir string) (migration.Source, error) {
	s, err := open(ctx, path, workDir)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func open(ctx context.Context, path, workDir string) (_ *Source, err error) {
	s := &Source{path: path}
	kind, err := migration.DetectKind(path)
	if isSharingViolation(err) {
		err = fmt.Errorf("%w: close the application that uses it and try again", migration.ErrSourceLocked)
	}
	if err != nil {
		return nil, s.wrap(err)
	}
	if kind != migration.KindDuckDB {
		return nil, s.wrap(fmt.Errorf("%w: it is a file of kind %s, not a knowledge base", migration.ErrNotLegacy, kind))
	}
	// Absolute, for DuckDB takes "word:rest" for a kind of database and its name.
	if workDir, err = filepath.Abs(workDir); err != nil {
		return nil, s.wrap(err)
	}
	if s.dir, err = os.MkdirTemp(workDir, "duckdb-"); err != nil {
		return nil, s.wrap(err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(s.dir))
		}
	}()
	var wal bool
	if s.copied, wal, err = copyPrivate(ctx, path, s.dir); err != nil {
		return nil, s.wrap(err)
	}
	if wal {
		warning, err := checkWAL(s.copied + ".wal")
		if err != nil {
			return nil, s.wrap(err)
		}
		if warning != "" {
			s.warnings = append(s.warnings, warning)
		}
	}
	if s.db, err = openDatabase(s.copied, s.settings(wal)); err != nil {
		return nil, s.wrap(err)
	}
	err = s.prepare(ctx, wal)
	// Opening may have taken long, and the caller should not have to find out later.
	if err = errors.Join(err, ctx.Err()); err != nil {
		s.db.close()
		return nil, s.wrap(err)
	}
	return s, nil
}

// prepare sets what depends on the file.
func (s *Source) prepare(ctx context.Context, wal bool) error {
	c, err := s.db.connect()
	if err != nil {
		return err
	}
	defer c.close()
	if wal { // which is not to be written into a copy that is then thrown away
		if err := c.exec(ctx, "PRAGMA disable_checkpoint_on_shutdown"); err != nil {
			return err
		}
	}
	_, columns, err := c.catalog(ctx)
	if err != nil {
		return err
	}
	if limit := limitOf(columns); limit > memoryLimit {
		return c.exec(ctx, "SET memory_limit = '"+megabytes(limit)+"'")
	}
	return nil
}

// settings of the database that is a copy of the user's.
func (s *Source) settings(wal bool) []setting {
	mode := "READ_ONLY"
	if wal {
		// A log that creates an index of an extension can only be replayed by a writer.
		mode = "READ_WRITE"
	}
	return []setting{
		{"access_mode", mode},
		// One thread, the caller's: rows come in order, nothing runs in the background, and reading
		// pages from a file gains nothing from a second one.
		{"threads", "1"},
		{"memory_limit", megabytes(memoryLimit)},
		{"temp_directory", filepath.Join(s.dir, "tmp")},
		{"autoinstall_known_extensions", "false"},
		{"autoload_known_extensions", "false"},
		{"allow_persistent_secrets", "false"},
		// Whatever a hostile file has in its generated columns, it reaches no other file.
		{"enable_external_access", "false"},
		// See prepare.
		{"checkpoint_threshold", "1TB"},
	}
}

// Kind is migration.KindDuckDB.
func (s *Source) Kind() migration.Kind { return migration.KindDuckDB }

// Path is the user's file, as given to Open.
func (s *Source) Path() string { return s.path }

// Warnings are sentences about what was passed over in silence by DuckDB, so far: an incomplete
// end of the log. Nil if there was nothing.
func (s *Source) Warnings() []string { return slices.Clone(s.warnings) }

// Close removes the private copy. If rows are still being read, they end with an error that wraps
// os.ErrClosed, and the copy goes with the last of them. Closing twice does nothing.
func (s *Source) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	if s.users > 0 {
		return nil
	}
	return s.dispose()
}

func (s *Source) dispose() error {
	s.db.close()
	if err := os.RemoveAll(s.dir); err != nil {
		return s.wrap(err)
	}
	return nil
}

// acquire gives a connection that keeps the copy alive until it is given back.
func (s *Source) acquire() (*conn, func(), error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, nil, os.ErrClosed
	}
	c, err := s.db.connect()
	if err != nil {
		return nil, nil, err
	}
	s.users++
	return c, func() {
		c.close()
		s.mu.Lock()
		defer s.mu.Unlock()
		s.users--
		if s.closed && s.users == 0 {
			// Nobody is left to tell, and the caller removes the folder above anyway.
			_ = s.dispose()
		}
	}, nil
}

func (s *Source) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// Tables lists every table of the file: file, chunk, vector and metadata as far as they are there,
// and any other. Rows is what the file says of itself, which damage may have made untrue; Rows
// compares. A file without tables gives none.
func (s *Source) Tables(ctx context.Context) ([]migration.SourceTable, error) {
	tables, err := s.tables(ctx)
	if err != nil {
		return nil, s.wrap(err)
	}
	return tables, nil
}

func (s *Source) tables(ctx context.Context) ([]migration.SourceTable, error) {
	c, release, err := s.acquire()
	if err != nil {
		return nil, err
	}
	defer release()
	names, columns, err := c.catalog(ctx)
	if err != nil {
		return nil, err
	}
	var tables []migration.SourceTable
	for _, name := range names {
		t := migration.SourceTable{Name: name}
		for _, col := range columns[name] {
			t.Columns = append(t.Columns, col.name)
		}
		if t.Rows, err = c.int64(ctx, "SELECT count(*) FROM main."+quote(name)); err != nil {
			return nil, err
		}
		tables = append(tables, t)
	}
	return tables, nil
}

// Inspect reads every row once, without handing any out, so that damage is found before rows of the file
// go anywhere. The error is that of Rows.
func (s *Source) Inspect(ctx context.Context) error {
	if err := s.inspect(ctx); err != nil {
		return s.wrap(err)
	}
	return nil
}

func (s *Source) inspect(ctx context.Context) error {
	c, release, err := s.acquire()
	if err != nil {
		return err
	}
	defer release()
	names, columns, err := c.catalog(ctx)
	if err != nil {
		return err
	}
	for _, name := range names {
		list := make([]string, len(columns[name]))
		for i, col := range columns[name] {
			list[i] = quote(col.name)
		}
		from := " FROM main." + quote(name)
		want, err := c.int64(ctx, "SELECT count(*)"+from)
		if err != nil {
			return err
		}
		// Hashing has DuckDB read every block, and compare it with its sum.
		got, err := c.int64(ctx, "SELECT count(*), bit_xor(hash("+strings.Join(list, ", ")+"))"+from)
		if err != nil {
			return err
		}
		if got != want {
			return s.short(name, got, want)
		}
	}
	return nil
}

func (s *Source) short(table string, got, want int64) error {
	return fmt.Errorf("%w: %d of the %d rows of table %q could be read", migration.ErrSourceDamaged, got, want, table)
}

// catalog reads which tables there are, in the order of their names, and their columns.
func (c *conn) catalog(ctx context.Context) (names []string, columns map[string][]column, err error) {
	res, err := c.query(ctx, `SELECT table_name, column_name, data_type
		FROM duckdb_columns() JOIN duckdb_tables() USING (database_oid, schema_oid, table_oid, table_name)
		WHERE duckdb_tables.database_name = current_database() AND duckdb_tables.schema_name = 'main'
			AND NOT duckdb_tables.internal AND NOT duckdb_tables.temporary
		ORDER BY table_name, column_index`)
	if err != nil {
		return nil, nil, err
	}
	defer res.close()
	columns = map[string][]column{}
	for {
		ch, err := res.next(ctx)
		if errors.Is(err, io.EOF) {
			return names, columns, nil
		}
		if err != nil {
			return nil, nil, err
		}
		table, name, sqlType := ch.vector(0), ch.vector(1), ch.vector(2)
		for row := range ch.rows {
			t := table.string(row)
			if columns[t] == nil {
				names = append(names, t)
			}
			columns[t] = append(columns[t], newColumn(name.string(row), sqlType.string(row)))
		}
	}
}

// Rows streams a table's rows in the order of the file. A RowID is DuckDB's rowid plus one, so that
// every row has one greater than zero; rows that the application deleted or changed leave gaps.
//
// Integers up to 64 bits signed are int64, FLOAT and DOUBLE float64, BOOLEAN bool, BLOB []byte. An
// array or list of numbers is a []float32 of its own length, NaN and infinities as they stand; with
// NULL elements it is a []any of float32 and nil. Everything else is the string that DuckDB makes of
// it: JSON as it was written, a timestamp like 2025-01-31 12:00:00.
//
// The stream ends with migration.ErrSourceDamaged where the file cannot be read, or at its end if
// there were fewer rows than the file says. The rows before that are good: DuckDB checks blocks by
// their sums. It ends with the context's error soon after ctx is done.
func (s *Source) Rows(ctx context.Context, table string, after int64) iter.Seq2[migration.SourceRow, error] {
	return func(yield func(migration.SourceRow, error) bool) {
		if err := s.rows(ctx, table, after, yield); err != nil {
			yield(migration.SourceRow{}, s.wrap(err))
		}
	}
}

// rows returns nil when all is read, or when yield wants no more.
func (s *Source) rows(ctx context.Context, table string, after int64, yield func(migration.SourceRow, error) bool) error {
	c, release, err := s.acquire()
	if err != nil {
		return err
	}
	defer release()
	_, all, err := c.catalog(ctx)
	if err != nil {
		return err
	}
	columns, ok := all[table]
	if !ok {
		return fmt.Errorf("it has no table %q", table)
	}
	exprs := []string{"rowid"}
	for _, col := range columns {
		if strings.EqualFold(col.name, "rowid") {
			return fmt.Errorf("its table %q has a column of the name rowid, which hides the place of a row", table)
		}
		exprs = append(exprs, col.expr())
	}
	from := " FROM main." + quote(table) + " WHERE rowid >= $1"
	next := max(after, 0) // the first rowid to read
	// A file cut short still knows how many rows it had.
	want, err := c.int64(ctx, "SELECT count(*)"+from, next)
	if err != nil {
		return err
	}
	// No ORDER BY: one thread scans by rowid anyway, and a limit then ends the scan, while a page of
	// a sorted query would go through all the rest of the table. The page checks it.
	limit := pageOf(columns)
	query := fmt.Sprintf("SELECT %s%s LIMIT %d", strings.Join(exprs, ", "), from, limit)
	var got int64
	for {
		n, last, err := s.page(ctx, c, query, next, columns, yield)
		if err != nil || n < 0 {
			return err
		}
		got += n
		if n < limit {
			break
		}
		next = last + 1
	}
	if got != want {
		return s.short(table, got, want)
	}
	return nil
}

// page yields the rows of one query from rowid first on. It returns how many there were and the
// last one's rowid; n is -1 if yield wants no more.
func (s *Source) page(ctx context.Context, c *conn, query string, first int64, columns []column,
	yield func(migration.SourceRow, error) bool,
) (n, last int64, err error) {
	res, err := c.query(ctx, query, first)
	if err != nil {
		return 0, 0, err
	}
	defer res.close()
	last = first - 1
	decoders := make([]decoder, len(columns))
	for {
		ch, err := res.next(ctx)
		if errors.Is(err, io.EOF) {
			return n, last, nil
		}
		if err != nil {
			return 0, 0, err
		}
		rowids := ch.vector(0)
		for i, col := range columns {
			decoders[i] = ch.decoder(i+1, col)
		}
		for row := range ch.rows {
			if err := ctx.Err(); err != nil {
				return 0, 0, err
			}
			if s.isClosed() {
				return 0, 0, os.ErrClosed
			}
			id := rowids.int64(row)
			if id <= last {
				return 0, 0, fmt.Errorf("%w: row %d follows row %d", migration.ErrSourceDamaged, id, last)
			}
			n, last = n+1, id
			out := migration.SourceRow{RowID: id + 1, Values: make([]any, len(columns))}
			for i, value := range decoders {
				out.Values[i] = value(row)
			}
			if !yield(out, nil) {
				return -1, 0, nil
			}
		}
	}
}
