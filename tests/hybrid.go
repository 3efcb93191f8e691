package tests

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/talkbase/talkbase"
	"github.com/talkbase/talkbase/embedding"
	"github.com/talkbase/talkbase/models"
	"github.com/talkbase/talkbase/repo"
)

func withEmbedder(dimensions int) func(*talkbase.Config) {
	return func(c *talkbase.Config) { c.Embedder = embedding.HashedWords(dimensions) }
}

func hybridCases() []testCase {
	return []testCase{
		{name: "ranks of both lists are fused", run: hybridByHand},
		{name: "random lists against a naive fusion", run: hybridRandom},
		{name: "what is refused", run: hybridRefused},
		{name: "from text, with an embedder", run: hybridFromText, configure: withEmbedder(64)},
		{name: "without an embedder", run: noEmbedder},
		{name: "pending chunks are embedded", run: embedPending, configure: withEmbedder(64)},
		{name: "an embedder of another model or length", run: otherEmbedder, configure: withEmbedder(64)},
		{name: "an embedder that fails", run: failingEmbedder, configure: func(c *talkbase.Config) { c.Embedder = &faulty{} }},
	}
}

func hybridIDs(hs []repo.HybridHit) []string {
	return ids(hs, func(h repo.HybridHit) string { return h.ChunkID })
}

func hybridByHand(b *bench) {
	b.base("kb", 2, models.MetricL2)
	b.base("other", 2, models.MetricL2)
	add := func(file, id, content string, status models.TaskStatus, v []float32) {
		_, err := b.db.InsertChunks(b.ctx, []models.KnowledgeChunk{{ID: id, FileID: file, ChunkIndex: 7, Content: content, Status: status}})
		wantNil(b.t, "insert chunk", err)
		if v != nil {
			_, err = b.db.UpsertVectors(b.ctx, []models.KnowledgeVector{{FileID: file, ChunkID: id, Embedding: v}})
			wantNil(b.t, "insert vector", err)
		}
	}
	add("kb-file", "both", "walrus", models.TaskProcessed, []float32{2, 0})
	add("kb-file", "near", "nothing of the kind", models.TaskProcessed, []float32{1, 0})
	add("kb-file", "words", "walrus penguin", models.TaskProcessed, nil)
	add("kb-file", "far", "nor here", models.TaskProcessed, []float32{3, 0})
	add("kb-file", "pending", "walrus penguin", models.TaskPending, []float32{0, 0})
	add("other-file", "elsewhere", "walrus penguin", models.TaskProcessed, []float32{0, 0})
	// A second, nearer vector of a chunk does not count twice.
	_, err := b.db.UpsertVectors(b.ctx, []models.KnowledgeVector{{ID: "again", FileID: "kb-file", ChunkID: "far", Embedding: []float32{4, 0}}})
	wantNil(b.t, "insert vector", err)

	q := repo.HybridQuery{Text: "a walrus, a penguin?", Vector: []float32{0, 0}, BaseID: "kb"}
	hits, err := b.db.SearchHybrid(b.ctx, q)
	wantNil(b.t, "search", err)
	// By words: words, both. By vectors: near, both, far. Near and words have the same score.
	deepEqual(b.t, "order", hybridIDs(hits), []string{"both", "near", "words", "far"})
	for i, want := range []float64{1.0/62 + 1.0/62, 1.0 / 61, 1.0 / 61, 1.0 / 63} {
		if math.Abs(hits[i].Score-want) > 1e-12 {
			b.t.Errorf("score of %s: got %v, want %v", hits[i].ChunkID, hits[i].Score, want)
		}
	}
	first := hits[0]
	if first.Text == nil || first.Vector == nil || first.Text.Rank != 2 || first.Vector.Rank != 2 || first.Text.Score <= 0 || math.Abs(first.Vector.Score-1.0/3) > 1e-6 {
		b.t.Errorf("components of both: got %+v and %+v", first.Text, first.Vector)
	}
	if hits[1].Text != nil || hits[2].Vector != nil {
		b.t.Errorf("components of chunks in one list: got %+v and %+v, want none of the other", hits[1].Text, hits[2].Vector)
	}
	first.Score, first.Text, first.Vector = 0, nil, nil
	deepEqual(b.t, "description", first, repo.HybridHit{
		ChunkID: "both", FileID: "kb-file", BaseID: "kb", Content: "walrus", ChunkIndex: 7, FileName: "kb-file.md", FilePath: "/docs/kb-file.md",
		FileStatus: models.TaskProcessed, Snippet: "walrus", Highlights: [][2]int{{0, 6}},
	})

	for _, c := range []struct {
		name   string
		change func(*repo.HybridQuery)
		want   string
	}{
		{"words count more", func(q *repo.HybridQuery) { q.TextWeight, q.VectorWeight = 3, 1 }, "both words near far"},
		{"vectors count much more", func(q *repo.HybridQuery) { q.TextWeight, q.VectorWeight = 0.01, 1 }, "near both far words"},
		{"words alone", func(q *repo.HybridQuery) { q.TextWeight = 1 }, "words both"},
		{"vectors alone", func(q *repo.HybridQuery) { q.VectorWeight = 1 }, "near both far"},
		{"no words in the text", func(q *repo.HybridQuery) { q.Text = "🎉?" }, "near both far"},
		{"no vector", func(q *repo.HybridQuery) { q.Vector, q.TextWeight = nil, 1 }, "words both"},
		{"first ranks stand out", func(q *repo.HybridQuery) { q.RankConstant = 0.001 }, "both near words far"},
		{"a limit", func(q *repo.HybridQuery) { q.Limit = 2 }, "both near"},
		{"few candidates", func(q *repo.HybridQuery) { q.Candidates = 1 }, "near words"},
		{"a threshold", func(q *repo.HybridQuery) { q.Threshold = ptr(0.3) }, "both near words"},
		{"an exclusion is of words", func(q *repo.HybridQuery) { q.Text = "walrus -penguin" }, "both near far"},
		{"file status", func(q *repo.HybridQuery) { q.Files.Status = []models.TaskStatus{models.TaskPaused} }, ""},
		{"another base", func(q *repo.HybridQuery) { q.BaseID = "other" }, "elsewhere"},
	} {
		q := q
		c.change(&q)
		hits, err := b.db.SearchHybrid(b.ctx, q)
		wantNil(b.t, c.name, err)
		equal(b.t, c.name, strings.Join(hybridIDs(hits), " "), c.want)
	}
}

