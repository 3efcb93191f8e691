package engine_test

import (
	"database/sql"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/talkbase/talkbase/internal/engine"
	"github.com/talkbase/talkbase/models"
)

var metrics = []models.Metric{models.MetricCosine, models.MetricL2, models.MetricIP}

// sameAsExact checks that sketches find what comparing everything finds, but for a rare one. Vectors
// that are equal have one code and are missed as one.
func (v *vectors) sameAsExact(t rapid.TB, when string, query []float32, k int) {
	t.Helper()
	got, want := v.nearest(query, k, false), v.nearest(query, k, true)
	if len(got) != len(want) {
		t.Fatalf("%s: got %d answers, want %d", when, len(got), len(want))
	}
	found, missed := map[string]bool{}, map[float64]bool{}
	for _, n := range got {
		if found[n.VectorID] {
			t.Fatalf("%s: got %s twice in %v", when, n.VectorID, idsOf(got))
		}
		found[n.VectorID] = true
	}
	for _, n := range want {
		if !found[n.VectorID] {
			missed[n.Distance] = true
		}
	}
	if len(missed) > max(1, k/20) {
		t.Fatalf("%s: got %v, want %v", when, idsOf(got), idsOf(want))
	}
}

// again empties the base and gives it a metric.
func (v *vectors) again(metric models.Metric) {
	v.t.Helper()
	v.base.Metric = metric
	v.exec("DELETE FROM knowledge_bases")
	v.exec("INSERT INTO knowledge_bases (id, name, dimensions, metric) VALUES ('kb', 'kb', ?, ?)", v.dims, string(metric))
	v.exec("INSERT INTO knowledge_files (id, base_id, name, path, status, uploaded_at) VALUES ('f', 'kb', 'f', '/f', 'processed', 1)")
}

// TestSketchesFollowWrites does what applications do to vectors, in random order, and compares the
// answers by sketches with the exact ones after each.
func TestSketchesFollowWrites(t *testing.T) {
	t.Parallel()
	const dims = 32
	v := openVectors(t, "sqlite::memory:", dims, models.MetricCosine)
	s := engine.SketchesOf(v.e)
	s.Lists(150, 16)
	steps := 8
	if testing.Short() {
		steps = 4
	}
	rapid.Check(t, func(rt *rapid.T) {
		metric := rapid.SampledFrom(metrics).Draw(rt, "metric")
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 1))
		v.again(metric)
		next := 0
		add := func(n, batch int) {
			v.add(next, noise(rng, n, dims), batch)
			next += n
		}
		add(100, 30)
		replace := func(n int) {
			first := rng.IntN(next - n)
			v.chunks(first, n) // some were deleted
			v.upsert(first, noise(rng, n, dims), 50)
		}
		actions := map[string]func(){
			"insert":        func() { add(1+rng.IntN(60), 40) },
			"insert singly": func() { add(1+rng.IntN(20), 1) },
			"replace":       func() { replace(1) },
			"replace many":  func() { replace(next / 2) },
			"delete":        func() { v.exec("DELETE FROM knowledge_chunks WHERE seq % 10 = ?", rng.IntN(10)) },
			"hide":          func() { v.exec("UPDATE knowledge_chunks SET status = 'error' WHERE seq % 7 = ?", rng.IntN(7)) },
			"show":          func() { v.exec("UPDATE knowledge_chunks SET status = 'processed'") },
			"plain SQL": func() {
				v.exec("UPDATE knowledge_vectors SET embedding = ? WHERE seq % 9 = ?", models.Vector(noise(rng, 1, dims)).Blob(), rng.IntN(9))
			},
			"build":     func() { v.build() },
			"forget":    s.Forget,
			"roll back": func() { v.rollBack(noise(rng, 60, dims), next) },
			"move": func() {
				v.exec("UPDATE knowledge_vectors SET seq = (SELECT max(seq) + 100000 FROM knowledge_vectors) WHERE seq = (SELECT min(seq) FROM knowledge_vectors)")
			},
			"all delete": func() { v.exec("DELETE FROM knowledge_vectors WHERE seq % 100 <> 0") },
		}
		names := make([]string, 0, len(actions))
		for name := range actions {
			names = append(names, name)
		}
		slices.Sort(names)
		for range rapid.IntRange(1, steps).Draw(rt, "steps") {
			name := rapid.SampledFrom(names).Draw(rt, "action")
			actions[name]()
			for _, k := range []int{1, 10, 70} {
				v.sameAsExact(rt, "after "+name, noise(rng, 1, dims), k)
			}
		}
	})
}

