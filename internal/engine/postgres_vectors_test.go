package engine_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"github.com/talkbase/talkbase/internal/engine"
	"github.com/talkbase/talkbase/migration"
	"github.com/talkbase/talkbase/models"
)

// openOnPostgres makes the base of openVectors in a schema of its own. Without a server the test is
// skipped, or fails where it must not be skipped.
func openOnPostgres(t testing.TB, dims int, metric models.Metric, configure func(*engine.Options)) *vectors {
	t.Helper()
	dsn := os.Getenv("TALKBASE_TEST_POSTGRES")
	if dsn == "" {
		if os.Getenv("TALKBASE_REQUIRE_POSTGRES") == "1" {
			t.Fatal("TALKBASE_TEST_POSTGRES: got nothing, want a DSN, because TALKBASE_REQUIRE_POSTGRES is 1: use scripts/postgres run -- go test ./...")
		}
		t.Skip("TALKBASE_TEST_POSTGRES is not set: use scripts/postgres run -- go test ./...")
	}
	ctx := t.Context()
	o := engine.Options{
		DSN: dsn, Schema: "t_" + strings.ReplaceAll(uuid.NewString(), "-", ""), Logger: discard, MaxConns: 4,
		WorkMem: 64 << 20, MaintenanceWorkMem: 128 << 20,
	}
	if configure != nil {
		configure(&o)
	}
	e, err := engine.Open(ctx, o)
	check(t, err)
	t.Cleanup(func() {
		_, err := e.SQL().ExecContext(context.WithoutCancel(ctx), "SET client_min_messages = warning; DROP SCHEMA "+o.Schema+" CASCADE")
		check(t, err)
		check(t, e.Close())
	})
	var late engine.Late
	late.Set(e)
	check(t, migration.NewSchema(&late, "", discard).Prepare(ctx, true))
	v := &vectors{t: t, e: e, dims: dims, base: models.KnowledgeBase{ID: "kb", Dimensions: int64(dims), Metric: metric}}
	v.exec("INSERT INTO knowledge_bases (id, name, dimensions, metric) VALUES ('kb', 'kb', ?, ?)", dims, string(metric))
	// Ten files, into which fill puts the vectors in turn.
	v.exec(`INSERT INTO knowledge_files (id, base_id, name, path, status, uploaded_at, metadata)
		SELECT 'f' || i, 'kb', 'f', '/f', 'processed', i, jsonb_build_object('n', i) FROM generate_series(0, 9) i`)
	return v
}

// fill stores vectors v0, v1 …, of which the one numbered i is in file i % 10.
func (v *vectors) fill(data []float32) {
	v.t.Helper()
	n := len(data) / v.dims
	v.exec(`INSERT INTO knowledge_chunks (id, file_id, chunk_index, content, status)
		SELECT 'v' || i, 'f' || i % 10, i, 'content', 'processed' FROM generate_series(0, ?::int - 1) i`, n)
	rows := v.rows(0, data)
	for i := range rows {
		rows[i].FileID = fmt.Sprint("f", i%10)
	}
	tx, err := v.e.Begin(v.t.Context())
	check(v.t, err)
	check(v.t, v.e.UpsertVectors(v.t.Context(), tx.DB, rows))
	check(v.t, tx.Commit())
	v.exec("ANALYZE knowledge_vectors")
}

// index makes an index of a kind and returns its name.
func (v *vectors) index(kind string) string {
	v.t.Helper()
	n := v.number("SELECT count(*) FROM knowledge_vectors WHERE base_id = 'kb'")
	ix, why := v.e.VectorIndex(v.base, kind, n)
	if ix.Name == "" {
		v.t.Fatalf("index: got none because %s", why)
	}
	_, err := v.e.CreateIndex(v.t.Context(), ix)
	check(v.t, err)
	return ix.Name
}

func (v *vectors) number(query string, args ...any) int64 {
	v.t.Helper()
	return read(v, engine.Value[int64], query, args...)
}

