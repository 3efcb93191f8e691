//go:build cgo && ((linux && (amd64 || arm64)) || (darwin && (amd64 || arm64)) || (windows && amd64))

package duckdb

import (
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
)

func write(t testing.TB, k LegacyKnowledge) (LegacyContent, *Source) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kb")
	content, err := k.Write(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path + ".wal"); (err == nil) != (k.InWAL > 0) {
		t.Fatalf("the log: %v", err)
	}
	return content, mustOpen(t, path)
}

func byID(rows []map[string]any) map[string]map[string]any {
	out := map[string]map[string]any{}
	for _, r := range rows {
		out[r["id"].(string)] = r
	}
	return out
}

func TestWrite(t *testing.T) {
	t.Parallel()
	for name, k := range map[string]LegacyKnowledge{
		"default":     {},
		"small":       {Seed: 9, Dimensions: 1, Files: 1, ChunksPerFile: 1},
		"lists":       {Dimensions: 5, ListVectors: true},
		"statuses":    {Dimensions: 5, Files: 4, Statuses: []string{"completed", "paused", "processing", "error"}},
		"log":         {Dimensions: 5, InWAL: 1},
		"all in log":  {Dimensions: 5, InWAL: 99},
		"no files":    {Dimensions: 5, Files: -1},
		"no chunks":   {Dimensions: 5, ChunksPerFile: -1},
		"every quirk": {Dimensions: 8, Quirks: AllQuirks()},
		"quirks, log": {Dimensions: 8, InWAL: 1, Quirks: AllQuirks()},
		"all logged":  {Dimensions: 8, InWAL: 9, Quirks: AllQuirks()},
		"quirk lists": {Dimensions: 8, ListVectors: true, Quirks: append(AllQuirks(), QuirkShortVector)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			content, src := write(t, k)
			all := mustRead(t, src)
			for table, n := range map[string]int{"file": content.Files, "chunk": content.Chunks, "vector": content.Vectors, "metadata": content.Metadata} {
				if len(all[table]) != n {
					t.Errorf("%d rows of %s, not %d", len(all[table]), table, n)
				}
			}
			for _, q := range k.Quirks {
				if len(content.Touched[q]) == 0 {
					t.Errorf("nothing touched by %s", q)
				}
			}
			again, src2 := write(t, k)
			if !reflect.DeepEqual(content, again) {
				t.Errorf("written again: %+v, %+v", content, again)
			}
			if len(k.Quirks) == 0 && !reflect.DeepEqual(all, mustRead(t, src2)) {
				t.Error("written again, the rows are others")
			}
		})
	}
}

func TestNoTables(t *testing.T) {
	t.Parallel()
	content, src := write(t, LegacyKnowledge{NoTables: true})
	if tables, err := src.Tables(t.Context()); err != nil || len(tables) != 0 {
		t.Errorf("tables %v, %v", tables, err)
	}
	if content.Files != 0 {
		t.Errorf("content %+v", content)
	}
}

func TestStatuses(t *testing.T) {
	t.Parallel()
	_, src := write(t, LegacyKnowledge{Dimensions: 2, Files: 4, Statuses: []string{"completed", "paused", "processing", "error"}})
	all := mustRead(t, src)
	var got []any
	for _, f := range all["file"] {
		got = append(got, f["status"])
	}
	if !slices.Equal(got, []any{"completed", "paused", "processing", "error"}) {
		t.Errorf("statuses %v", got)
	}
	if len(all["chunk"]) != 20 || len(all["vector"]) != 15 {
		t.Errorf("%d chunks, %d vectors", len(all["chunk"]), len(all["vector"]))
	}
}

