package engine_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/talkbase/talkbase/internal/engine"
	"github.com/talkbase/talkbase/migration"
	"github.com/talkbase/talkbase/models"
)

var discard = slog.New(slog.DiscardHandler)

// vectors is one base on SQLite with vectors v0, v1 …, each a row of data.
type vectors struct {
	t    testing.TB
	e    engine.Engine
	base models.KnowledgeBase
	dims int
	path string
}

func openVectors(t testing.TB, path string, dims int, metric models.Metric) *vectors {
	t.Helper()
	ctx := t.Context()
	e, err := engine.Open(ctx, engine.Options{DSN: path, Synchronous: "NORMAL", SharedBuffers: 256 << 20, Logger: discard})
	check(t, err)
	t.Cleanup(func() { check(t, e.Close()) })
	var late engine.Late
	late.Set(e)
	check(t, migration.NewSchema(&late, "", discard).Prepare(ctx, true))
	v := &vectors{t: t, e: e, dims: dims, path: path, base: models.KnowledgeBase{ID: "kb", Dimensions: int64(dims), Metric: metric}}
	v.exec("INSERT OR IGNORE INTO knowledge_bases (id, name, dimensions, metric) VALUES ('kb', 'kb', ?, ?)", dims, string(metric))
	v.exec("INSERT OR IGNORE INTO knowledge_files (id, base_id, name, path, status, uploaded_at) VALUES ('f', 'kb', 'f', '/f', 'processed', 1)")
	return v
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("got error %v, want none", err)
	}
}

func (v *vectors) exec(query string, args ...any) {
	v.t.Helper()
	tx, err := v.e.Begin(v.t.Context())
	check(v.t, err)
	if _, err := engine.Exec(v.t.Context(), tx.DB, query, args...); err != nil {
		v.t.Fatalf("%s: got error %v, want none", query, err)
	}
	check(v.t, tx.Commit())
}

// chunks makes the chunks of vectors from first on.
func (v *vectors) chunks(first, n int) {
	v.t.Helper()
	v.exec(`INSERT OR IGNORE INTO knowledge_chunks (id, file_id, chunk_index, content, status)
		WITH RECURSIVE c(i) AS (SELECT ? UNION ALL SELECT i + 1 FROM c WHERE i + 1 < ?) SELECT 'v' || i, 'f', i, '', 'processed' FROM c`, first, first+n)
}

func (v *vectors) rows(first int, data []float32) []models.KnowledgeVector {
	out := make([]models.KnowledgeVector, len(data)/v.dims)
	for i := range out {
		id := fmt.Sprint("v", first+i)
		out[i] = models.KnowledgeVector{ID: id, ChunkID: id, FileID: "f", BaseID: "kb", CreatedAt: 1, Embedding: data[i*v.dims : (i+1)*v.dims]}
	}
	return out
}

// upsert stores rows of data in transactions of batch vectors each.
func (v *vectors) upsert(first int, data []float32, batch int) {
	v.t.Helper()
	for part := range slices.Chunk(v.rows(first, data), batch) {
		tx, err := v.e.Begin(v.t.Context())
		check(v.t, err)
		check(v.t, v.e.UpsertVectors(v.t.Context(), tx.DB, part))
		check(v.t, tx.Commit())
	}
}

func (v *vectors) add(first int, data []float32, batch int) {
	v.t.Helper()
	v.chunks(first, len(data)/v.dims)
	v.upsert(first, data, batch)
}

func (v *vectors) build() bool {
	v.t.Helper()
	ix, _ := v.e.VectorIndex(v.base, "", 1<<40)
	made, err := v.e.CreateIndex(v.t.Context(), ix)
	check(v.t, err)
	return made
}

func (v *vectors) nearest(query []float32, k int, exact bool) []engine.Neighbor {
	v.t.Helper()
	return v.find(engine.NearestQuery{Base: v.base, Metric: v.base.Metric, Vector: query, K: k, Exact: exact})
}

func (v *vectors) find(q engine.NearestQuery) []engine.Neighbor {
	v.t.Helper()
	ctx := context.WithoutCancel(v.t.Context())
	db, err := v.e.Reader(ctx)
	check(v.t, err)
	out, err := v.e.Nearest(ctx, db, q)
	check(v.t, err)
	return out
}

func idsOf(ns []engine.Neighbor) []string {
	out := make([]string, len(ns))
	for i, n := range ns {
		out[i] = n.VectorID
	}
	return out
}

// result is what measure found.
type result struct {
	recall    float64
	p50, p95  time.Duration
	cold      time.Duration
	exact     time.Duration
	perQuery  float64
	answered  int64
	questions int
}

func (r result) String() string {
	return fmt.Sprintf("recall@k %.4f, p50 %s, p95 %s, first %s, exact %s, %.0f vectors compared a query, %d of %d queries by sketches",
		r.recall, r.p50.Round(time.Microsecond), r.p95.Round(time.Microsecond), r.cold.Round(time.Microsecond), r.exact.Round(time.Microsecond), r.perQuery, r.answered, r.questions)
}

