package engine

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// SQLite's locks on a file belong to the process, and end when the process closes any handle of the file,
// whoever opened it. So a file that may be open in this process is looked at through SQLite alone, which
// knows that.

// smallest is the size of the smallest database: one page of 512 bytes.
const smallest = 512

// walHead is the size of a log that holds nothing yet.
const walHead = 32

// creating keeps the handle that creates a file from being closed when the file is in use.
var creating sync.Mutex

// Damaged names the file and says what to do, where err says that a database is damaged. Other errors
// get the file's name, and nil stays nil.
func Damaged(path string, err error) error {
	switch {
	case err == nil:
		return nil
	case path == "":
		return err
	case errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrNotDatabase):
		return fmt.Errorf("%s: %w; restore a backup into a new file with talkbase restore, or rescue what can be read with talkbase salvage", path, err)
	}
	return fmt.Errorf("%s: %w", path, err)
}

// lookAtFile refuses what is not a database of ours before SQLite opens it to write, which alone would
// change it: the journal mode is stored in its header, and a log beside it is worked into it. It creates a
// missing file, readable by its owner only.
func lookAtFile(ctx context.Context, path string, log *slog.Logger) error {
	creating.Lock()
	defer creating.Unlock()
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return createFile(path)
	}
	if err != nil {
		return fmt.Errorf("cannot open %s: %w", path, generic(err))
	}
	switch {
	case info.IsDir():
		return Invalidf("%s is a folder: name a file in it", path)
	case !info.Mode().IsRegular():
		return Invalidf("%s is not a regular file: name another", path)
	case info.Size() == 0:
		if err := refuseLeftLog(path, "is empty"); err != nil {
			return err
		}
		// As SQLite has it, an empty file is an empty database. It may as well be what a crash left.
		log.WarnContext(ctx, "the database's file was there and empty: a new database is made in it", slog.String("file", filepath.Base(path)))
		return nil
	case info.Size() < smallest:
		return refuseTiny(path)
	}
	s, err := lookInto(ctx, path)
	if err == nil && s.Empty {
		s, err = lookIntoCopy(ctx, path) // all there is may still be in the log
	}
	switch {
	case ctx.Err() != nil:
		return Ended(ctx)
	case err == nil && s.Foreign != "":
		return fmt.Errorf("%s: %w", path, Foreign(s.Foreign))
	case err == nil:
		return nil
	}
	switch err = classifySQLite(err); {
	case errors.Is(err, ErrNotDatabase):
		return notDatabase(path)
	case errors.Is(err, errTruncated):
		return Damaged(path, err)
	case errors.Is(err, ErrUnavailable):
		// SQLite does not say why it cannot open the file.
		f, oerr := os.Open(path)
		if oerr != nil {
			return fmt.Errorf("cannot open %s: %w", path, generic(oerr))
		}
		_ = f.Close()
	}
	return nil // opening it with its log shows whether there is any trouble
}

func createFile(path string) error {
	if _, err := os.Stat(filepath.Dir(path)); err != nil {
		return fmt.Errorf("the folder of %s does not exist: create it first: %w", path, because(ErrInvalid, err))
	}
	if err := refuseLeftLog(path, "is not there"); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil // another process was faster
	}
	if err != nil {
		return fmt.Errorf("cannot create %s: %w", path, generic(err))
	}
	return f.Close()
}

// refuseLeftLog refuses to begin a database where an older one's log lies, which SQLite would delete
// with all that only the log holds.
func refuseLeftLog(path, what string) error {
	wal, err := os.Stat(path + "-wal")
	if err != nil || wal.Size() <= walHead {
		return nil //nolint:nilerr // no log
	}
	if again, err := os.Stat(path); err == nil && again.Size() > 0 {
		return nil // another process began it meanwhile
	}
	return fmt.Errorf("%s %s, and its log %s-wal holds data: %w; put the file back that belongs to the log, or restore a backup into a new file with talkbase restore; to begin anew, move the log away",
		path, what, path, ErrCorrupt)
}

// refuseTiny is for a file that cannot be a database, so that nobody has it open as one.
func refuseTiny(path string) error {
	head, err := os.ReadFile(path)
	switch n := min(len(head), len(sqliteHeader)); {
	case err != nil:
		return fmt.Errorf("cannot open %s: %w", path, generic(err))
	case n > 1 && string(head[:n]) == sqliteHeader[:n]:
		return Damaged(path, fmt.Errorf("%w: it ends after %d bytes", ErrCorrupt, len(head)))
	}
	return notDatabase(path)
}

func notDatabase(path string) error {
	return fmt.Errorf("%s: %w: its header is not SQLite's; it may be encrypted or something else, and is left as it is: name another file, or, if it was an SQLite file and is damaged, rescue what can be read with talkbase salvage", path, ErrNotDatabase)
}

