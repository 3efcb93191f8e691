package migration

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	sqlite "modernc.org/sqlite"
)

func init() { Register(KindSQLite, openSQLite) }

// Bounds of one page of rows. A page ends after the row that reaches one of them.
const (
	pageRows  = 1000
	pageBytes = 1 << 20
)

// Tables of a chat.db.
const (
	tableConversations      = "conversations"
	tableMessages           = "messages"
	tableMessageAttachments = "message_attachments"
	tableAttachments        = "attachments"
	tableSchemaVersions     = "schema_versions"
)

// SQLite's primary result codes that speak of the file itself.
const (
	codeError     = 1 // of statements that are right, when the schema is not
	codeCorrupt   = 11
	codeNotADB    = 26
	codeIOErr     = 10
	codeFull      = 13
	codeShortRead = 10 | 2<<8
)

// sqliteSource reads the private copy of a chat.db.
type sqliteSource struct {
	path string
	dir  string
	db   *sql.DB
	// columns are the columns of each table, by its name.
	columns map[string][]string
	keyed   columnSet // the tables WITHOUT ROWID, in lower case
	chat    *chatIndex
	// warnings name the tables that cannot be read without a module this program has not.
	warnings []string
}

// openSQLite is the OpenFunc of KindSQLite: it copies the database with its write-ahead log and
// opens the copy, so that changes which are only in the log are seen and the original is left alone.
func openSQLite(ctx context.Context, path, workDir string) (Source, error) {
	dir, err := os.MkdirTemp(workDir, "chat-")
	if err != nil {
		return nil, fmt.Errorf("migration: a private folder for %s: %w", path, err)
	}
	s := &sqliteSource{path: path, dir: dir}
	if err := s.open(ctx); err != nil {
		_ = s.Close()
		return nil, err
	}
	return s, nil
}

func (s *sqliteSource) open(ctx context.Context) error {
	file := filepath.Join(s.dir, "chat.db")
	if err := copyDatabase(ctx, s.path, file, "-wal", "-shm", "-journal"); err != nil {
		return err
	}
	db, err := openPrivate(file)
	if err != nil {
		return s.fault(ctx, err)
	}
	s.db = db
	if err := s.checkSize(ctx, file); err != nil {
		return err
	}
	if err := s.readSchema(ctx); err != nil {
		return err
	}
	return s.check(ctx)
}