// hybridRandom compares with a fusion of whole lists: words as SearchText ranks them, vectors by plain
// arithmetic.
func hybridRandom(b *bench) {
	b.base("kb", 3, models.MetricL2)
	r := rand.New(rand.NewPCG(4, 5))
	vocabulary := strings.Fields("alpha beta gamma delta epsilon zeta 数据库 向量 索引")
	phrase := func(n int) string {
		var out []string
		for range 1 + r.IntN(n) {
			out = append(out, vocabulary[r.IntN(len(vocabulary))])
		}
		return strings.Join(out, " ")
	}
	vector := func() []float32 { return []float32{float32(r.IntN(9)), float32(r.IntN(9)), float32(r.IntN(9))} }
	vs := map[string][]float32{}
	for i := range 60 {
		id := fmt.Sprintf("k%02d", i)
		_, err := b.db.InsertChunks(b.ctx, []models.KnowledgeChunk{{ID: id, FileID: "kb-file", Content: phrase(8), Status: models.TaskProcessed}})
		wantNil(b.t, "insert chunk", err)
		if i%5 != 0 {
			vs[id] = vector()
			_, err := b.db.UpsertVectors(b.ctx, []models.KnowledgeVector{{FileID: "kb-file", ChunkID: id, Embedding: vs[id]}})
			wantNil(b.t, "insert vector", err)
		}
	}
	for range 40 {
		q := repo.HybridQuery{Text: phrase(3), Vector: vector(), BaseID: "kb", Limit: 1 + r.IntN(80), TextWeight: 0.5 + r.Float64(), VectorWeight: 0.5 + r.Float64(), RankConstant: float64(1 + r.IntN(60))}
		score := map[string]float64{}
		words, err := b.db.SearchText(b.ctx, repo.TextQuery{Query: q.Text, AnyWord: true, BaseIDs: []string{"kb"}, Limit: 1000})
		wantNil(b.t, "search text", err)
		for i, h := range words {
			score[h.ID] += q.TextWeight / (q.RankConstant + float64(i+1))
		}
		var near []string
		distance := func(id string) (sum float64) {
			for i, x := range vs[id] {
				sum += float64(x-q.Vector[i]) * float64(x-q.Vector[i])
			}
			return sum
		}
		for id := range vs {
			near = append(near, id)
		}
		slices.SortFunc(near, func(a, b string) int {
			return cmp.Or(cmp.Compare(distance(a), distance(b)), strings.Compare(a, b))
		})
		for i, id := range near {
			score[id] += q.VectorWeight / (q.RankConstant + float64(i+1))
		}
		var want []string
		for id := range score {
			want = append(want, id)
		}
		slices.SortFunc(want, func(a, b string) int {
			return cmp.Or(cmp.Compare(score[b], score[a]), strings.Compare(a, b))
		})
		hits, err := b.db.SearchHybrid(b.ctx, q)
		wantNil(b.t, "search", err)
		deepEqual(b.t, fmt.Sprintf("%+v", q), hybridIDs(hits), want[:min(len(want), q.Limit)])
	}
}