func read[T any](v *vectors, scan func(engine.Scanner, *T) error, query string, args ...any) T {
	v.t.Helper()
	ctx := context.WithoutCancel(v.t.Context())
	db, err := v.e.Reader(ctx)
	check(v.t, err)
	out, err := engine.One(ctx, db, scan, query, args...)
	check(v.t, err)
	return out
}

// by asks and says which index answered.
func (v *vectors) by(q engine.NearestQuery) ([]engine.Neighbor, string) {
	v.t.Helper()
	index := "not told"
	q.Base, q.Metric, q.Index = v.base, v.base.Metric, &index
	return v.find(q), index
}

// exactly gives the exact answers.
func (v *vectors) exactly(queries [][]float32, k int, files engine.FileFilter) (out [][]engine.Neighbor) {
	v.t.Helper()
	for _, vector := range queries {
		found, index := v.by(engine.NearestQuery{Vector: vector, K: k, Files: files, Exact: true})
		if index != "" {
			v.t.Fatalf("the exact query was answered by %q", index)
		}
		out = append(out, found)
	}
	return out
}

// recall is the part of the k nearest that an index finds; truth are at least as many.
func (v *vectors) recall(kind string, queries [][]float32, k int, files engine.FileFilter, truth [][]engine.Neighbor) float64 {
	v.t.Helper()
	hits, total := 0, 0
	for i, vector := range queries {
		found, index := v.by(engine.NearestQuery{Vector: vector, K: k, Files: files})
		if want := truth[i][:k]; index != kind || len(found) != k {
			v.t.Fatalf("got %d answers by %q, want %d by %q", len(found), index, k, kind)
		} else {
			hits, total = hits+engine.Hits(want, found), total+len(want)
		}
	}
	return float64(hits) / float64(total)
}

// TestPostgresIndexIsUsed explains the query as it is run: planned with its values, from the sixth run
// of a prepared statement on, and as the plan for any values.
func TestPostgresIndexIsUsed(t *testing.T) {
	t.Parallel()
	simple := func(o *engine.Options) { o.DSN += "&default_query_exec_mode=simple_protocol" }
	for _, c := range []struct {
		name      string
		kind      string
		dims, n   int
		metric    models.Metric
		configure func(*engine.Options)
	}{
		{"hnsw of few dimensions", "hnsw", 3, 1000, models.MetricCosine, nil},
		{"hnsw, l2", "hnsw", 64, 1200, models.MetricL2, simple},
		{"hnsw, ip", "hnsw", 200, 1200, models.MetricIP, nil},
		{"ivfflat", "ivfflat", 64, 1200, models.MetricCosine, nil},
		{"ivfflat, l2", "ivfflat", 3, 3000, models.MetricL2, simple},
		{"halfvec", "hnsw", 2001, 1000, models.MetricCosine, nil},
		{"halfvec, ivfflat, l2", "ivfflat", 2001, 1000, models.MetricL2, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(1, 1))
			v := openOnPostgres(t, c.dims, c.metric, c.configure)
			data, queries := clusters(rng, c.n, c.dims, 1)
			v.fill(data)
			name := v.index(c.kind)
			for what, files := range map[string]engine.FileFilter{
				"no filter": {},
				"status":    {Status: []string{"processed", "error"}},
				"metadata":  {Metadata: []engine.MetadataFilter{{Key: "n", Numbers: []string{"1", "2", "3", "4", "5", "6"}}}},
				"the lot": {
					IDs: []string{"f0", "f1", "f2", "f3", "f4", "f5"}, MimeTypes: []string{"", "text/plain"}, From: -1, Before: 1 << 40,
					Metadata: []engine.MetadataFilter{{Key: "n", Numbers: []string{"0", "1", "2", "3", "4", "5"}, Strings: []string{"1"}, Null: true}},
				},
			} {
				for _, k := range []int{1, 10, 100} {
					explained := false
					engine.OnQuery(v.e, func(ctx context.Context, db *gorm.DB, query string, args []any) {
						explained = true
						usesIndex(t, ctx, db, fmt.Sprint(what, ", k = ", k), name, c.configure != nil, query, args)
					})
					found, index := v.by(engine.NearestQuery{Vector: queries[0], K: k, Files: files})
					engine.OnQuery(v.e, nil)
					if !explained || index != c.kind || len(found) != k {
						t.Errorf("%s, k = %d: got %d answers by %q, explained: %t; want %d by %q", what, k, len(found), index, explained, k, c.kind)
					}
				}
			}
		})
	}
}