// rollBack stores vectors, reads them in the same transaction, and undoes it.
func (v *vectors) rollBack(data []float32, first int) {
	v.t.Helper()
	ctx := v.t.Context()
	v.chunks(first, len(data)/v.dims)
	tx, err := v.e.Begin(ctx)
	check(v.t, err)
	check(v.t, v.e.UpsertVectors(ctx, tx.DB, v.rows(first, data)))
	found, err := v.e.Nearest(ctx, tx.DB, engine.NearestQuery{Base: v.base, Metric: models.MetricL2, Vector: data[:v.dims], K: 1})
	check(v.t, err)
	if want := fmt.Sprint("v", first); len(found) != 1 || found[0].VectorID != want {
		v.t.Fatalf("nearest in the transaction: got %v, want %s", idsOf(found), want)
	}
	_, err = v.e.Nearest(ctx, tx.DB, engine.NearestQuery{Base: v.base, Metric: v.base.Metric, Vector: data[:v.dims], K: 3})
	check(v.t, err)
	check(v.t, tx.Rollback())
	v.exec("DELETE FROM knowledge_chunks WHERE chunk_index >= ?", first)
}

// TestTwoHandles writes by one handle what another has cached, as two processes do.
func TestTwoHandles(t *testing.T) {
	t.Parallel()
	const dims = 32
	rng := rand.New(rand.NewPCG(3, 3))
	path := filepath.Join(t.TempDir(), "v.db")
	a, b := openVectors(t, path, dims, models.MetricL2), openVectors(t, path, dims, models.MetricL2)
	engine.SketchesOf(a.e).Lists(400, 64)
	engine.SketchesOf(b.e).Lists(400, 64)
	const first, more = 300, 100
	data := noise(rng, first+6*more, dims)
	a.add(0, data[:first*dims], first)
	for round := range 6 {
		writer, reader := a, b
		if round%2 == 1 {
			writer, reader = b, a
		}
		reader.sameAsExact(t, "before", noise(rng, 1, dims), 10)
		at := first + more*round
		fresh := data[at*dims : (at+more)*dims]
		writer.add(at, fresh, more)
		if got := idsOf(reader.nearest(fresh[:dims], 1, false)); !slices.Equal(got, []string{fmt.Sprint("v", at)}) {
			t.Errorf("round %d: got %v, want v%d, which the other handle wrote", round, got, at)
		}
		// What the reader has cached is replaced, deleted or made anew by the writer.
		writer.upsert(round*40, fresh[dims:2*dims], 1)
		writer.exec("DELETE FROM knowledge_chunks WHERE id = ?", fmt.Sprint("v", at))
		got, want := idsOf(reader.nearest(fresh[dims:2*dims], 2, false)), []string{fmt.Sprint("v", round*40), fmt.Sprint("v", at+1)}
		slices.Sort(got)
		if slices.Sort(want); !slices.Equal(got, want) {
			t.Errorf("round %d: got %v, want %v, which are the same vector", round, got, want)
		}
		if got := idsOf(reader.nearest(fresh[:dims], 1, false)); slices.Equal(got, []string{fmt.Sprint("v", at)}) {
			t.Errorf("round %d: got %v, which the other handle deleted", round, got)
		}
		if round%2 == 0 {
			writer.build()
		}
		reader.sameAsExact(t, "after", noise(rng, 1, dims), 10)
	}
}