func hybridRefused(b *bench) {
	b.base("kb", 2, models.MetricCosine)
	v := []float32{1, 0}
	for name, q := range map[string]repo.HybridQuery{
		"nothing to search for":   {BaseID: "kb", TextWeight: 1},
		"no words and no vector":  {BaseID: "kb", Text: "…", TextWeight: 1},
		"a negative weight":       {BaseID: "kb", Text: "x", Vector: v, TextWeight: -1},
		"a weight that is no one": {BaseID: "kb", Text: "x", Vector: v, VectorWeight: math.NaN()},
		"an infinite constant":    {BaseID: "kb", Text: "x", Vector: v, RankConstant: math.Inf(1)},
		"NUL":                     {BaseID: "kb", Text: "x\x00", Vector: v},
		"a zero vector":           {BaseID: "kb", Text: "x", Vector: []float32{0, 0}},
		"an unknown state":        {BaseID: "kb", Text: "x", Vector: v, Files: repo.FileFilter{Status: []models.TaskStatus{"lost"}}},
	} {
		_, err := b.db.SearchHybrid(b.ctx, q)
		wantErr(b.t, name, err, repo.ErrInvalid)
		wantTyped(b.t, name, err)
	}
	_, err := b.db.SearchHybrid(b.ctx, repo.HybridQuery{BaseID: "nobody", Text: "x", Vector: v})
	wantErr(b.t, "an unknown base", err, repo.ErrNotFound)
	_, err = b.db.SearchHybrid(b.ctx, repo.HybridQuery{BaseID: "nobody", Text: "x", TextWeight: 1})
	wantErr(b.t, "an unknown base by words", err, repo.ErrNotFound)
	_, err = b.db.SearchHybrid(b.ctx, repo.HybridQuery{BaseID: "kb", Text: "x", Vector: []float32{1, 2, 3}})
	wantErr(b.t, "another length", err, repo.ErrDimension)
}

// pendingChunks inserts chunks that wait for their vectors.
func (b *bench) pendingChunks(file string, contents ...string) {
	b.t.Helper()
	var ks []models.KnowledgeChunk
	for i, c := range contents {
		status := []models.TaskStatus{models.TaskPending, models.TaskProcessing}[i%2]
		ks = append(ks, models.KnowledgeChunk{ID: fmt.Sprintf("%s-%d", file, i), FileID: file, ChunkIndex: int64(i), Content: c, Status: status})
	}
	_, err := b.db.InsertChunks(b.ctx, ks)
	wantNil(b.t, "insert chunks", err)
}