func usesIndex(t *testing.T, ctx context.Context, db *gorm.DB, what, index string, simple bool, query string, args []any) {
	t.Helper()
	run := func(statement string, args ...any) string {
		t.Helper()
		rows, err := db.Statement.ConnPool.QueryContext(ctx, statement, args...)
		check(t, err)
		defer func() { check(t, rows.Close()) }()
		var out strings.Builder
		for rows.Next() && strings.HasPrefix(statement, "EXPLAIN") {
			var line string
			check(t, rows.Scan(&line))
			out.WriteString(line + "\n")
		}
		check(t, rows.Err())
		return out.String()
	}
	want := func(how, plan string) {
		t.Helper()
		if !strings.Contains(plan, "Index Scan using "+index+" ") || !strings.Contains(plan, "Order By:") {
			t.Errorf("%s, %s: the index is not used:\n%.3000s", what, how, plan)
		}
		for _, bad := range []string{"Seq Scan on knowledge_vectors", "JIT:"} {
			if strings.Contains(plan, bad) {
				t.Errorf("%s, %s: the plan has %s:\n%.3000s", what, how, bad, plan)
			}
		}
	}
	want("planned with its values", run("EXPLAIN "+query, args...))
	if simple {
		return // never prepares
	}
	values := make([]string, len(args))
	for i, a := range args {
		switch a := a.(type) {
		case string:
			values[i] = "'" + strings.ReplaceAll(a, "'", "''") + "'"
		case []string:
			quoted := make([]string, len(a))
			for j, s := range a {
				quoted[j] = strconv.Quote(s)
			}
			values[i] = "'{" + strings.Join(quoted, ",") + "}'"
		default:
			values[i] = fmt.Sprint(a)
		}
	}
	name := "p" + strings.ReplaceAll(uuid.NewString(), "-", "")
	run("PREPARE " + name + " AS " + query)
	execute := "EXECUTE " + name + "(" + strings.Join(values, ", ") + ")"
	for range 5 {
		run(execute)
	}
	want("prepared, sixth run", run("EXPLAIN "+execute))
	run("SET LOCAL plan_cache_mode = force_generic_plan")
	want("prepared, for any values", run("EXPLAIN "+execute))
	run("SET LOCAL plan_cache_mode = auto")
	run("DEALLOCATE " + name)
}

// TestPostgresIndexIsScanned counts the scans of the index while the library's own statement stays
// prepared.
func TestPostgresIndexIsScanned(t *testing.T) {
	t.Parallel()
	v := openOnPostgres(t, 16, models.MetricCosine, func(o *engine.Options) { o.MaxConns = 1 })
	rng := rand.New(rand.NewPCG(2, 2))
	v.fill(noise(rng, 1500, 16))
	name := v.index("")
	scans := func() int64 {
		v.exec("SELECT pg_stat_force_next_flush()") // the one connection says what it has counted
		return v.number("SELECT idx_scan FROM pg_stat_user_indexes WHERE schemaname = current_schema() AND indexrelname = ?", name)
	}
	before := scans()
	for range 12 {
		v.nearest(noise(rng, 1, 16), 10, false)
	}
	if got := scans() - before; got != 12 {
		t.Errorf("scans of the index in 12 queries: got %d, want 12", got)
	}
	before = scans()
	v.nearest(noise(rng, 1, 16), 10, true)
	if got := scans() - before; got != 0 {
		t.Errorf("scans of the index in an exact query: got %d, want none", got)
	}
}

