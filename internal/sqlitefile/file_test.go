package sqlitefile

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	_ "modernc.org/sqlite"
)

// sample writes a database with rows of every type, inside pages, overflow pages and indexes, by SQLite.
func sample(t testing.TB, path string, pageSize int, wal bool) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	db.SetMaxOpenConns(1)
	exec := func(s string, args ...any) {
		t.Helper()
		if _, err := db.Exec(s, args...); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
	exec(fmt.Sprintf("PRAGMA page_size = %d", pageSize))
	if wal {
		exec("PRAGMA journal_mode = WAL")
		exec("PRAGMA wal_autocheckpoint = 0")
	}
	exec("PRAGMA synchronous = OFF")
	exec("CREATE TABLE before (x)")
	exec("BEGIN")
	exec("CREATE TABLE t (id INTEGER PRIMARY KEY, a, b TEXT UNIQUE)")
	for i := range 200 {
		exec("INSERT INTO t VALUES (?, ?, ?)", i*7-300, []any{nil, 0, 1, -1, 127, -40000, 1 << 23, -1 << 40, 1 << 62, 1.5, "text", []byte{0, 1, 255}}[i%12], fmt.Sprint("key ", i))
	}
	exec("INSERT INTO t VALUES (5000, ?, 'large')", strings.Repeat("overflow ", 3000))
	exec("COMMIT")
	exec("CREATE TABLE w (k TEXT PRIMARY KEY, v) WITHOUT ROWID")
	exec("INSERT INTO w VALUES ('a', 1)")
	exec("CREATE TABLE gone (x)")
	exec("INSERT INTO gone VALUES (zeroblob(5000))")
	exec("DROP TABLE gone")
	if wal { // as a crash would leave it
		for _, suffix := range []string{"", "-wal"} {
			b, err := os.ReadFile(path + suffix)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path+".copy"+suffix, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func rowsOfSQL(t testing.TB, path, query string) (out [][]any) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	rows, err := db.Query(query)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		r := make([]any, 3)
		if err := rows.Scan(&r[0], &r[1], &r[2]); err != nil {
			t.Fatal(err)
		}
		out = append(out, r)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestRowsAreThoseThatSQLiteReads(t *testing.T) {
	t.Parallel()
	for _, pageSize := range []int{512, 1024, 4096, 65536} {
		for _, wal := range []bool{false, true} {
			path := filepath.Join(t.TempDir(), "a.db")
			sample(t, path, pageSize, wal)
			if wal {
				path += ".copy"
			}
			f, err := Open(path)
			if err != nil {
				t.Fatal(err)
			}
			if f.PageSize() != pageSize || f.Header != nil || f.Log != nil || wal != (f.Frames > 0) {
				t.Errorf("page size %d: got %d, header %v, log %v, %d frames", pageSize, f.PageSize(), f.Header, f.Log, f.Frames)
			}
			bad := func(page int, err error) { t.Errorf("page %d: %v", page, err) }
			seen := Pages{}
			objects := f.Schema(seen, bad)
			var got [][]any
			var keys int
			for _, o := range objects {
				index := o.Kind == "index" || f.IsIndex(o.Root)
				if err := f.Walk(o.Root, index, seen, Visitor{Bad: bad, Row: func(r Row) error {
					switch {
					case o.Name == "t":
						got = append(got, append([]any{r.RowID}, r.Values[1:]...))
					case index && o.Table == "t":
						keys++
					}
					return nil
				}}); err != nil {
					t.Error(err)
				}
			}
			if err := f.Free(seen); err != nil {
				t.Errorf("free pages: %v", err)
			}
			if err := f.Stray(seen, func(page int) Visitor {
				t.Errorf("page %d: got it as stray, want every page in a tree or free", page)
				return Visitor{Bad: bad, Row: func(Row) error { return nil }}
			}); err != nil {
				t.Error(err)
			}
			if err := f.Close(); err != nil {
				t.Error(err)
			}
			want := rowsOfSQL(t, path, "SELECT id, a, b FROM t ORDER BY id")
			if !reflect.DeepEqual(got, want) || keys != len(want) {
				t.Errorf("page size %d, wal %t: got %d rows and %d keys, want the %d that SQLite reads", pageSize, wal, len(got), keys, len(want))
			}
		}
	}
}

func TestPageSizeIsGuessed(t *testing.T) {
	t.Parallel()
	for _, pageSize := range []int{512, 1024, 4096, 8192} {
		path := filepath.Join(t.TempDir(), "a.db")
		sample(t, path, pageSize, false)
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		clear(b[:headerSize])
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if f.PageSize() != pageSize || f.Header == nil {
			t.Errorf("page size: got %d and header %v, want %d and that the header is damaged", f.PageSize(), f.Header, pageSize)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
}

// Whatever a file holds, reading it ends, and without a panic.
func FuzzFile(f *testing.F) {
	dir := f.TempDir()
	path := filepath.Join(dir, "a.db")
	sample(f, path, 512, false)
	whole, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	sample(f, filepath.Join(dir, "w.db"), 512, true)
	log, err := os.ReadFile(filepath.Join(dir, "w.db.copy-wal"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole[:20*512], log[:2000])
	f.Add(whole[:6*512], []byte{})
	f.Add([]byte(magic), log[:40])
	f.Fuzz(func(t *testing.T, b, log []byte) {
		path := filepath.Join(t.TempDir(), "f.db")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path+"-wal", log, 0o600); err != nil {
			t.Fatal(err)
		}
		d, err := Open(path)
		if err != nil {
			return
		}
		defer func() { _ = d.Close() }()
		v := Visitor{Bad: func(int, error) {}, Row: func(Row) error { return nil }}
		seen := Pages{}
		for _, o := range d.Schema(seen, v.Bad) {
			if o.Root > 0 {
				_ = d.Walk(o.Root, o.Kind == "index" || d.IsIndex(o.Root), seen, v)
			}
		}
		_ = d.Free(seen)
		_ = d.Stray(seen, func(int) Visitor { return v })
	})
}