// Foreign is the error for a table that talkbase did not create.
func Foreign(table string) error {
	return fmt.Errorf("%w: it has a table %s that talkbase did not create: if this is DeepChat's chat.db, import it into another file with talkbase import; else use another file, or on Postgres another schema", ErrForeignSchema, table)
}

var errTruncated = fmt.Errorf("%w: its end is missing", ErrCorrupt)

// lookInto reads the names of a file's tables without touching it or its folder, and without its log.
func lookInto(ctx context.Context, path string) (State, error) {
	s := State{Empty: true}
	db, err := sql.Open("sqlite", sqliteURI(path, "mode=ro&immutable=1", nil))
	if err != nil {
		return s, err
	}
	defer func() { _ = db.Close() }()
	if err := s.collect(ctx, db, sqliteTables); err != nil {
		return s, err
	}
	var pages, size int64
	if err := db.QueryRowContext(ctx, "SELECT page_count, page_size FROM pragma_page_count, pragma_page_size").Scan(&pages, &size); err != nil {
		return s, err
	}
	return s, refuseTruncated(path, pages*size)
}

// refuseTruncated refuses a file that ends before its last page does, which SQLite takes for zeros. With a
// log beside it, the file may be about to grow.
func refuseTruncated(path string, want int64) error {
	for range 2 { // another process may just have written the log into the file
		if wal, err := os.Stat(path + "-wal"); err == nil && wal.Size() > walHead {
			return nil
		}
		if info, err := os.Stat(path); err != nil || info.Size() >= want && want > 0 {
			return nil //nolint:nilerr // opening it says why
		}
	}
	return errTruncated
}

// lookIntoCopy is lookInto for a file that has a log beside it. The file holds no tables, so the
// copy is small.
func lookIntoCopy(ctx context.Context, path string) (State, error) {
	s := State{Empty: true}
	if st, err := os.Stat(path + "-wal"); err != nil || st.Size() == 0 {
		return s, nil //nolint:nilerr // no log
	}
	dir, err := os.MkdirTemp("", "talkbase-look-")
	if err != nil {
		return s, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	to := filepath.Join(dir, "copy.db")
	if err := copyPages(ctx, to, path); err != nil {
		return s, err
	}
	if err := copyFile(to+"-wal", path+"-wal"); err != nil { // it has no locks
		return s, err
	}
	db, err := sql.Open("sqlite", sqliteURI(to, "mode=rw", nil))
	if err != nil {
		return s, err
	}
	defer func() { _ = db.Close() }()
	return s, s.collect(ctx, db, sqliteTables)
}

// copyPages copies a file, without its log, through SQLite.
func copyPages(ctx context.Context, to, from string) error {
	db, err := sql.Open("sqlite", sqliteURI(from, "mode=ro&immutable=1", nil))
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	return conn.Raw(func(c any) error {
		s, ok := c.(interface{ Serialize() ([]byte, error) })
		if !ok {
			return fmt.Errorf("%w: a connection of type %T", ErrUnsupported, c)
		}
		b, err := s.Serialize()
		if err != nil {
			return err
		}
		return os.WriteFile(to, b, 0o600)
	})
}

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// sqliteTables lists the tables of a file, SQLite's own left out.
const sqliteTables = `SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\_%' ESCAPE '\'`

// probe reads a row of every table of ours and of every index. It takes about a millisecond and
// finds the damage that would make a whole table unreadable; looking for more is the health check's.
func probe(ctx context.Context, db *sql.DB) error {
	rows, err := db.QueryContext(ctx, "SELECT type, name, tbl_name FROM sqlite_master WHERE type IN ('table', 'index') AND rootpage > 0")
	if err != nil {
		return err
	}
	type object struct{ kind, name, table string }
	objects, err := scanAll(rows, func(r *sql.Rows, o *object) error { return r.Scan(&o.kind, &o.name, &o.table) })
	if err != nil {
		return err
	}
	for _, o := range objects {
		base := o.table
		for _, suffix := range []string{"_data", "_idx", "_docsize", "_config", "_content"} { // of FTS5
			base = strings.TrimSuffix(base, suffix)
		}
		if !isOurTable(base) && base != VersionTable {
			continue
		}
		query := `SELECT 1 FROM "` + o.table + `" LIMIT 1`
		if o.kind == "index" {
			query = `SELECT 1 FROM "` + o.table + `" INDEXED BY "` + o.name + `" LIMIT 1`
		}
		var one int
		// A partial index answers no such query, which is no damage.
		if err := classifySQLite(db.QueryRowContext(ctx, query).Scan(&one)); errors.Is(err, ErrCorrupt) {
			return fmt.Errorf("%s %s: %w", o.kind, o.name, err)
		}
	}
	return nil
}
