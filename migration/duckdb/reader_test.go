//go:build cgo && ((linux && (amd64 || arm64)) || (darwin && (amd64 || arm64)) || (windows && amd64))

package duckdb

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/talkbase/talkbase/migration"
)

// holdEnv makes the test binary a process that holds a knowledge base open, as the application does.
const holdEnv = "TALKBASE_TEST_HOLD"

func TestMain(m *testing.M) {
	if path := os.Getenv(holdEnv); path != "" {
		hold(path)
		return
	}
	goleak.VerifyTestMain(m)
}

// hold opens the file for writing, says so, and closes it when its input ends.
func hold(path string) {
	db, err := openDatabase(path, nil)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("open")
	_, _ = io.Copy(io.Discard, os.Stdin)
	db.close()
}

// legacyFile is a file that the application wrote itself.
func legacyFile(t testing.TB, name string) string {
	t.Helper()
	dir := os.Getenv("TALKBASE_LEGACY_DIR")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "legacy")
	}
	path := filepath.Join(dir, "duckdb", name)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("the legacy files are not here; TALKBASE_LEGACY_DIR says where: %v", err)
	}
	return path
}

func copyTo(t testing.TB, src, dst string) {
	t.Helper()
	data, err := os.ReadFile(src)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dst, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// snapshot describes every file of a folder.
func snapshot(t testing.TB, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		out[e.Name()] = fmt.Sprintf("%v %v %x", info.Mode(), info.ModTime(), sha256.Sum256(data))
	}
	return out
}

// mustOpen opens path and checks, at the end of the test, that closing leaves nothing.
func mustOpen(t testing.TB, path string) *Source {
	t.Helper()
	work := t.TempDir()
	src, err := Open(t.Context(), path, work)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := src.Close(); err != nil {
			t.Error(err)
		}
		if left := snapshotNames(t, work); len(left) > 0 {
			t.Errorf("left in the work folder: %v", left)
		}
	})
	return src.(*Source)
}

