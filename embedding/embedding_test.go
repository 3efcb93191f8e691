package embedding_test

import (
	"context"
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/talkbase/talkbase/embedding"
)

func dot(a, b []float32) (sum float64) {
	for i := range a {
		sum += float64(a[i]) * float64(b[i])
	}
	return sum
}

func TestHashedWords(t *testing.T) {
	t.Parallel()
	e := embedding.HashedWords(256)
	texts := []string{"A pool of connections to a database", "connections in a pool", "Prüfsummen gehören daneben", "向量数据库", "数据库迁移", "…"}
	vs, err := e.Embed(t.Context(), texts)
	if err != nil {
		t.Fatal(err)
	}
	if err := embedding.Check(vs, len(texts), e.Dimensions()); err != nil {
		t.Error(err)
	}
	for i, v := range vs {
		if n := dot(v, v); math.Abs(n-1) > 1e-5 {
			t.Errorf("length of %q: got %f, want 1", texts[i], n)
		}
	}
	if near, far := dot(vs[0], vs[1]), dot(vs[0], vs[2]); near < far+0.3 {
		t.Errorf("texts with common words: got %f, want much more than %f", near, far)
	}
	if near, far := dot(vs[3], vs[4]), dot(vs[3], vs[1]); near < far+0.3 {
		t.Errorf("Chinese texts with common words: got %f, want much more than %f", near, far)
	}
	again, err := e.Embed(t.Context(), texts)
	if err != nil || !slices.Equal(again[0], vs[0]) {
		t.Errorf("the same text: got another vector or %v", err)
	}
	if got := embedding.Hash("", 3); !slices.Equal(got, []float32{1, 0, 0}) {
		t.Errorf("of nothing: got %v, want the first unit vector", got)
	}
	if e.Model() != embedding.HashedWordsModel || e.Dimensions() != 256 {
		t.Errorf("got %s of %d dimensions", e.Model(), e.Dimensions())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := e.Embed(ctx, texts); !errors.Is(err, context.Canceled) {
		t.Errorf("after a cancellation: got %v", err)
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for name, vs := range map[string][][]float32{
		"one too few":  {{1, 2}},
		"one too many": {{1, 2}, {1, 2}, {1, 2}},
		"short":        {{1, 2}, {1}},
		"missing":      {{1, 2}, nil},
		"NaN":          {{1, 2}, {1, nan}},
		"infinite":     {{1, inf}, {1, 2}},
	} {
		if err := embedding.Check(vs, 2, 2); !errors.Is(err, embedding.ErrResponse) {
			t.Errorf("%s: got %v, want ErrResponse", name, err)
		}
	}
	if err := embedding.Check([][]float32{{1, 2}, {0, -1}}, 2, 2); err != nil {
		t.Errorf("got %v, want none", err)
	}
}
