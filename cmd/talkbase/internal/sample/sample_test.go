package sample_test

import (
	"context"
	"errors"
	"math"
	"path/filepath"
	"testing"

	"github.com/talkbase/talkbase/cmd/talkbase/internal/sample"
	"github.com/talkbase/talkbase/migration"
	_ "github.com/talkbase/talkbase/migration/duckdb"
)

// column finds a column of a table.
func column(t *testing.T, src migration.Source, table, name string) int {
	t.Helper()
	tables, err := src.Tables(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range tables {
		if s.Name != table {
			continue
		}
		for i, c := range s.Columns {
			if c == name {
				return i
			}
		}
	}
	t.Fatalf("there is no column %s.%s", table, name)
	return 0
}

func TestVectorsOfTheArchiveAreThoseOfEmbed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := sample.Unpack(dir); err != nil {
		t.Fatal(err)
	}
	src, err := migration.OpenSource(context.Background(), filepath.Join(dir, filepath.FromSlash(sample.Knowledge)), t.TempDir())
	if errors.Is(err, migration.ErrNoReader) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := src.Close(); err != nil {
			t.Error(err)
		}
	}()
	texts := map[any]string{}
	id, content := column(t, src, "chunk", "id"), column(t, src, "chunk", "content")
	for row, err := range src.Rows(t.Context(), "chunk", 0) {
		if err != nil {
			t.Fatal(err)
		}
		texts[row.Values[id]], _ = row.Values[content].(string)
	}
	n := 0
	chunk, embedding := column(t, src, "vector", "chunk_id"), column(t, src, "vector", "embedding")
	for row, err := range src.Rows(t.Context(), "vector", 0) {
		if err != nil {
			t.Fatal(err)
		}
		n++
		got, _ := row.Values[embedding].([]float32)
		for i, want := range sample.Embed(texts[row.Values[chunk]]) {
			if len(got) != sample.Dimensions || math.Abs(float64(got[i]-want)) > 1e-6 {
				t.Fatalf("the vector of chunk %v is not what Embed makes of its text: run go generate ./cmd/talkbase/internal/sample", row.Values[chunk])
			}
		}
	}
	if got, want := n, 16; got != want {
		t.Errorf("vectors: got %d, want %d", got, want)
	}
}

func TestEmbedPutsTextsWithTheSameWordsTogether(t *testing.T) {
	t.Parallel()
	similarity := func(a, b string) (sum float64) {
		x, y := sample.Embed(a), sample.Embed(b)
		for i := range x {
			sum += float64(x[i]) * float64(y[i])
		}
		return sum
	}
	for _, c := range []struct{ text, near, far string }{
		{"idle connections in a pool", "A pool closes connections that are idle.", "Sorting by code point is stable and fast."},
		{"更换嵌入模型", "更换嵌入模型之后，必须重新生成向量。", "分块过大时语义会被稀释。"},
		{"キャッシュの有効期限", "キャッシュの有効期限は短めに設定する。", "メモリの上限を超えた場合"},
	} {
		if near, far := similarity(c.text, c.near), similarity(c.text, c.far); near < far+0.2 {
			t.Errorf("%s: got %.2f for the near text and %.2f for the far one, want them further apart", c.text, near, far)
		}
		if got := similarity(c.text, c.text); math.Abs(got-1) > 1e-5 {
			t.Errorf("%s: got %f with itself, want 1", c.text, got)
		}
	}
	if got := sample.Embed("…")[0]; got != 1 {
		t.Errorf("a text without words: got %f, want 1", got)
	}
}