func snapshotNames(t testing.TB, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// readAll reads a whole source: its rows by table, as maps by column.
func readAll(ctx context.Context, src migration.Source) (map[string][]map[string]any, error) {
	tables, err := src.Tables(ctx)
	if err != nil {
		return nil, err
	}
	all := map[string][]map[string]any{}
	for _, table := range tables {
		last := int64(0)
		for row, err := range src.Rows(ctx, table.Name, 0) {
			if err != nil {
				return nil, err
			}
			if row.RowID <= last {
				return nil, fmt.Errorf("RowID %d after %d", row.RowID, last)
			}
			last = row.RowID
			m := map[string]any{}
			for i, name := range table.Columns {
				m[name] = row.Values[i]
			}
			all[table.Name] = append(all[table.Name], m)
		}
		if n := int64(len(all[table.Name])); n != table.Rows {
			return nil, fmt.Errorf("%d rows of table %s, which says %d", n, table.Name, table.Rows)
		}
	}
	return all, nil
}

func mustRead(t testing.TB, src migration.Source) map[string][]map[string]any {
	t.Helper()
	all, err := readAll(t.Context(), src)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestLegacyFiles(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		file                   string
		wal                    bool
		dimensions             int
		files, chunks, vectors int
	}{
		{"kb-small-1024", false, 1024, 9, 46, 45},
		{"kb-wal", true, 0, 3, 51, 50},
		{"kb-wal", false, 0, 1, 20, 20},
		{"kb-dim-384", false, 384, 3, 90, 90},
	} {
		t.Run(fmt.Sprintf("%s wal %v", tc.file, tc.wal), func(t *testing.T) {
			t.Parallel()
			// A copy that can be written, so that a writer would leave its mark.
			dir := t.TempDir()
			path := filepath.Join(dir, tc.file)
			copyTo(t, legacyFile(t, tc.file), path)
			if tc.wal {
				copyTo(t, legacyFile(t, tc.file+".wal"), path+".wal")
			}
			before := snapshot(t, dir)
			src := mustOpen(t, path)
			if src.Kind() != migration.KindDuckDB || src.Path() != path {
				t.Errorf("it is %s at %s", src.Kind(), src.Path())
			}
			all := mustRead(t, src)
			if w := src.Warnings(); w != nil {
				t.Errorf("warnings: %q", w)
			}
			if len(all["file"]) != tc.files || len(all["chunk"]) != tc.chunks || len(all["vector"]) != tc.vectors {
				t.Errorf("%d files, %d chunks, %d vectors", len(all["file"]), len(all["chunk"]), len(all["vector"]))
			}
			if m := all["metadata"]; len(m) == 0 || m[0]["key"] != "db_version" || m[0]["value"] != "1" {
				t.Errorf("metadata: %v", m)
			}
			for _, v := range all["vector"] {
				switch e := v["embedding"].(type) {
				case nil:
				case []float32:
					if tc.dimensions > 0 && len(e) != tc.dimensions {
						t.Errorf("a vector of %d", len(e))
					}
				case []any:
					if !slices.Contains(e, nil) {
						t.Error("a []any without a nil")
					}
				default:
					t.Errorf("a vector as %T", e)
				}
			}
			if err := src.Close(); err != nil {
				t.Error(err)
			}
			if after := snapshot(t, dir); !reflect.DeepEqual(before, after) {
				t.Errorf("the source changed: %v, now %v", before, after)
			}
		})
	}
}

// TestLegacyQuirks looks at the irregular rows of a file that the application wrote.
func TestLegacyQuirks(t *testing.T) {
	t.Parallel()
	all := mustRead(t, mustOpen(t, legacyFile(t, "kb-small-1024")))
	files := map[any]map[string]any{}
	for _, f := range all["file"] {
		files[f["id"]] = f
	}
	if got := files["file-nanjson"]["metadata"]; got != `{"size":NaN}` {
		t.Errorf("metadata is %v", got)
	}
	if got := files["file-nuljson"]["metadata"]; got != `{"errorReason":"a\u0000b"}` {
		t.Errorf("metadata is %v", got)
	}
	if got := files["file-secs"]["uploaded_at"]; got != int64(1760000000) {
		t.Errorf("uploaded_at is %v", got)
	}
	for _, name := range []string{"name", "path", "mime_type", "status", "uploaded_at", "metadata"} {
		if got := files["file-null"][name]; got != nil {
			t.Errorf("%s is %v", name, got)
		}
	}
}

// TestLegacyLink reads a file and its log through a link to the file.
func TestLegacyLink(t *testing.T) {
	t.Parallel()
	origin, err := filepath.Abs(legacyFile(t, "kb-wal"))
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(origin, link); err != nil {
		t.Skip(err)
	}
	if all := mustRead(t, mustOpen(t, link)); len(all["chunk"]) != 51 {
		t.Errorf("%d chunks", len(all["chunk"]))
	}
}

// TestOddPath has everything in the path that a URL or SQL would take for something else.
func TestOddPath(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a b%20c#'知识库")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "x=1&'#%41")
	if _, err := (LegacyKnowledge{Dimensions: 2, InWAL: 1}).Write(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	read := func(path string) {
		t.Helper()
		src, err := Open(t.Context(), path, dir)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = src.Close() }()
		if all := mustRead(t, src); len(all["vector"]) != 30 {
			t.Errorf("%d vectors", len(all["vector"]))
		}
	}
	read(path)
	if runtime.GOOS == "windows" {
		return
	}
	// DuckDB would look elsewhere for the log of a file with a question mark; the reader does not.
	odd := filepath.Join(dir, `what?"`)
	copyTo(t, path, odd)
	copyTo(t, path+".wal", odd+".wal")
	read(odd)
	if err := os.Mkdir(odd+"work", 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), path, odd+"work"); err == nil || !strings.Contains(err.Error(), "question mark") {
		t.Errorf("in a folder with a question mark: %v", err)
	}
}