func hybridFromText(b *bench) {
	b.base("kb", 64, models.MetricCosine)
	b.pendingChunks("kb-file", "Idle connections are closed by the pool.", "Vectors are compared by their angle.", "更换嵌入模型之后，必须重新生成向量。", "Sorting is stable.")
	r, err := b.db.EmbedPending(b.ctx, "kb")
	wantNil(b.t, "embed", err)
	equal(b.t, "embedded", r.Embedded, 4)
	for question, want := range map[string]string{
		"How do I close idle connections?": "kb-file-0", "angle of vectors": "kb-file-1", "怎样更换嵌入模型？": "kb-file-2",
	} {
		near, err := b.db.SearchSimilar(b.ctx, question, repo.SimilarityQuery{BaseID: "kb", Limit: 2})
		wantNil(b.t, question, err)
		equal(b.t, "nearest to "+question, near[0].ChunkID, want)
		hits, err := b.db.SearchHybrid(b.ctx, repo.HybridQuery{BaseID: "kb", Text: question})
		wantNil(b.t, question, err)
		equal(b.t, "best for "+question, hits[0].ChunkID, want)
		if hits[0].Text == nil || hits[0].Vector == nil || len(hits[0].Highlights) == 0 {
			b.t.Errorf("best for %s: got %+v, want it in both lists", question, hits[0])
		}
	}
	_, err = b.db.SearchSimilar(b.ctx, " ", repo.SimilarityQuery{BaseID: "kb"})
	wantErr(b.t, "no text", err, repo.ErrInvalid)
}

func noEmbedder(b *bench) {
	b.base("kb", 2, models.MetricCosine)
	b.vectors("kb-file", []string{"k"}, map[string][]float32{"k": {1, 0}})
	_, err := b.db.EmbedPending(b.ctx, "kb")
	wantErr(b.t, "embed", err, repo.ErrUnsupported)
	_, err = b.db.SearchSimilar(b.ctx, "x", repo.SimilarityQuery{BaseID: "kb"})
	wantErr(b.t, "similar", err, repo.ErrUnsupported)
	_, err = b.db.SearchHybrid(b.ctx, repo.HybridQuery{BaseID: "kb", Text: "content"})
	wantErr(b.t, "hybrid", err, repo.ErrUnsupported)
	for _, q := range []repo.HybridQuery{{Text: "content", TextWeight: 1}, {Text: "content", Vector: []float32{1, 0}}, {Vector: []float32{1, 0}}} {
		q.BaseID = "kb"
		hits, err := b.db.SearchHybrid(b.ctx, q)
		wantNil(b.t, "hybrid without a need of one", err)
		deepEqual(b.t, "hits", hybridIDs(hits), []string{"k"})
	}
}

func embedPending(b *bench) {
	b.base("kb", 64, models.MetricCosine)
	b.base("other", 64, models.MetricCosine)
	texts := make([]string, 600) // more than two batches
	for i := range texts {
		texts[i] = fmt.Sprintf("text number%d", i)
	}
	b.pendingChunks("kb-file", texts...)
	b.pendingChunks("other-file", "untouched")
	_, err := b.db.InsertChunks(b.ctx, []models.KnowledgeChunk{{ID: "paused", FileID: "kb-file", Content: "later", Status: models.TaskPaused}})
	wantNil(b.t, "insert chunk", err)
	for i, want := range []int64{600, 0} {
		r, err := b.db.EmbedPending(b.ctx, "kb")
		wantNil(b.t, "embed", err)
		equal(b.t, fmt.Sprintf("embedded in call %d", i+1), r.Embedded, want)
		equal(b.t, "failed", r.Failed, 0)
	}
	equal(b.t, "vectors", b.number("SELECT count(*) FROM knowledge_vectors"), 600)
	equal(b.t, "processed", b.number("SELECT count(*) FROM knowledge_chunks WHERE status = 'processed'"), 600)
	base, err := b.db.GetBase(b.ctx, "kb")
	wantNil(b.t, "get base", err)
	equal(b.t, "model of the base", base.EmbeddingModel, embedding.HashedWordsModel)
	near, err := b.db.SearchSimilar(b.ctx, "number321", repo.SimilarityQuery{BaseID: "kb", Limit: 1})
	wantNil(b.t, "search", err)
	equal(b.t, "nearest", near[0].ChunkID, "kb-file-321")
	_, err = b.db.EmbedPending(b.ctx, "nobody")
	wantErr(b.t, "an unknown base", err, repo.ErrNotFound)
}