// TestPostgresRecallOnRealEmbeddings asks for the nearest of 6,000 sentences, with what the library
// sets by itself.
func TestPostgresRecallOnRealEmbeddings(t *testing.T) {
	t.Parallel()
	v := openOnPostgres(t, 512, models.MetricCosine, nil)
	data, queries := shared(t, "embeddings-512.base.f32"), split(shared(t, "embeddings-512.query.f32"), 512)[:100]
	least := 0.99
	if testing.Short() {
		data, queries, least = data[:1500*512], queries[:30], 0.98 // of 300 answers
	}
	v.fill(data)
	half := engine.FileFilter{IDs: []string{"f0", "f2", "f4", "f6", "f8"}}
	all, some := v.exactly(queries, 100, engine.FileFilter{}), v.exactly(queries[:30], 10, half)
	for _, kind := range []string{"ivfflat", "hnsw"} {
		v.index(kind)
		for _, k := range []int{10, 100} {
			r := v.recall(kind, queries, k, engine.FileFilter{}, all)
			t.Logf("%s: recall@%d %.4f", kind, k, r)
			if r < least {
				t.Errorf("%s: got recall@%d %.4f, want at least %.2f", kind, k, r, least)
			}
		}
		if r := v.recall(kind, queries[:30], 10, half, some); r < 0.97 {
			t.Errorf("%s, half of the files: got recall@10 %.4f, want at least 0.97", kind, r)
		}
	}
}

// TestPostgresFiltersYieldK has filters that let much and little pass, and vectors that were deleted.
func TestPostgresFiltersYieldK(t *testing.T) {
	t.Parallel()
	const dims, n = 24, 4000
	rng := rand.New(rand.NewPCG(3, 3))
	v := openOnPostgres(t, dims, models.MetricL2, nil)
	v.fill(noise(rng, n, dims))
	v.exec("UPDATE knowledge_files SET metadata = jsonb_build_object('n', right(id, 1)::int, 'text', 'x ' || id)")
	for _, kind := range []string{"hnsw", "ivfflat"} {
		v.index(kind)
		for _, files := range []engine.FileFilter{
			{IDs: []string{"f3"}},
			{From: 5},
			{Metadata: []engine.MetadataFilter{{Key: "n", Numbers: []string{"1", "7"}}}},
			{Metadata: []engine.MetadataFilter{{Key: "text", Strings: []string{"x f8", "nothing"}}}},
			{IDs: []string{"nobody"}},
			{Status: []string{"error"}},
		} {
			for _, k := range []int{1, 30, 399, 1000} {
				q := engine.NearestQuery{Vector: noise(rng, 1, dims), K: k, Files: files}
				found, _ := v.by(q)
				q.Exact = true
				want, _ := v.by(q)
				if len(found) != len(want) {
					t.Errorf("%s, %+v: got %d, want %d", kind, files, len(found), len(want))
				}
				if hits := engine.Hits(want, found); 10*hits < 9*len(want) {
					t.Errorf("%s, %+v: got %d of the %d nearest", kind, files, hits, len(want))
				}
			}
		}
	}
	// Of what the index holds, nearly all is gone or hidden.
	v.exec("UPDATE knowledge_chunks SET status = 'error' WHERE seq % 100 > 1")
	for _, k := range []int{1, 50, 80, 1000} {
		q := engine.NearestQuery{Vector: noise(rng, 1, dims), K: k}
		found, _ := v.by(q)
		if want := min(k, n/50); len(found) != want {
			t.Errorf("among hidden chunks: got %d, want %d", len(found), want)
		}
	}
}