// TestQuirks reads back each quirk from a file that has nothing else, both in arrays and in lists.
func TestQuirks(t *testing.T) {
	t.Parallel()
	// embeddings of the chunk that a quirk touched
	embeddings := func(t *testing.T, q Quirk, lists bool) []any {
		content, src := write(t, LegacyKnowledge{Dimensions: 70, ListVectors: lists, Quirks: []Quirk{q}})
		var out []any
		for _, v := range mustRead(t, src)["vector"] {
			if v["chunk_id"] == content.Touched[q][0] {
				out = append(out, v["embedding"])
			}
		}
		return out
	}
	is := func(check func([]float32) bool) func([]any) bool {
		return func(e []any) bool {
			v, ok := e[0].([]float32)
			return ok && len(e) == 1 && check(v)
		}
	}
	for q, check := range map[Quirk]func([]any) bool{
		QuirkMissingVector: func(e []any) bool { return len(e) == 0 },
		QuirkFailedChunk:   func(e []any) bool { return len(e) == 0 },
		QuirkTwoVectors: func(e []any) bool {
			return len(e) == 2 && e[0].([]float32)[0] == -e[1].([]float32)[0]
		},
		QuirkZeroVector: is(func(v []float32) bool { return slices.Equal(v, make([]float32, 70)) }),
		QuirkIntegralVector: is(func(v []float32) bool {
			return len(v) == 70 && v[0] == -1 && v[1] == 0 && v[69] == -1
		}),
		QuirkNullVector: func(e []any) bool { return len(e) == 1 && e[0] == nil },
		QuirkNullElement: func(e []any) bool {
			v, ok := e[0].([]any)
			_, float := v[34].(float32)
			return ok && len(v) == 70 && v[35] == nil && float
		},
		QuirkNaNElement: is(func(v []float32) bool { return len(v) == 70 && math.IsNaN(float64(v[35])) }),
		QuirkInfElement: is(func(v []float32) bool { return len(v) == 70 && math.IsInf(float64(v[35]), -1) }),
	} {
		for _, lists := range []bool{false, true} {
			t.Run(string(q), func(t *testing.T) {
				t.Parallel()
				if e := embeddings(t, q, lists); !check(e) {
					t.Errorf("embeddings %v", e)
				}
			})
		}
	}
	t.Run("short", func(t *testing.T) {
		t.Parallel()
		if e := embeddings(t, QuirkShortVector, true); len(e) != 1 || len(e[0].([]float32)) != 69 {
			t.Errorf("embeddings %v", e)
		}
	})
	t.Run("rows", func(t *testing.T) {
		t.Parallel()
		content, src := write(t, LegacyKnowledge{Dimensions: 4, Quirks: AllQuirks()})
		all := mustRead(t, src)
		files, chunks, vectors := byID(all["file"]), byID(all["chunk"]), byID(all["vector"])
		touched := func(q Quirk) string { return content.Touched[q][0] }
		if c := chunks[touched(QuirkFailedChunk)]; c["status"] != "error" || c["error"] == "" {
			t.Errorf("failed chunk: %v", c)
		}
		if v := vectors[touched(QuirkOrphanVector)]; v == nil || files[v["file_id"].(string)] != nil || chunks[v["chunk_id"].(string)] != nil {
			t.Errorf("orphan vector: %v", v)
		}
		if c := chunks[touched(QuirkOrphanChunk)]; c == nil || files[c["file_id"].(string)] != nil {
			t.Errorf("orphan chunk: %v", c)
		}
		for i, rows := range []map[string]map[string]any{files, chunks, vectors} {
			for name, v := range rows[content.Touched[QuirkNullColumns][i]] {
				if (v != nil) != (name == "id") {
					t.Errorf("null columns: %s is %v", name, v)
				}
			}
		}
		for q, want := range map[Quirk]string{
			QuirkNaNMetadata: `{"size":NaN}`, QuirkNulMetadata: `{"errorReason":"a\u0000b"}`, QuirkRubbishMetadata: `{"size":12,`,
		} {
			if f := files[touched(q)]; f["metadata"] != want {
				t.Errorf("%s: %v", q, f)
			}
		}
		if f := files[touched(QuirkSeconds)]; f["uploaded_at"].(int64) > 1e11 {
			t.Errorf("seconds: %v", f)
		}
		if c := chunks[touched(QuirkNulText)]; c["content"] != "before\x00after" {
			t.Errorf("text with NUL: %v", c)
		}
	})
}

