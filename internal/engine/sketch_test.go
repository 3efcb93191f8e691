package engine_test

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
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
	e, err := engine.Open(ctx, engine.Options{DSN: path, BusyTimeout: time.Minute, Synchronous: "NORMAL", SharedBuffers: 256 << 20, Logger: discard})
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
	recall              float64
	perQuery            float64
	answered, questions int64
}

func (r result) String() string {
	return fmt.Sprintf("recall@k %.4f, %.0f vectors compared a query, %d of %d queries by sketches", r.recall, r.perQuery, r.answered, r.questions)
}

// measure compares the answers by sketches with the nearest of data, whose rows are v0, v1 ….
func (v *vectors) measure(data []float32, queries [][]float32, k int) result {
	v.t.Helper()
	s := engine.SketchesOf(v.e)
	a0, c0 := s.Counts()
	hits := 0
	for _, q := range queries {
		got := idsOf(v.nearest(q, k, false))
		for _, id := range v.truth(data, q, k) {
			if slices.Contains(got, id) {
				hits++
			}
		}
	}
	a1, c1 := s.Counts()
	n := len(queries)
	return result{float64(hits) / float64(n*k), float64(c1-c0) / float64(n), a1 - a0, int64(n)}
}

// truth is what comparing every row of data finds.
func (v *vectors) truth(data, query []float32, k int) []string {
	type row struct {
		at int
		d  float64
	}
	rows := make([]row, len(data)/v.dims)
	for i := range rows {
		rows[i] = row{i, engine.Distance(v.base.Metric, query, models.Vector(data[i*v.dims:(i+1)*v.dims]).Blob())}
	}
	slices.SortFunc(rows, func(a, b row) int { return cmp.Compare(a.d, b.d) })
	ids := make([]string, k)
	for i := range ids {
		ids[i] = fmt.Sprint("v", rows[i].at)
	}
	return ids
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

// TestRecallOnRealEmbeddings asks for the nearest of real sentences, by codes and by lists. The vectors
// have length 1, so that the order is the same by every metric. Package bench reports recall at scale.
func TestRecallOnRealEmbeddings(t *testing.T) {
	t.Parallel()
	const dims = 512
	data, queries := shared(t, "embeddings-512.base.f32"), split(shared(t, "embeddings-512.query.f32"), dims)
	for _, tt := range []struct {
		metric        models.Metric
		rows, queries int
	}{{models.MetricCosine, 6000, 100}, {models.MetricL2, 2000, 40}, {models.MetricIP, 2000, 40}} {
		t.Run(string(tt.metric), func(t *testing.T) {
			t.Parallel()
			if testing.Short() {
				if tt.metric != models.MetricCosine {
					t.Skip("the order is that of cosine")
				}
				tt.rows, tt.queries = tt.rows/8, tt.queries/5
			}
			data, queries := data[:tt.rows*dims], queries[:tt.queries]
			v := openVectors(t, filepath.Join(t.TempDir(), "v.db"), dims, tt.metric)
			v.add(0, data, 1000)
			wantRecall(t, "codes", v.measure(data, queries, 10), 0.99)
			wantRecall(t, "codes, 100 nearest", v.measure(data, queries[:10], 100), 0.99)
			engine.SketchesOf(v.e).Lists(100, 256)
			if !v.build() {
				t.Errorf("build: got nothing made, want lists")
			}
			wantRecall(t, "lists", v.measure(data, queries, 10), 0.99)
			wantRecall(t, "lists, 100 nearest", v.measure(data, queries[:10], 100), 0.99)
		})
	}
}

func wantRecall(t *testing.T, what string, r result, least float64) {
	t.Helper()
	t.Logf("%s: %s", what, r)
	if r.recall < least {
		t.Errorf("%s: got recall %.4f, want at least %.2f", what, r.recall, least)
	}
	if r.answered < r.questions {
		t.Errorf("%s: %d of %d queries were answered by sketches, want all", what, r.answered, r.questions)
	}
}

// TestRecallOnMadeUpVectors asks for the nearest in clusters and in noise, by codes and by lists.
func TestRecallOnMadeUpVectors(t *testing.T) {
	t.Parallel()
	const dims = 64
	n, queries := 3000, 30
	if testing.Short() {
		n, queries = 600, 10
	}
	rng := rand.New(rand.NewPCG(1, 2))
	inClusters, near := clusters(rng, n, dims, queries)
	for _, tt := range []struct {
		name    string
		data    []float32
		queries [][]float32
		least   float64
	}{{"clusters", inClusters, near, 0.99}, {"noise", noise(rng, n, dims), split(noise(rng, queries, dims), dims), 0.95}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			v := openVectors(t, filepath.Join(t.TempDir(), "v.db"), dims, models.MetricCosine)
			v.add(0, tt.data, 1000)
			wantRecall(t, "codes", v.measure(tt.data, tt.queries, 10), tt.least)
			engine.SketchesOf(v.e).Lists(500, 256)
			if !v.build() {
				t.Errorf("build: got nothing made, want lists")
			}
			wantRecall(t, "lists", v.measure(tt.data, tt.queries, 10), tt.least)
		})
	}
}