// TestPostgresVectorsOfOtherHands writes rows that the library would refuse, before and after there is
// an index.
func TestPostgresVectorsOfOtherHands(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		dims   int
		metric models.Metric
		odd    string
	}{
		{8, models.MetricCosine, "[0,0,0,0,0,0,0,0]"},
		{8, models.MetricIP, "[1,2,3,4,5,6,7,8,9]"},
		{2001, models.MetricL2, models.Vector(slices.Repeat([]float32{1e30}, 2001)).Text()},
		{2001, models.MetricCosine, models.Vector(slices.Repeat([]float32{1e5}, 2001)).Text()},
	} {
		t.Run(fmt.Sprint(c.dims, c.metric), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(4, 4))
			v := openOnPostgres(t, c.dims, c.metric, nil)
			data := noise(rng, 1010, c.dims)
			v.fill(data)
			odd := func(first, last int) {
				v.exec("UPDATE knowledge_vectors SET embedding = '[1,2]' WHERE chunk_id = ?", fmt.Sprint("v", first))
				v.exec("UPDATE knowledge_vectors SET embedding = ?::vector WHERE chunk_id = ?", c.odd, fmt.Sprint("v", last))
			}
			asks := func() {
				t.Helper()
				for i := 100; i < 110; i++ {
					q := engine.NearestQuery{Vector: data[i*c.dims : (i+1)*c.dims], K: 10}
					found, index := v.by(q)
					q.Exact = true
					want, _ := v.by(q)
					if index != "hnsw" || len(found) != 10 || engine.Hits(want, found) < 9 {
						t.Errorf("got %d answers by %q, %d of those there are", len(found), index, engine.Hits(want, found))
					}
				}
			}
			odd(0, 1)
			v.index("hnsw")
			asks()
			odd(2, 3)
			asks()
		})
	}
}