// TestBuildWhileWriting makes lists in one handle while another writes.
func TestBuildWhileWriting(t *testing.T) {
	t.Parallel()
	const dims = 32
	half := 1500
	if testing.Short() {
		half = 300
	}
	rng := rand.New(rand.NewPCG(4, 4))
	path := filepath.Join(t.TempDir(), "v.db")
	a, b := openVectors(t, path, dims, models.MetricCosine), openVectors(t, path, dims, models.MetricCosine)
	engine.SketchesOf(a.e).Lists(200, 64)
	engine.SketchesOf(b.e).Lists(200, 64)
	data := noise(rng, 2*half, dims)
	a.add(0, data[:half*dims], half)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := half; i < 2*half; i += 50 {
			b.add(i, data[i*dims:(i+50)*dims], 50)
			b.upsert(i-half, data[(i-half)*dims:(i-half+10)*dims], 10)
		}
	}()
	for range 3 {
		a.build()
	}
	<-done
	for i := 0; i < 2*half; i += half / 25 {
		if got := idsOf(a.nearest(data[i*dims:(i+1)*dims], 1, false)); !slices.Equal(got, []string{fmt.Sprint("v", i)}) {
			t.Errorf("nearest to v%d: got %v, want itself", i, got)
		}
	}
	if a.build(); a.build() {
		t.Errorf("built again: got new sketches, want those that are fresh kept")
	}
}

// TestDamagedSketches turns bytes of blocks: the answers stay right, and building mends them.
func TestDamagedSketches(t *testing.T) {
	t.Parallel()
	const dims = 64
	rng := rand.New(rand.NewPCG(5, 5))
	v := openVectors(t, "sqlite::memory:", dims, models.MetricCosine)
	s := engine.SketchesOf(v.e)
	s.Lists(1<<40, 64)
	for _, tt := range []struct{ name, damage string }{
		{"a byte", "UPDATE knowledge_sketch_blocks SET data = substr(data, 1, 40) || x'ff' || substr(data, 42)"},
		{"cut off", "UPDATE knowledge_sketch_blocks SET data = substr(data, 1, 20)"},
		{"no centres", "DELETE FROM knowledge_sketch_blocks WHERE list = -1"},
		{"a centre, no code", "UPDATE knowledge_sketch_blocks SET data = (SELECT data FROM knowledge_sketch_blocks WHERE list = -1)"},
	} {
		v.again(models.MetricCosine)
		data := noise(rng, 400, dims)
		v.add(0, data[:300*dims], 300)
		v.exec(tt.damage)
		s.Forget()
		query := noise(rng, 1, dims)
		if got, want := idsOf(v.nearest(query, 10, false)), idsOf(v.nearest(query, 10, true)); !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", tt.name, got, want)
		}
		v.add(300, data[300*dims:], 100) // a writer is not stopped by them
		before, _ := s.Counts()
		if !v.build() {
			t.Errorf("%s, build: got nothing made, want new sketches", tt.name)
		}
		v.sameAsExact(t, tt.name+", mended", query, 10)
		if after, _ := s.Counts(); after == before {
			t.Errorf("%s, mended: the query was answered without sketches", tt.name)
		}
	}
}