// openPrivate opens an SQLite file that nobody else has. What it holds need not survive a crash.
func openPrivate(file string) (*sql.DB, error) {
	u := url.URL{Scheme: "file", Opaque: (&url.URL{Path: file}).EscapedPath()}
	q := url.Values{}
	for _, p := range []string{"busy_timeout(5000)", "synchronous(OFF)", "cache_size(-2048)", "mmap_size(268435456)"} {
		q.Add("_pragma", p)
	}
	u.RawQuery = q.Encode()
	db, err := sql.Open("sqlite", u.String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	return db, nil
}

// checkSize compares the size the database says it has with the size of the file. A log may hold
// pages that the file does not have yet.
func (s *sqliteSource) checkSize(ctx context.Context, file string) error {
	var pages, size int64
	if err := s.db.QueryRowContext(ctx, "PRAGMA page_count").Scan(&pages); err != nil {
		return s.fault(ctx, err)
	}
	if err := s.db.QueryRowContext(ctx, "PRAGMA page_size").Scan(&size); err != nil {
		return s.fault(ctx, err)
	}
	have, err := os.Stat(file)
	if err != nil {
		return fmt.Errorf("migration: %s: %w", s.path, err)
	}
	if _, err := os.Stat(s.path + "-wal"); err == nil {
		return nil
	}
	if have.Size() < pages*size {
		return fmt.Errorf("migration: %s: %w: it should have %d bytes and has %d; restore it from a backup such as chat.db.*.bak",
			s.path, ErrSourceDamaged, pages*size, have.Size())
	}
	return nil
}

// readSchema lists the tables and columns and recognises the file.
func (s *sqliteSource) readSchema(ctx context.Context) error {
	s.columns = map[string][]string{}
	names, err := queryStrings(ctx, s.db, `SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\_%' ESCAPE '\' ORDER BY name`)
	if err != nil {
		return s.fault(ctx, err)
	}
	for _, name := range names {
		there, err := s.readable(ctx, name)
		if err != nil {
			return s.fault(ctx, err)
		}
		if !there {
			s.warnings = append(s.warnings, fmt.Sprintf("%s: the virtual table %s needs a module that is not here; it is left out, and the tables that keep its content are not", s.path, name))
			continue
		}
		columns, err := queryStrings(ctx, s.db, "SELECT name FROM pragma_table_info(?) ORDER BY cid", name)
		if err != nil {
			return s.fault(ctx, err)
		}
		s.columns[name] = columns
	}
	keyed, err := queryStrings(ctx, s.db, "SELECT name FROM pragma_table_list WHERE schema = 'main' AND wr = 1")
	if err != nil {
		return s.fault(ctx, err)
	}
	s.keyed = newColumnSet(keyed)
	if _, ours := s.columns["talkbase_schema_version"]; ours {
		return fmt.Errorf("migration: %s: %w: it is a talkbase database already; open it instead of importing it", s.path, ErrNotLegacy)
	}
	_, conversations := s.columns[tableConversations]
	_, messages := s.columns[tableMessages]
	if len(names) > 0 && !conversations && !messages {
		return fmt.Errorf("migration: %s: %w: an SQLite database without conversations and messages; give DeepChat's chat.db", s.path, ErrNotLegacy)
	}
	return nil
}

// readable reports whether the module of a virtual table is there. Other tables need none.
func (s *sqliteSource) readable(ctx context.Context, name string) (bool, error) {
	virtual, err := queryStrings(ctx, s.db, "SELECT name FROM sqlite_schema WHERE type = 'table' AND name = ? AND rootpage = 0", name)
	if err != nil || len(virtual) == 0 {
		return err == nil, err
	}
	_, err = queryStrings(ctx, s.db, "SELECT 1 FROM "+quoteName(name)+" LIMIT 0")
	if err != nil && strings.Contains(err.Error(), "no such module") { // SQLite has no code for it
		return false, nil
	}
	return err == nil, err
}

// Warnings names the tables that were left out.
func (s *sqliteSource) Warnings() []string { return s.warnings }

// check reads every page once, so that damage is found before anything is written elsewhere. What
// the check says about values and indexes is no damage: the importer deals with such rows, and
// rows are read from tables.
func (s *sqliteSource) check(ctx context.Context) error {
	findings, err := queryStrings(ctx, s.db, "PRAGMA quick_check(10)")
	if err != nil {
		return s.fault(ctx, err)
	}
	for _, f := range findings {
		if damage(f) {
			return fmt.Errorf("migration: %s: %w: %s; restore it from a backup such as chat.db.*.bak, or recover it with the sqlite3 shell's .recover",
				s.path, ErrSourceDamaged, firstLine(f))
		}
	}
	return nil
}

// damage tells a finding of quick_check about pages from one about values.
func damage(finding string) bool {
	for _, harmless := range []string{"NULL value in ", "CHECK constraint failed in ", "non-unique entry in index ", "missing from index ", "wrong # of entries in index "} {
		if strings.Contains(finding, harmless) {
			return false
		}
	}
	return finding != "ok"
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}

// fault gives an error of the private copy its meaning.
func (s *sqliteSource) fault(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("migration: %s: %w", s.path, ctx.Err())
	}
	var e *sqlite.Error
	if errors.As(err, &e) {
		switch {
		case e.Code()&0xff == codeNotADB:
			return fmt.Errorf("migration: %s: %w: it is encrypted or not an SQLite database: %w", s.path, ErrNotLegacy, err)
		case e.Code() == codeError, e.Code()&0xff == codeCorrupt, e.Code() == codeShortRead, e.Code()&0xff == codeIOErr:
			return fmt.Errorf("migration: %s: %w: restore it from a backup such as chat.db.*.bak, or recover it with the sqlite3 shell's .recover: %w",
				s.path, ErrSourceDamaged, err)
		}
	}
	return fmt.Errorf("migration: %s: %w", s.path, err)
}