// measure compares the answers by sketches with the exact ones.
func (v *vectors) measure(queries [][]float32, k int) result {
	v.t.Helper()
	s := engine.SketchesOf(v.e)
	s.Forget()
	a0, c0 := s.Counts()
	var took []time.Duration
	got := make([][]string, len(queries))
	for round := range 2 {
		for i, q := range queries {
			start := time.Now()
			got[i] = idsOf(v.nearest(q, k, false))
			if round == 1 || i == 0 {
				took = append(took, time.Since(start))
			}
		}
	}
	r := result{cold: took[0], questions: 2 * len(queries)}
	a1, c1 := s.Counts()
	r.answered, r.perQuery = a1-a0, float64(c1-c0)/float64(r.questions)
	took = took[1:]
	slices.Sort(took)
	r.p50, r.p95 = took[len(took)/2], took[len(took)*95/100]
	hits, total := 0, 0
	start := time.Now()
	for i, q := range queries {
		for _, id := range idsOf(v.nearest(q, k, true)) {
			total++
			if slices.Contains(got[i], id) {
				hits++
			}
		}
	}
	r.exact = time.Since(start) / time.Duration(len(queries))
	r.recall = float64(hits) / float64(total)
	return r
}

func noise(rng *rand.Rand, n, dims int) []float32 {
	out := make([]float32, n*dims)
	for i := range out {
		out[i] = float32(rng.NormFloat64())
	}
	return out
}

// clusters are n vectors around n/100 centres, and queries around the same.
func clusters(rng *rand.Rand, n, dims, queries int) ([]float32, [][]float32) {
	k := max(10, n/100)
	centres := noise(rng, k, dims)
	draw := func(i int) []float32 {
		v := make([]float32, dims)
		c := centres[i%k*dims : (i%k+1)*dims]
		for d := range v {
			v[d] = c[d] + 0.5*float32(rng.NormFloat64())
		}
		return v
	}
	data := make([]float32, 0, n*dims)
	for range n {
		data = append(data, draw(rng.IntN(k))...)
	}
	qs := make([][]float32, queries)
	for i := range qs {
		qs[i] = draw(rng.IntN(k))
	}
	return data, qs
}

func split(data []float32, dims int) [][]float32 {
	var out [][]float32
	for v := range slices.Chunk(data, dims) {
		out = append(out, v)
	}
	return out
}

func shared(t testing.TB, name string) []float32 {
	t.Helper()
	file := filepath.Join("..", "..", "..", "shared", "data", name)
	b, err := os.ReadFile(file)
	if err != nil {
		t.Skipf("the real embeddings are not beside the repository: %v", err)
	}
	out := make([]float32, len(b)/4)
	for i := range out {
		out[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return out
}

// TestRecallOnRealEmbeddings asks for the ten nearest of 6,000 sentences, by codes and by lists.
func TestRecallOnRealEmbeddings(t *testing.T) {
	t.Parallel()
	data, queries := shared(t, "embeddings-512.base.f32"), split(shared(t, "embeddings-512.query.f32"), 512)
	for _, metric := range []models.Metric{models.MetricCosine, models.MetricL2, models.MetricIP} {
		t.Run(string(metric), func(t *testing.T) {
			t.Parallel()
			queries := queries
			if metric != models.MetricCosine {
				queries = queries[:len(queries)/4] // the vectors have length 1: the order is the same
			}
			v := openVectors(t, filepath.Join(t.TempDir(), "v.db"), 512, metric)
			v.add(0, data, 1000)
			wantRecall(t, "codes", v.measure(queries, 10), 0.99)
			wantRecall(t, "codes, 100 nearest", v.measure(queries[:20], 100), 0.99)
			engine.SketchesOf(v.e).Lists(1000, 256)
			if !v.build() {
				t.Errorf("build: got nothing made, want lists")
			}
			wantRecall(t, "lists", v.measure(queries, 10), 0.99)
			wantRecall(t, "lists, 100 nearest", v.measure(queries[:20], 100), 0.99)
		})
	}
}

func wantRecall(t *testing.T, what string, r result, least float64) {
	t.Helper()
	t.Logf("%s: %s", what, r)
	if r.recall < least {
		t.Errorf("%s: got recall %.4f, want at least %.2f", what, r.recall, least)
	}
	if r.answered < int64(r.questions) {
		t.Errorf("%s: %d of %d queries were answered by sketches, want all", what, r.answered, r.questions)
	}
}

// TestRecallAtScale is for the figures: TALKBASE_SCALE names what is measured, such as
// clusters:100000:768 or noise:100000:768.
func TestRecallAtScale(t *testing.T) {
	spec := os.Getenv("TALKBASE_SCALE")
	kind, n, dims := "clusters", 5000, 96
	if spec != "" {
		var size, d string
		parts := strings.Split(spec, ":")
		kind, size, d = parts[0], parts[1], parts[2]
		_, err := fmt.Sscan(size+" "+d, &n, &dims)
		check(t, err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	v := openVectors(t, filepath.Join(t.TempDir(), "v.db"), dims, models.MetricCosine)
	if spec == "" {
		engine.SketchesOf(v.e).Lists(2000, 256)
	}
	var queries [][]float32
	start := time.Now()
	if kind == "clusters" {
		data, qs := clusters(rng, n, dims, 100)
		v.add(0, data, 5000)
		queries = qs
	} else {
		v.add(0, noise(rng, n, dims), 5000)
		queries = split(noise(rng, 50, dims), dims)
	}
	t.Logf("filled in %s", time.Since(start).Round(time.Millisecond))
	if n > 200_000 {
		queries = queries[:20] // the exact answers take seconds each
	}
	least := 0.99
	if kind != "clusters" {
		least = 0.95
	}
	wantRecall(t, "codes", v.measure(queries, 10), least)
	start = time.Now()
	v.build()
	t.Logf("built in %s", time.Since(start).Round(time.Millisecond))
	wantRecall(t, "lists", v.measure(queries, 10), least)
}