// TestOddVectorsBySketches has vectors that no code can be made of among many.
func TestOddVectorsBySketches(t *testing.T) {
	t.Parallel()
	const dims = 8
	rng := rand.New(rand.NewPCG(6, 6))
	v := openVectors(t, "sqlite::memory:", dims, models.MetricCosine)
	engine.SketchesOf(v.e).Lists(1<<40, 64)
	for _, metric := range metrics {
		v.again(metric)
		data := noise(rng, 300, dims)
		for i, x := range []float32{3e38, 1e-38, 0, 1e20} {
			for d := range dims {
				data[(100+i)*dims+d] = x
			}
		}
		v.add(0, data, 300)
		v.exec("UPDATE knowledge_vectors SET embedding = x'00' WHERE id = 'v7'")
		v.exec("UPDATE knowledge_vectors SET embedding = ? WHERE id = 'v8'", models.Vector(slices.Repeat([]float32{float32(math.NaN())}, dims)).Blob())
		v.upsert(0, data[20*dims:120*dims], 100)
		big := slices.Repeat([]float32{1e19}, dims)
		for _, q := range [][]float32{data[:dims], data[101*dims : 102*dims], big} {
			v.sameAsExact(t, string(metric)+", odd", q, 10)
		}
		v.build()
		v.sameAsExact(t, string(metric)+", odd, built", data[:dims], 10)
	}
}

// TestBaseGoesWithItsSketches deletes and makes a base of the same id with other dimensions.
func TestBaseGoesWithItsSketches(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(7, 7))
	path := filepath.Join(t.TempDir(), "v.db")
	v := openVectors(t, path, 64, models.MetricCosine)
	v.add(0, noise(rng, 600, 64), 300)
	v.sameAsExact(t, "first", noise(rng, 1, 64), 10)
	v.exec("DELETE FROM knowledge_bases")
	db, err := v.e.Reader(t.Context())
	check(t, err)
	for _, table := range []string{"knowledge_sketches", "knowledge_sketch_blocks", "knowledge_sketch_pending"} {
		n, err := engine.One(t.Context(), db, engine.Value[int64], "SELECT count(*) FROM "+table)
		if check(t, err); n != 0 {
			t.Errorf("%s: got %d rows after the base was deleted, want 0", table, n)
		}
	}
	w := openVectors(t, path, 128, models.MetricL2)
	w.add(0, noise(rng, 600, 128), 300)
	w.sameAsExact(t, "second", noise(rng, 1, 128), 10)
}

// TestStaleCodesGoAway replaces all vectors again and again: the codes do not grow without end.
func TestStaleCodesGoAway(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(8, 8))
	const dims, n = 32, 150
	v := openVectors(t, "sqlite::memory:", dims, models.MetricCosine)
	engine.SketchesOf(v.e).Lists(1<<40, 64)
	v.add(0, noise(rng, n, dims), n)
	for range 12 {
		v.upsert(0, noise(rng, n, dims), n)
	}
	db, err := v.e.Reader(t.Context())
	check(t, err)
	codes, err := engine.One(t.Context(), db, engine.Value[int64], "SELECT codes FROM knowledge_sketches")
	if check(t, err); codes > 4*n {
		t.Errorf("codes of %d vectors: got %d, want at most %d", n, codes, 4*n)
	}
	v.sameAsExact(t, "replaced", noise(rng, 1, dims), 10)
}

// TestCacheKeepsItsLimit reads more codes than the cache may hold.
func TestCacheKeepsItsLimit(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(9, 9))
	path := filepath.Join(t.TempDir(), "v.db")
	openVectors(t, path, 64, models.MetricL2).add(0, noise(rng, 2000, 64), 1000)
	e, err := engine.Open(t.Context(), engine.Options{DSN: path, SketchCache: 45_000, Logger: discard})
	check(t, err)
	v := &vectors{t: t, e: e, dims: 64, base: models.KnowledgeBase{ID: "kb", Dimensions: 64, Metric: models.MetricL2}}
	for range 3 {
		v.sameAsExact(t, "small cache", noise(rng, 1, 64), 10)
	}
	if used, limit := engine.SketchesOf(e).Cached(); used == 0 || used > limit {
		t.Errorf("cache: got %d bytes, want more than 0 and at most %d", used, limit)
	}
	check(t, e.Close())
	if used, _ := engine.SketchesOf(e).Cached(); used != 0 {
		t.Errorf("cache after close: got %d bytes, want 0", used)
	}
	db, err := e.Reader(t.Context())
	if err == nil {
		_, err = e.Nearest(t.Context(), db, engine.NearestQuery{Base: v.base, Metric: models.MetricL2, Vector: make([]float32, 64), K: 1})
	}
	if !errors.Is(err, engine.ErrClosed) && !errors.Is(err, sql.ErrConnDone) {
		t.Errorf("query after close: got error %v, want ErrClosed", err)
	}
}

