package migration

import (
	"bytes"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"pgregory.net/rapid"
)

// someValue draws a value of each type that a reader of old files gives.
func someValue(t *rapid.T) any {
	switch rapid.IntRange(0, 8).Draw(t, "type") {
	case 0:
		return nil
	case 1:
		return rapid.Bool().Draw(t, "bool")
	case 2:
		return rapid.String().Draw(t, "text")
	case 3:
		return string(rapid.SliceOf(rapid.Byte()).Draw(t, "bytes as text"))
	case 4:
		return rapid.Int64().Draw(t, "int")
	case 5:
		return math.Float64frombits(rapid.Uint64().Draw(t, "real"))
	case 6:
		return rapid.SliceOf(rapid.Byte()).Draw(t, "blob")
	case 7:
		v := make([]float32, rapid.IntRange(0, 5).Draw(t, "dimensions"))
		for i := range v {
			v[i] = math.Float32frombits(rapid.Uint32().Draw(t, "element"))
		}
		return v
	default:
		out := make([]any, rapid.IntRange(0, 4).Draw(t, "length"))
		for i := range out {
			if rapid.Bool().Draw(t, "element is there") {
				out[i] = math.Float32frombits(rapid.Uint32().Draw(t, "element"))
			}
		}
		return out
	}
}

// sameBits compares values bit for bit: not a number equals itself.
func sameBits(a, b any) bool {
	switch a := a.(type) {
	case float64:
		b, ok := b.(float64)
		return ok && math.Float64bits(a) == math.Float64bits(b)
	case float32:
		b, ok := b.(float32)
		return ok && math.Float32bits(a) == math.Float32bits(b)
	case []float32:
		b, ok := b.([]float32)
		if !ok || len(a) != len(b) {
			return false
		}
		for i := range a {
			if !sameBits(a[i], b[i]) {
				return false
			}
		}
		return true
	case []any:
		b, ok := b.([]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for i := range a {
			if !sameBits(a[i], b[i]) {
				return false
			}
		}
		return true
	case []byte:
		b, ok := b.([]byte)
		return ok && bytes.Equal(a, b)
	}
	return reflect.DeepEqual(a, b)
}

func TestRejectFileKeepsEveryBit(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	rapid.Check(t, func(rt *rapid.T) {
		path := filepath.Join(dir, "rejects.jsonl")
		_ = os.Remove(path)
		log, err := openRejectLog(path, 0, false)
		if err != nil {
			rt.Fatal(err)
		}
		log.base = func(string) *BaseConfig { return &BaseConfig{ID: "kb"} }
		var want []Reject
		var at int64
		for range rapid.IntRange(1, 3).Draw(rt, "batches") {
			var batch []Reject
			for range rapid.IntRange(1, 4).Draw(rt, "rows") {
				r := Reject{
					Path: "/a/chat.db", Kind: KindSQLite, Table: tableMessages, SourceTable: rapid.StringMatching(`[a-z]+`).Draw(rt, "table"),
					RowID: rapid.Int64().Draw(rt, "rowid"), ID: rapid.String().Draw(rt, "id"), Reason: ReasonOrphan,
				}
				for range rapid.IntRange(1, 5).Draw(rt, "columns") {
					r.Columns, r.Values = append(r.Columns, rapid.String().Draw(rt, "column")), append(r.Values, someValue(rt))
				}
				batch = append(batch, r)
			}
			// What an attempt that was undone wrote is overwritten.
			if _, err := log.write(at, "undone", append(batch, batch...)); err != nil {
				rt.Fatal(err)
			}
			if at, err = log.write(at, "run", batch); err != nil {
				rt.Fatal(err)
			}
			want = append(want, batch...)
		}
		if err := log.close(); err != nil {
			rt.Fatal(err)
		}
		// Resuming cuts off what no checkpoint knows.
		if log, err = openRejectLog(path, at, true); err != nil {
			rt.Fatal(err)
		}
		if err := log.close(); err != nil {
			rt.Fatal(err)
		}
		file, err := os.ReadFile(path)
		if err != nil {
			rt.Fatal(err)
		}
		var got []Reject
		for line, err := range readRejects(bytes.NewReader(file)) {
			if err != nil {
				rt.Fatal(err)
			}
			if line.Run != "run" || line.Base == nil || line.Base.ID != "kb" {
				rt.Fatalf("line: got %+v, want the run and the base", line)
			}
			got = append(got, line.Reject)
		}
		if len(got) != len(want) {
			rt.Fatalf("rows: got %d, want %d", len(got), len(want))
		}
		for i, w := range want {
			g := got[i]
			same := len(g.Values) == len(w.Values)
			for v := 0; same && v < len(w.Values); v++ {
				same = sameBits(w.Values[v], g.Values[v])
			}
			if !same || !reflect.DeepEqual(g.Columns, w.Columns) || g.RowID != w.RowID || g.ID != w.ID || g.SourceTable != w.SourceTable {
				rt.Fatalf("row: got %+v, want %+v", g, w)
			}
		}
	})
}

func TestRejectFileOfOthersIsKept(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "mine")
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openRejectLog(path, 0, false); !errors.Is(err, fs.ErrExist) {
		t.Errorf("open: got error %v, want that it exists", err)
	}
	if b, _ := os.ReadFile(path); string(b) != "mine" {
		t.Errorf("the file: got %q, want it as it was", b)
	}
}

func TestRejectFilesThatAreNone(t *testing.T) {
	t.Parallel()
	const head = `{"talkbase_rejects":1,"notice":""}` + "\n"
	for _, s := range []string{
		"", "x", "[]", `{"talkbase_rejects":2}`, head + "x", head + `{"columns":["a"],"values":[]}`,
		head + `{"source_table":"t","columns":["a"],"values":[1]}`,
		head + `{"source_table":"t","columns":["a"],"values":[{}]}`,
		head + `{"source_table":"t","columns":["a"],"values":[{"int":"x"}]}`,
		head + `{"source_table":"t","columns":["a"],"values":[{"vector":"AAA="}]}`,
		head + `{"source_table":"t","columns":["a"],"values":[{"more":"1"}]}`,
	} {
		var err error
		for _, err = range readRejects(bytes.NewReader([]byte(s))) {
			if err != nil {
				break
			}
		}
		if !errors.Is(err, ErrRejectFile) {
			t.Errorf("%q: got error %v, want ErrRejectFile", s, err)
		}
	}
}

func FuzzReadRejects(f *testing.F) {
	f.Add([]byte(`{"talkbase_rejects":1}` + "\n" + `{"run":"r","source_table":"t","columns":["a","b"],"values":[{"int":"1"},{"list":[null,{"real":"NaN:7ff8000000000001"}]}]}` + "\n"))
	f.Add([]byte(`{"talkbase_rejects":1}` + "\n" + `{"source_table":"t","columns":["a"],"values":[{"vector":"AACAPw=="}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		for line, err := range readRejects(bytes.NewReader(b)) {
			if err != nil {
				if !errors.Is(err, ErrRejectFile) {
					t.Errorf("got error %v, want ErrRejectFile", err)
				}
				return
			}
			for i, v := range line.Values {
				again, err := v.MarshalJSON()
				if err != nil {
					t.Fatalf("value %d: got error %v, want none", i, err)
				}
				var back rejectValue
				if err := back.UnmarshalJSON(again); err != nil || !sameBits(back.v, v.v) {
					t.Errorf("value %d: got %#v (%v), want %#v", i, back.v, err, v.v)
				}
			}
		}
	})
}