// TestPostgresIndexIsMadeAnew has indexes that were cut off, are of the wrong kind or size, or of a base
// that was there before.
func TestPostgresIndexIsMadeAnew(t *testing.T) {
	t.Parallel()
	const dims = 64
	rng := rand.New(rand.NewPCG(5, 5))
	v := openOnPostgres(t, dims, models.MetricCosine, func(o *engine.Options) { o.MaintenanceWorkMem = 1 << 20 }) // too little for lists
	v.fill(noise(rng, 1100, dims))
	spec, _ := v.e.VectorIndex(v.base, "hnsw", 1100)
	type made struct {
		oid     int64
		def     string
		comment string
	}
	look := func() made {
		t.Helper()
		if n := v.number("SELECT count(*) FROM pg_indexes WHERE schemaname = current_schema() AND indexname LIKE 'idx_knowledge_vectors_base_%'"); n != 1 {
			t.Errorf("indexes: got %d, want 1", n)
		}
		return read(v, func(s engine.Scanner, m *made) error { return s.Scan(&m.oid, &m.def, &m.comment) },
			"SELECT c.oid::bigint, pg_get_indexdef(c.oid), coalesce(obj_description(c.oid, 'pg_class'), '') FROM pg_class c JOIN pg_index i ON i.indexrelid = c.oid WHERE i.indisvalid AND c.oid = ?::text::regclass", spec.Name)
	}
	create := func(kind string, rows int64, want bool) made {
		t.Helper()
		ix, _ := v.e.VectorIndex(v.base, kind, rows)
		created, err := v.e.CreateIndex(t.Context(), ix)
		check(t, err)
		if created != want {
			t.Errorf("created: got %t, want %t", created, want)
		}
		m := look()
		if !strings.HasPrefix(m.comment, "talkbase: {") {
			t.Errorf("comment: got %q, want what was measured", m.comment)
		}
		if _, index := v.by(engine.NearestQuery{Vector: noise(rng, 1, dims), K: 3}); !strings.Contains(m.def, "USING "+index+" ") {
			t.Errorf("answered by %q, want by %s", index, m.def)
		}
		return m
	}
	invalid := func(name string) {
		v.exec("UPDATE pg_index SET indisvalid = false WHERE indexrelid = ?::text::regclass", name)
	}

	// As a build leaves one that is cut off.
	v.exec("CREATE INDEX " + spec.Name + " ON knowledge_vectors USING hnsw " + spec.Body)
	invalid(spec.Name)
	first := create("hnsw", 1100, true)
	if again := create("hnsw", 1100, false); again != first {
		t.Errorf("again: got %+v, want %+v", again, first)
	}
	if grown := create("hnsw", 5000, false); grown.oid != first.oid || !strings.Contains(grown.comment, `"rows":5000`) {
		t.Errorf("grown: got %+v, want the same measured anew", grown)
	}
	if kept := create("", 5000, false); kept.oid != first.oid {
		t.Errorf("kind left to the engine: got %+v, want the one that was there", kept)
	}
	// Another kind; the build that was to take its place before was cut off.
	v.exec("CREATE INDEX " + spec.Name + "_new ON knowledge_vectors USING hnsw " + spec.Body)
	invalid(spec.Name + "_new")
	lists := create("ivfflat", 1100, true)
	if !strings.Contains(lists.def, "lists='33'") {
		t.Errorf("lists of 1,100 vectors: got %s, want 33", lists.def)
	}
	create("ivfflat", 2000, false)
	if grown := create("ivfflat", 2500, true); !strings.Contains(grown.def, "lists='50'") {
		t.Errorf("lists of 2,500 vectors: got %s, want 50", grown.def)
	}
	// Between dropping the old and naming the new one.
	v.exec("ALTER INDEX " + spec.Name + " RENAME TO " + spec.Name + "_new")
	create("ivfflat", 2500, false)
	// Somebody made one by hand, and wrote a comment.
	v.exec("COMMENT ON INDEX " + spec.Name + " IS 'talkbase: nonsense'")
	create("ivfflat", 2500, false)
	// A base of the same id with another metric.
	v.base.Metric = models.MetricIP
	v.exec("UPDATE knowledge_bases SET metric = 'ip'")
	if ip := create("ivfflat", 2500, true); !strings.Contains(ip.def, "vector_ip_ops") {
		t.Errorf("other metric: got %s, want one by the inner product", ip.def)
	}
}

// TestPostgresSettingsAreGivenBack asks inside a transaction whose settings are its own.
func TestPostgresSettingsAreGivenBack(t *testing.T) {
	t.Parallel()
	v := openOnPostgres(t, 8, models.MetricCosine, nil)
	rng := rand.New(rand.NewPCG(6, 6))
	v.fill(noise(rng, 1100, 8))
	v.index("hnsw")
	ctx := t.Context()
	tx, err := v.e.Begin(ctx)
	check(t, err)
	defer func() { _ = tx.Rollback() }()
	const settings = "SELECT current_setting('hnsw.ef_search', true) || current_setting('hnsw.iterative_scan', true) || current_setting('jit')"
	for _, set := range []string{"", "SET LOCAL hnsw.ef_search = 17", "SET LOCAL jit = off"} {
		if set != "" {
			_, err = engine.Exec(ctx, tx.DB, set)
			check(t, err)
		}
		before, err := engine.One(ctx, tx.DB, engine.Value[*string], settings)
		check(t, err)
		if _, err := v.e.Nearest(ctx, tx.DB, engine.NearestQuery{Base: v.base, Metric: v.base.Metric, Vector: noise(rng, 1, 8), K: 5}); err != nil {
			t.Errorf("nearest: got error %v, want none", err)
		}
		after, err := engine.One(ctx, tx.DB, engine.Value[*string], settings)
		check(t, err)
		if want := before; after == nil || want != nil && *after != *want {
			t.Errorf("settings after a query, %q: got %v, want %v", set, after, want)
		}
	}
}