func TestWriteErrors(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "kb")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := (LegacyKnowledge{}).Write(t.Context(), path); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over a file: %v", err)
	}
	path += "2"
	for name, k := range map[string]LegacyKnowledge{
		"unknown quirk":   {Quirks: []Quirk{"unknown"}},
		"too many quirks": {Files: 1, ChunksPerFile: 1, Quirks: []Quirk{QuirkZeroVector, QuirkNullVector}},
		"short in arrays": {Quirks: []Quirk{QuirkShortVector}},
		"embedding":       {Embed: func(string) []float32 { return nil }},
		"dimensions":      {Dimensions: -1},
	} {
		if _, err := k.Write(t.Context(), path); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("a failed description left a file")
	}
}

// TestColumnTypes reads tables that are not as the application made them.
func TestColumnTypes(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "kb")
	db, err := openDatabase(path, []setting{{"threads", "1"}})
	if err != nil {
		t.Fatal(err)
	}
	c, err := db.connect()
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range []string{
		`CREATE TABLE "vec""tor"("a b" INTEGER[2], d DOUBLE[], f FLOAT[], n DECIMAL(6,2)[2], s VARCHAR[], nested FLOAT[2][],
			t TIMESTAMP, u UUID, h HUGEINT, ub UBIGINT, b BOOLEAN, tiny UTINYINT, fl FLOAT, dbl DOUBLE, blob BLOB, e ENUM('x', 'y'), st STRUCT(i INTEGER), g INTEGER GENERATED ALWAYS AS (tiny::INTEGER + 1))`,
		`INSERT INTO "vec""tor" VALUES ([1, -2], [1e300, NULL], [], [1.5, 2.25], ['a'], [[1, 2]],
			'2025-01-31 12:00:00', 'b2d8b9e6-3a86-4f0a-8e0f-0d9b5f1f7a10', 170141183460469231731687303715884105727, 18446744073709551615, true, 255, 0.5, 'nan', '\x00\xFF', 'y', {'i': 1})`,
		`INSERT INTO "vec""tor" DEFAULT VALUES`,
		`CREATE TABLE odd(rowid INTEGER)`,
		`CREATE TEMP TABLE gone(i INTEGER)`,
		`CREATE VIEW seen AS SELECT 1`,
	} {
		if err := c.exec(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	}
	c.close()
	db.close()
	src := mustOpen(t, path)
	tables, err := src.Tables(t.Context())
	if err != nil || len(tables) != 2 || tables[0].Name != "odd" || tables[1].Name != `vec"tor` || tables[1].Rows != 2 {
		t.Fatalf("tables %v, %v", tables, err)
	}
	for _, err := range src.Rows(t.Context(), "odd", 0) {
		if err == nil {
			t.Error("a row without a place")
		}
	}
	var rows [][]any
	for row, err := range src.Rows(t.Context(), `vec"tor`, 0) {
		if err != nil {
			t.Fatal(err)
		}
		rows = append(rows, row.Values)
	}
	nan := slices.Index(tables[1].Columns, "dbl")
	if f, ok := rows[0][nan].(float64); !ok || !math.IsNaN(f) {
		t.Errorf("NaN is %v", rows[0][nan])
	}
	rows[0][nan] = nil
	want := []any{
		[]float32{1, -2},
		[]any{float32(math.Inf(1)), nil},
		[]float32{},
		[]float32{1.5, 2.25},
		"[a]", "[[1.0, 2.0]]",
		"2025-01-31 12:00:00", "b2d8b9e6-3a86-4f0a-8e0f-0d9b5f1f7a10", "170141183460469231731687303715884105727", "18446744073709551615",
		true, int64(255), 0.5, nil,
		[]byte{0, 255},
		"y", "{'i': 1}", int64(256),
	}
	if !reflect.DeepEqual(rows[0], want) {
		t.Errorf("the row is\n%#v, not\n%#v", rows[0], want)
	}
	for i, v := range rows[1] {
		if v != nil {
			t.Errorf("%s is %v", tables[1].Columns[i], v)
		}
	}
}