func BenchmarkNearest(b *testing.B) {
	for _, n := range []int{10_000, 100_000} {
		b.Run(fmt.Sprint(n, "x256"), func(b *testing.B) {
			data, queries := clusters(rand.New(rand.NewPCG(1, 1)), n, 256, 100)
			v := openVectors(b, filepath.Join(b.TempDir(), "v.db"), 256, models.MetricCosine)
			v.add(0, data, 5000)
			v.build()
			i := 0
			for b.Loop() {
				v.nearest(queries[i%len(queries)], 10, false)
				i++
			}
		})
	}
}

// BenchmarkCrossover is where defaultTuning.foldAt comes from: the same base by sketches and without.
func BenchmarkCrossover(b *testing.B) {
	for _, n := range []int{128, 256, 512, 1024} {
		rng := rand.New(rand.NewPCG(1, 1))
		v := openVectors(b, filepath.Join(b.TempDir(), "v.db"), 768, models.MetricCosine)
		engine.SketchesOf(v.e).Lists(1<<40, 64)
		v.add(0, noise(rng, n, 768), n)
		for _, exact := range []bool{false, true} {
			b.Run(fmt.Sprintf("%d exact=%t", n, exact), func(b *testing.B) {
				for b.Loop() {
					v.nearest(noise(rng, 1, 768), 10, exact)
				}
			})
		}
	}
}

// BenchmarkInsertVectors compares storing vectors with and without codes, rows a second.
func BenchmarkInsertVectors(b *testing.B) {
	for _, batch := range []int{1, 1000, 5000} {
		for _, bare := range []bool{true, false} {
			b.Run(fmt.Sprintf("batch=%d bare=%t", batch, bare), func(b *testing.B) {
				v := openVectors(b, filepath.Join(b.TempDir(), "v.db"), 768, models.MetricCosine)
				if bare {
					engine.SketchesOf(v.e).Lists(1<<40, 1<<40)
				}
				data := noise(rand.New(rand.NewPCG(1, 1)), max(batch, 1000), 768)
				v.chunks(0, 60_000)
				at := 0
				for b.Loop() {
					if at += batch; at > 60_000 {
						b.Fatal("more rows than chunks: use -benchtime 20000x and the like")
					}
					from := (at - batch) % (len(data) / 768 / batch * batch) * 768
					v.upsert(at-batch, data[from:from+batch*768], batch)
				}
				b.ReportMetric(float64(at)/b.Elapsed().Seconds(), "rows/s")
			})
		}
	}
}

// TestTwoBuilds builds the sketches of one base from two processes at once: the second finds the first's.
func TestTwoBuilds(t *testing.T) {
	t.Parallel()
	const dims, n = 32, 600
	path := filepath.Join(t.TempDir(), "v.db")
	a, b := openVectors(t, path, dims, models.MetricCosine), openVectors(t, path, dims, models.MetricCosine)
	for _, v := range []*vectors{a, b} {
		engine.SketchesOf(v.e).Lists(200, 64)
	}
	a.add(0, noise(rand.New(rand.NewPCG(5, 5)), n, dims), n)
	var both sync.WaitGroup
	for _, v := range []*vectors{a, b} {
		both.Go(func() { v.build() })
	}
	both.Wait()
	db, err := a.e.Reader(t.Context())
	check(t, err)
	pending, err := engine.One(t.Context(), db, engine.Value[int64], "SELECT count(*) FROM knowledge_sketch_pending")
	check(t, err)
	if pending != 0 {
		t.Errorf("vectors without codes: got %d, want none", pending)
	}
}