// Kind is KindSQLite.
func (s *sqliteSource) Kind() Kind { return KindSQLite }

// Path is the user's file.
func (s *sqliteSource) Path() string { return s.path }

// Tables lists the tables with their columns and numbers of rows.
func (s *sqliteSource) Tables(ctx context.Context) ([]SourceTable, error) {
	out := make([]SourceTable, 0, len(s.columns))
	for name, columns := range s.columns {
		t := SourceTable{Name: name, Columns: slices.Clone(columns)}
		if err := s.db.QueryRowContext(ctx, "SELECT count(*) FROM "+quoteName(name)+" NOT INDEXED").Scan(&t.Rows); err != nil {
			return nil, s.fault(ctx, err)
		}
		out = append(out, t)
	}
	slices.SortFunc(out, func(a, b SourceTable) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// Rows streams a table in pages bounded by rows and bytes.
func (s *sqliteSource) Rows(ctx context.Context, table string, after int64) iter.Seq2[SourceRow, error] {
	return func(yield func(SourceRow, error) bool) {
		columns, ok := s.columns[table]
		if !ok {
			yield(SourceRow{}, fmt.Errorf("migration: %s: no table %q", s.path, table))
			return
		}
		// A unary plus keeps the driver from turning text into times where a column is declared as
		// a date, and changes no value.
		query := "SELECT rowid"
		for _, c := range columns {
			query += ", +" + quoteName(c)
		}
		from := quoteName(table)
		if _, ok := s.keyed[strings.ToLower(table)]; ok { // a table without rowids of its own is numbered in the order of its key
			from = "(SELECT row_number() OVER () AS rowid, * FROM " + from + ")"
		}
		query += fmt.Sprintf(" FROM %s WHERE rowid > ? ORDER BY rowid LIMIT %d", from, pageRows)
		if len(columns) == 0 {
			return
		}
		for {
			page, more, err := s.page(ctx, query, len(columns), after)
			if err != nil {
				yield(SourceRow{}, s.fault(ctx, err))
				return
			}
			for i, row := range page {
				page[i] = SourceRow{} // the caller's from here on
				after = row.RowID
				if !yield(row, nil) {
					return
				}
			}
			if !more {
				return
			}
		}
	}
}

// page reads rows after a rowid until the page is full. more says whether to ask again.
func (s *sqliteSource) page(ctx context.Context, query string, columns int, after int64) (page []SourceRow, more bool, err error) {
	rows, err := s.db.QueryContext(ctx, query, after)
	if err != nil {
		return nil, false, err
	}
	defer func() { _ = rows.Close() }()
	size := 0
	for rows.Next() {
		row := SourceRow{Values: make([]any, columns)}
		dest := make([]any, columns+1)
		dest[0] = &row.RowID
		for i := range row.Values {
			dest[i+1] = &row.Values[i]
		}
		if err := rows.Scan(dest...); err != nil {
			return nil, false, err
		}
		page = append(page, row)
		if size += rowSize(row); size >= pageBytes || len(page) >= pageRows {
			return page, true, nil
		}
	}
	return page, false, rows.Err()
}

// rowSize estimates the memory a row takes, in bytes.
func rowSize(row SourceRow) int {
	size := 48 + 16*len(row.Values)
	for _, v := range row.Values {
		switch t := v.(type) {
		case string:
			size += len(t)
		case []byte:
			size += len(t)
		case []float32:
			size += 4 * len(t)
		case []any:
			size += 24 * len(t)
		}
	}
	return size
}

// Close removes the private copy.
func (s *sqliteSource) Close() error {
	var errs []error
	if s.chat != nil {
		errs = append(errs, s.chat.close())
	}
	if s.db != nil {
		errs = append(errs, s.db.Close())
	}
	if err := os.RemoveAll(s.dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func quoteName(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// queryStrings returns the only column of a query.
func queryStrings(ctx context.Context, db *sql.DB, query string, args ...any) ([]string, error) {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var out []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, rows.Err()
}