func TestRowsAfter(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "kb")
	if _, err := (LegacyKnowledge{Dimensions: 3, Files: 10, ChunksPerFile: 1000}).Write(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	src := mustOpen(t, path)
	var ids []int64
	var texts []any
	for row, err := range src.Rows(t.Context(), "chunk", 0) {
		if err != nil {
			t.Fatal(err)
		}
		ids, texts = append(ids, row.RowID), append(texts, row.Values[2])
	}
	if len(ids) != 10_000 || ids[0] != 1 {
		t.Fatalf("%d rows from %d on", len(ids), ids[0])
	}
	for _, from := range []int{1, 2047, 4095, 4096, 4097, 9999, 10_000} {
		i := from
		for row, err := range src.Rows(t.Context(), "chunk", ids[from-1]) {
			if err != nil {
				t.Fatal(err)
			}
			if row.RowID != ids[i] || row.Values[2] != texts[i] {
				t.Fatalf("after %d, row %d is %d: %v", from, i, row.RowID, row.Values[2])
			}
			i++
		}
		if i != len(ids) {
			t.Errorf("after %d, the rows end at %d", from, i)
		}
	}
	for _, after := range []int64{1 << 40, -1} {
		n := 0
		for _, err := range src.Rows(t.Context(), "chunk", after) {
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
		if want := map[int64]int{1 << 40: 0, -1: 10_000}[after]; n != want {
			t.Errorf("%d rows after %d", n, after)
		}
	}
	for _, err := range src.Rows(t.Context(), "nothing", 0) {
		if err == nil {
			t.Error("rows of a table that is not there")
		}
	}
}

// TestConstantVectors reads vectors that DuckDB stores as one value repeated.
func TestConstantVectors(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "kb")
	constant := []float32{1, 1, 1, 1, 1}
	if _, err := (LegacyKnowledge{
		Dimensions: 5, Files: 1, ChunksPerFile: 5000, Embed: func(string) []float32 { return constant },
	}).Write(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	seen := map[*float32]bool{}
	for _, row := range mustRead(t, mustOpen(t, path))["vector"] {
		v := row["embedding"].([]float32)
		if !slices.Equal(v, constant) || seen[&v[0]] {
			t.Fatalf("a vector %v, or one handed out twice", v)
		}
		seen[&v[0]] = true
	}
	if len(seen) != 5000 {
		t.Errorf("%d vectors", len(seen))
	}
}

// TestNestedRows reads one table while another is being read.
func TestNestedRows(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "kb")
	if _, err := (LegacyKnowledge{Dimensions: 3}).Write(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	src, n := mustOpen(t, path), 0
	for _, err := range src.Rows(t.Context(), "file", 0) {
		if err != nil {
			t.Fatal(err)
		}
		for _, err := range src.Rows(t.Context(), "chunk", 0) {
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
	}
	if n != 90 {
		t.Errorf("%d rows", n)
	}
}

// TestWideVectors reads vectors of which DuckDB's pieces of work are larger than its usual limit.
func TestWideVectors(t *testing.T) {
	t.Parallel()
	for _, list := range []bool{false, true} {
		path := filepath.Join(t.TempDir(), "kb")
		if _, err := (LegacyKnowledge{Dimensions: 16000, Files: 1, ChunksPerFile: 3, ListVectors: list}).Write(t.Context(), path); err != nil {
			t.Fatal(err)
		}
		src := mustOpen(t, path)
		if err := src.Inspect(t.Context()); err != nil {
			t.Errorf("list %v: %v", list, err)
		}
		for _, row := range mustRead(t, src)["vector"] {
			if n := len(row["embedding"].([]float32)); n != 16000 {
				t.Errorf("list %v: %d dimensions", list, n)
			}
		}
	}
}

func TestPages(t *testing.T) {
	t.Parallel()
	text, list := newColumn("c", "VARCHAR"), newColumn("c", "FLOAT[]")
	for _, c := range []struct {
		columns []column
		rows    int64
		limit   int
	}{
		{[]column{text}, 4096, 64},
		{[]column{text, newColumn("c", "FLOAT[384]")}, 4096, 64},
		{[]column{text, newColumn("c", "FLOAT[768]")}, 2729, 64},
		{[]column{text, newColumn("c", "FLOAT[3072]")}, 682, 96},
		{[]column{text, newColumn("c", "FLOAT[16000]")}, 131, 500},
		{[]column{text, list}, 1023, 512},
	} {
		if rows, limit := pageOf(c.columns), limitOf(map[string][]column{"t": c.columns}); rows != c.rows || limit != c.limit {
			t.Errorf("%v: pages of %d rows in %d MB, want %d in %d", c.columns, rows, limit, c.rows, c.limit)
		}
	}
}