func otherEmbedder(b *bench) {
	b.base("short", 3, models.MetricCosine)
	_, err := b.db.EmbedPending(b.ctx, "short")
	wantErr(b.t, "another length", err, repo.ErrDimension)
	b.base("kb", 64, models.MetricCosine)
	_, err = b.db.UpdateBase(b.ctx, "kb", repo.BaseUpdate{EmbeddingModel: ptr("bge-m3")})
	wantNil(b.t, "update", err)
	_, err = b.db.EmbedPending(b.ctx, "kb")
	wantErr(b.t, "another model", err, repo.ErrInvalid)
	_, err = b.db.SearchSimilar(b.ctx, "x", repo.SimilarityQuery{BaseID: "kb"})
	wantErr(b.t, "a query of another model", err, repo.ErrInvalid)
	if err == nil || !strings.Contains(err.Error(), "bge-m3") || !strings.Contains(err.Error(), embedding.HashedWordsModel) {
		b.t.Errorf("got %v, want both models named", err)
	}
}

// faulty refuses texts that say so, and fails as a whole at the third call.
type faulty struct{ calls atomic.Int64 }

func (f *faulty) Dimensions() int { return 2 }
func (f *faulty) Model() string   { return "faulty" }

func (f *faulty) Embed(_ context.Context, texts []string) ([][]float32, error) {
	if f.calls.Add(1) == 3 {
		return nil, embedding.ErrRateLimited
	}
	out := make([][]float32, len(texts))
	for i, t := range texts {
		switch t {
		case "too long":
			return nil, &embedding.TextError{Index: i, Err: fmt.Errorf("%w: \x00 really", embedding.ErrTooLong)}
		case "broken":
			return out[:i], nil
		case "nothing":
			out[i] = make([]float32, 2)
			continue
		}
		out[i] = []float32{float32(len(t)), 1}
	}
	return out, nil
}

func failingEmbedder(b *bench) {
	b.base("kb", 2, models.MetricL2)
	b.pendingChunks("kb-file", "a", "b", "too long", "too long", "c") // the pending ones are a, too long, c
	r, err := b.db.EmbedPending(b.ctx, "kb")
	wantErr(b.t, "a rate limit", err, embedding.ErrRateLimited)
	deepEqual(b.t, "what was done before", []int64{r.Embedded, r.Failed}, []int64{1, 1})
	r, err = b.db.EmbedPending(b.ctx, "kb")
	wantNil(b.t, "again", err)
	deepEqual(b.t, "what was left", []int64{r.Embedded, r.Failed}, []int64{2, 1})
	chunks, err := b.db.QueryChunks(b.ctx, repo.ChunkQuery{BaseID: "kb", Status: models.TaskError})
	wantNil(b.t, "query", err)
	equal(b.t, "refused chunks", len(chunks), 2)
	for _, c := range chunks {
		if c.Content != "too long" || !strings.Contains(c.Error, embedding.ErrTooLong.Error()) {
			b.t.Errorf("refused chunk: got %+v, want the one that is too long, and why", c)
		}
	}
	b.base("angles", 2, models.MetricCosine)
	b.pendingChunks("angles-file", "a", "nothing", "c")
	r, err = b.db.EmbedPending(b.ctx, "angles")
	wantNil(b.t, "a vector that is zero", err)
	deepEqual(b.t, "what was left of three", []int64{r.Embedded, r.Failed}, []int64{2, 1})
	_, err = b.db.InsertChunks(b.ctx, []models.KnowledgeChunk{{ID: "x", FileID: "kb-file", Content: "broken", Status: models.TaskPending}})
	wantNil(b.t, "insert chunk", err)
	_, err = b.db.EmbedPending(b.ctx, "kb")
	wantErr(b.t, "a broken answer", err, embedding.ErrResponse)
	equal(b.t, "chunks that wait", b.number("SELECT count(*) FROM knowledge_chunks WHERE status = 'pending'"), 1)
	if errors.Is(err, repo.ErrInvalid) {
		b.t.Errorf("got %v, want no error of the input", err)
	}
}
