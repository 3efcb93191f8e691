package tests

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/talkbase/talkbase/migration"
	"github.com/talkbase/talkbase/models"
	"github.com/talkbase/talkbase/repo"
)

func similarityCases() []testCase {
	return []testCase{
		{name: "known answers of three metrics", run: knownAnswers},
		{name: "filters and limits", run: similarityFilters},
		{name: "vectors that cannot be stored or compared", run: refuseVectors},
		{name: "zero vectors", run: zeroVectors},
		{name: "upsert replaces what is known", run: upsertVectors},
		{name: "bases of 3, 384, 768, 1536 and 3072 dimensions side by side", run: manyDimensions},
		{name: "deleted rows are never an answer", run: deletedVectors},
		{name: "an index does not change the answer", run: indexedVectors},
		{name: "files by their metadata and more", run: fileFilters},
		{name: "thresholds that are just met", run: exactThresholds},
		{name: "several bases at once", run: severalBases},
		{name: "several models at once", run: severalModels},
		{name: "exact answers past an index, and its recall", run: exactOverIndex},
	}
}

func near(got, want float64) bool { return math.Abs(got-want) <= 1e-6 }

func (b *bench) similar(q repo.SimilarityQuery) []repo.SimilarChunk {
	b.t.Helper()
	got, err := b.db.SimilarityQuery(b.ctx, q)
	wantNil(b.t, fmt.Sprintf("similarity in %s", q.BaseID), err)
	return got
}

var points = map[string][]float32{
	"x": {1, 0, 0}, "x2": {2, 0, 0}, "xy": {1, 1, 0}, "y": {0, 1, 0}, "-x": {-1, 0, 0}, "z": {0, 0, 3},
}

var pointOrder = []string{"x", "x2", "xy", "y", "-x", "z"}

func knownAnswers(b *bench) {
	for metric, want := range map[models.Metric][]repo.SimilarChunk{
		models.MetricCosine: {
			{VectorID: "x", Distance: 0, Similarity: 1},
			{VectorID: "x2", Distance: 0, Similarity: 1},
			{VectorID: "xy", Distance: 1 - math.Sqrt2/2, Similarity: math.Sqrt2 / 2},
			{VectorID: "y", Distance: 1, Similarity: 0},
			{VectorID: "z", Distance: 1, Similarity: 0},
			{VectorID: "-x", Distance: 2, Similarity: -1},
		},
		models.MetricL2: {
			{VectorID: "x", Distance: 0, Similarity: 1},
			{VectorID: "x2", Distance: 1, Similarity: 0.5},
			{VectorID: "xy", Distance: 1, Similarity: 0.5},
			{VectorID: "y", Distance: math.Sqrt2, Similarity: 1 / (1 + math.Sqrt2)},
			{VectorID: "-x", Distance: 2, Similarity: 1.0 / 3},
			{VectorID: "z", Distance: math.Sqrt(10), Similarity: 1 / (1 + math.Sqrt(10))},
		},
		models.MetricIP: {
			{VectorID: "x2", Distance: -2, Similarity: 2},
			{VectorID: "x", Distance: -1, Similarity: 1},
			{VectorID: "xy", Distance: -1, Similarity: 1},
			{VectorID: "y", Distance: 0, Similarity: 0},
			{VectorID: "z", Distance: 0, Similarity: 0},
			{VectorID: "-x", Distance: 1, Similarity: -1},
		},
	} {
		base := string(metric)
		b.base(base, 3, metric)
		// Every base has the same points under ids of its own.
		own := map[string][]float32{}
		var order []string
		for _, id := range pointOrder {
			own[base+":"+id] = points[id]
			order = append(order, base+":"+id)
		}
		b.vectors(base+"-file", order, own)
		for asked, in := range map[models.Metric]string{"": base, metric: base} {
			got := b.similar(repo.SimilarityQuery{BaseID: in, Metric: asked, Vector: []float32{1, 0, 0}})
			equal(b.t, base+": answers", len(got), len(want))
			for i, w := range want {
				id := base + ":" + w.VectorID
				g := got[i]
				if g.VectorID != id || !near(g.Distance, w.Distance) || !near(g.Similarity, w.Similarity) {
					b.t.Errorf("%s: answer %d: got %s distance %v similarity %v, want %s distance %v similarity %v",
						base, i, g.VectorID, g.Distance, g.Similarity, id, w.Distance, w.Similarity)
				}
				g.Distance, g.Similarity = 0, 0
				equal(b.t, base+": row", g, repo.SimilarChunk{
					VectorID: id, ChunkID: id, FileID: base + "-file", BaseID: base, Content: "content of " + id,
					ChunkIndex: int64(slices.Index(order, id)), FileName: base + "-file.md", FilePath: "/docs/" + base + "-file.md", FileStatus: models.TaskProcessed,
				})
			}
		}
	}
	// Another metric than the base's own.
	got := similarIDs(b.similar(repo.SimilarityQuery{BaseID: "cosine", Metric: models.MetricIP, Vector: []float32{1, 0, 0}, Limit: 2}))
	deepEqual(b.t, "inner product in a cosine base", got, []string{"cosine:x2", "cosine:x"})
}

func similarityFilters(b *bench) {
	b.base("kb", 3, models.MetricCosine)
	b.vectors("kb-file", pointOrder, points)
	x := []float32{1, 0, 0}
	deepEqual(b.t, "limit", similarIDs(b.similar(repo.SimilarityQuery{BaseID: "kb", Vector: x, Limit: 1})), []string{"x"})
	for least, want := range map[float64][]string{
		0.999: {"x", "x2"}, 0.5: {"x", "x2", "xy"}, -0.5: {"x", "x2", "xy", "y", "z"}, -2: {"x", "x2", "xy", "y", "z", "-x"}, 1.5: {},
	} {
		got := b.similar(repo.SimilarityQuery{BaseID: "kb", Vector: x, Threshold: &least})
		deepEqual(b.t, fmt.Sprint("threshold ", least), similarIDs(got), want)
	}
	for metric, c := range map[models.Metric]struct {
		least float64
		want  []string
	}{
		models.MetricL2: {0.4, []string{"x", "x2", "xy", "y"}},
		models.MetricIP: {0.5, []string{"x2", "x", "xy"}},
	} {
		got := b.similar(repo.SimilarityQuery{BaseID: "kb", Vector: x, Metric: metric, Threshold: &c.least})
		deepEqual(b.t, fmt.Sprint(metric, " threshold ", c.least), similarIDs(got), c.want)
	}
	got := b.similar(repo.SimilarityQuery{BaseID: "kb", Vector: x, Metric: models.MetricL2, Threshold: ptr(0.0)})
	equal(b.t, "answers of l2 over a threshold of 0", len(got), 6)

	// Only chunks that are processed are found.
	for _, s := range []models.TaskStatus{models.TaskPending, models.TaskProcessing, models.TaskPaused, models.TaskError} {
		wantNil(b.t, "status", b.db.UpdateChunkStatus(b.ctx, "x", s, ""))
		deepEqual(b.t, "nearest while a chunk is "+string(s), similarIDs(b.similar(repo.SimilarityQuery{BaseID: "kb", Vector: x, Limit: 2})), []string{"x2", "xy"})
	}
	wantNil(b.t, "status", b.db.UpdateChunkStatus(b.ctx, "x", models.TaskProcessed, ""))

	_, err := b.db.InsertFile(b.ctx, models.KnowledgeFile{ID: "draft", BaseID: "kb", Status: models.TaskPending})
	wantNil(b.t, "insert", err)
	b.vectors("draft", []string{"d"}, map[string][]float32{"d": {1, 0.1, 0}})
	for name, c := range map[string]struct {
		status []models.TaskStatus
		want   []string
	}{
		"any":       {nil, []string{"x", "x2", "d"}},
		"processed": {[]models.TaskStatus{models.TaskProcessed}, []string{"x", "x2", "xy"}},
		"pending":   {[]models.TaskStatus{models.TaskPending}, []string{"d"}},
		"both":      {[]models.TaskStatus{models.TaskPending, models.TaskProcessed}, []string{"x", "x2", "d"}},
		"error":     {[]models.TaskStatus{models.TaskError}, []string{}},
	} {
		got := b.similar(repo.SimilarityQuery{BaseID: "kb", Vector: x, Limit: 3, Files: repo.FileFilter{Status: c.status}})
		deepEqual(b.t, "file status "+name, similarIDs(got), c.want)
	}
	for name, q := range map[string]repo.SimilarityQuery{
		"unknown metric": {BaseID: "kb", Vector: x, Metric: "<->"},
		"unknown status": {BaseID: "kb", Vector: x, Files: repo.FileFilter{Status: []models.TaskStatus{"x') OR 1=1 --"}}},
		"negative limit": {BaseID: "kb", Vector: x, Limit: -1},
	} {
		_, err := b.db.SimilarityQuery(b.ctx, q)
		wantErr(b.t, name, err, repo.ErrInvalid)
	}
	quoted := `it's "quoted" $1 ? \ %`
	b.base(quoted, 3, models.MetricCosine)
	b.vectors(quoted+"-file", []string{"q"}, map[string][]float32{"q": {0, 1, 0}})
	deepEqual(b.t, "a base with quotes", similarIDs(b.similar(repo.SimilarityQuery{BaseID: quoted, Vector: x})), []string{"q"})
}

// wantDimension checks that an error names both lengths.
func wantDimension(b *bench, what string, err error, have, want int) {
	b.t.Helper()
	wantErr(b.t, what, err, repo.ErrDimension, repo.ErrInvalid)
	var de *repo.DatabaseError
	if !errors.As(err, &de) {
		b.t.Errorf("%s: got error %T, want a DatabaseError", what, err)
		return
	}
	equal(b.t, what+": code", de.Code, "DIMENSION")
	equal(b.t, what+": details", fmt.Sprint(de.Details["have"], de.Details["want"]), fmt.Sprint(have, want))
	for _, n := range []int{have, want} {
		if !strings.Contains(err.Error(), fmt.Sprint(n)) {
			b.t.Errorf("%s: got message %q, want one that names %d", what, err, n)
		}
	}
}

func refuseVectors(b *bench) {
	b.base("kb", 3, models.MetricL2)
	b.base("other", 4, models.MetricL2)
	b.vectors("kb-file", pointOrder, points)
	good := models.KnowledgeVector{ID: "good", FileID: "kb-file", ChunkID: "x", Embedding: []float32{1, 2, 3}}
	for _, n := range []int{0, 1, 2, 4, 3072} {
		v := good
		v.ID, v.Embedding = "bad", make([]float32, n)
		_, err := b.db.UpsertVectors(b.ctx, []models.KnowledgeVector{good, v})
		wantDimension(b, fmt.Sprint("upsert of ", n), err, n, 3)
		_, err = b.db.SimilarityQuery(b.ctx, repo.SimilarityQuery{BaseID: "kb", Vector: make([]float32, n)})
		wantDimension(b, fmt.Sprint("query of ", n), err, n, 3)
	}
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for name, e := range map[string][]float32{"NaN": {1, nan, 0}, "+Inf": {1, inf, 0}, "-Inf": {-inf, 0, 0}} {
		v := good
		v.ID, v.Embedding = "bad", e
		_, err := b.db.UpsertVectors(b.ctx, []models.KnowledgeVector{good, v})
		wantErr(b.t, "upsert of "+name, err, repo.ErrInvalid)
		wantTyped(b.t, "upsert of "+name, err)
		_, err = b.db.SimilarityQuery(b.ctx, repo.SimilarityQuery{BaseID: "kb", Vector: e})
		wantErr(b.t, "query of "+name, err, repo.ErrInvalid)
	}
	for name, c := range map[string]struct {
		change func(*models.KnowledgeVector)
		want   error
	}{
		"unknown file":  {func(v *models.KnowledgeVector) { v.FileID = "nobody" }, repo.ErrReference},
		"unknown chunk": {func(v *models.KnowledgeVector) { v.ChunkID = "nobody" }, repo.ErrReference},
		"no file":       {func(v *models.KnowledgeVector) { v.FileID = "" }, repo.ErrInvalid},
		"no chunk":      {func(v *models.KnowledgeVector) { v.ChunkID = "" }, repo.ErrInvalid},
		"another base":  {func(v *models.KnowledgeVector) { v.BaseID = "other" }, repo.ErrInvalid},
	} {
		v := good
		v.ID = "bad"
		c.change(&v)
		_, err := b.db.UpsertVectors(b.ctx, []models.KnowledgeVector{good, v})
		wantErr(b.t, name, err, c.want)
		wantTyped(b.t, name, err)
	}
	equal(b.t, "vectors", b.number("SELECT count(*) FROM knowledge_vectors"), int64(len(points)))
	n, err := b.db.UpsertVectors(b.ctx, nil)
	wantNil(b.t, "no vectors", err)
	equal(b.t, "no vectors", n, 0)
}

func zeroVectors(b *bench) {
	zero := []float32{0, 0, 0}
	for _, metric := range []models.Metric{models.MetricCosine, models.MetricL2, models.MetricIP} {
		base := string(metric)
		b.base(base, 3, metric)
		b.vectors(base+"-file", []string{base + ":x"}, map[string][]float32{base + ":x": {1, 0, 0}})
		_, err := b.db.InsertChunks(b.ctx, []models.KnowledgeChunk{{ID: base + ":0", FileID: base + "-file", Status: models.TaskProcessed}})
		wantNil(b.t, "insert", err)
		_, err = b.db.UpsertVectors(b.ctx, []models.KnowledgeVector{{FileID: base + "-file", ChunkID: base + ":0", Embedding: zero}})
		if metric == models.MetricCosine {
			wantErr(b.t, "upsert of zeros by cosine", err, repo.ErrInvalid)
			_, err = b.db.SimilarityQuery(b.ctx, repo.SimilarityQuery{BaseID: base, Vector: zero})
			wantErr(b.t, "query of zeros by cosine", err, repo.ErrInvalid)
			continue
		}
		wantNil(b.t, "upsert of zeros by "+base, err)
		got := b.similar(repo.SimilarityQuery{BaseID: base, Vector: zero})
		deepEqual(b.t, "query of zeros by "+base, similarIDs(got), []string{base + ":0", base + ":x"})
		// The cosine of a zero vector is no number, and no answer.
		got = b.similar(repo.SimilarityQuery{BaseID: base, Vector: []float32{1, 1, 1}, Metric: models.MetricCosine})
		deepEqual(b.t, "cosine over zeros in "+base, similarIDs(got), []string{base + ":x"})
		_, err = b.db.SimilarityQuery(b.ctx, repo.SimilarityQuery{BaseID: base, Vector: zero, Metric: models.MetricCosine})
		wantErr(b.t, "query of zeros by cosine in "+base, err, repo.ErrInvalid)
	}
}

func upsertVectors(b *bench) {
	b.base("kb", 3, models.MetricCosine)
	b.vectors("kb-file", []string{"a", "b"}, map[string][]float32{"a": {1, 0, 0}, "b": {0, 1, 0}})
	y := []float32{0, 1, 0}
	upsert := func(rows ...models.KnowledgeVector) int64 {
		b.t.Helper()
		for i := range rows {
			rows[i].FileID = "kb-file"
		}
		n, err := b.db.UpsertVectors(b.ctx, rows)
		wantNil(b.t, "upsert", err)
		return n
	}
	read := func(id string) models.KnowledgeVector {
		b.t.Helper()
		got, err := b.db.Bulk().VectorsByID(b.ctx, []string{id})
		wantNil(b.t, "read", err)
		return got[id]
	}
	equal(b.t, "stored with defaults", read("a").BaseID+read("a").ChunkID, "kb"+"a")
	if read("a").CreatedAt == 0 {
		b.t.Errorf("created_at: got 0, want the present")
	}
	equal(b.t, "stored again", upsert(models.KnowledgeVector{ChunkID: "a", Embedding: y, CreatedAt: 5}), 1)
	deepEqual(b.t, "replaced", read("a"), models.KnowledgeVector{ID: "a", BaseID: "kb", FileID: "kb-file", ChunkID: "a", Embedding: y, CreatedAt: 5})
	equal(b.t, "vectors", b.number("SELECT count(*) FROM knowledge_vectors"), 2)
	// One is known, one is new, and one comes twice: the last counts.
	equal(b.t, "stored of a repeated id", upsert(
		models.KnowledgeVector{ID: "twice", ChunkID: "a", Embedding: []float32{9, 9, 9}, CreatedAt: 1},
		models.KnowledgeVector{ID: "b", ChunkID: "b", BaseID: "kb", Embedding: []float32{1, 1, 0}, CreatedAt: 2},
		models.KnowledgeVector{ID: "new", ChunkID: "b", Embedding: []float32{0, 0, 1}, CreatedAt: 3},
		models.KnowledgeVector{ID: "twice", ChunkID: "b", Embedding: []float32{7, 7, 7}, CreatedAt: 4},
	), 3)
	deepEqual(b.t, "the last of a repeated id", read("twice"),
		models.KnowledgeVector{ID: "twice", BaseID: "kb", FileID: "kb-file", ChunkID: "b", Embedding: []float32{7, 7, 7}, CreatedAt: 4})
	deepEqual(b.t, "known one", read("b").Embedding, models.Vector{1, 1, 0})
	odd := models.Vector{1e-30, -3.4028235e38, 0.1}
	upsert(models.KnowledgeVector{ID: "odd", ChunkID: "a", Embedding: odd})
	deepEqual(b.t, "awkward numbers", read("odd").Embedding, odd)
	n, err := b.db.DeleteVectorsByFile(b.ctx, "kb-file")
	wantNil(b.t, "delete", err)
	equal(b.t, "deleted", n, 5)
	equal(b.t, "chunks left", b.number("SELECT count(*) FROM knowledge_chunks"), 2)
	equal(b.t, "answers", len(b.similar(repo.SimilarityQuery{BaseID: "kb", Vector: y})), 0)
	equal(b.t, "stored anew", upsert(models.KnowledgeVector{ChunkID: "a", Embedding: y}), 1)
}

// wave returns a vector that depends on i in every element.
func wave(dimensions, i int) []float32 {
	v := make([]float32, dimensions)
	for d := range v {
		v[d] = float32(math.Sin(float64((i+1)*(d+3)) / 7))
	}
	return v
}

func manyDimensions(b *bench) {
	sizes := []int{3, 384, 768, 1536, 3072}
	for _, n := range sizes {
		base := fmt.Sprint("d", n)
		b.base(base, int64(n), models.MetricCosine)
		own := map[string][]float32{}
		var order []string
		for i := range 20 {
			id := fmt.Sprintf("%s:%02d", base, i)
			order = append(order, id)
			own[id] = wave(n, i)
		}
		b.vectors(base+"-file", order, own)
	}
	for _, n := range sizes {
		base := fmt.Sprint("d", n)
		got := b.similar(repo.SimilarityQuery{BaseID: base, Vector: wave(n, 7), Limit: 5})
		equal(b.t, base+": nearest", got[0].VectorID, base+":07")
		for _, g := range got {
			equal(b.t, base+": base of an answer", g.BaseID, base)
		}
		for _, other := range sizes {
			if other != n {
				_, err := b.db.SimilarityQuery(b.ctx, repo.SimilarityQuery{BaseID: base, Vector: wave(other, 1)})
				wantDimension(b, fmt.Sprint(other, " in ", base), err, other, n)
			}
		}
	}
}

func deletedVectors(b *bench) {
	b.base("kb", 3, models.MetricCosine)
	b.file("kb", "second")
	b.vectors("kb-file", pointOrder, points)
	b.vectors("second", []string{"s"}, map[string][]float32{"s": {1, 0, 0.01}})
	nearest := func() []string {
		b.t.Helper()
		return similarIDs(b.similar(repo.SimilarityQuery{BaseID: "kb", Vector: []float32{1, 0, 0}, Limit: 3}))
	}
	deepEqual(b.t, "before", nearest(), []string{"x", "x2", "s"})
	b.exec("DELETE FROM knowledge_vectors WHERE id = 'x'")
	deepEqual(b.t, "after a vector went", nearest(), []string{"x2", "s", "xy"})
	b.exec("DELETE FROM knowledge_chunks WHERE id = 'x2'")
	deepEqual(b.t, "after a chunk went", nearest(), []string{"s", "xy", "y"})
	b.exec("DELETE FROM knowledge_files WHERE id = 'second'")
	deepEqual(b.t, "after a file went", nearest(), []string{"xy", "y", "z"})
	b.exec("UPDATE knowledge_chunks SET status = 'error' WHERE id = 'xy'")
	deepEqual(b.t, "after a chunk's state changed", nearest(), []string{"y", "z", "-x"})
	b.exec("DELETE FROM knowledge_bases WHERE id = 'kb'")
	_, err := b.db.SimilarityQuery(b.ctx, repo.SimilarityQuery{BaseID: "kb", Vector: []float32{1, 0, 0}})
	wantErr(b.t, "after the base went", err, repo.ErrNotFound)
	equal(b.t, "vectors left", b.number("SELECT count(*) FROM knowledge_vectors"), 0)
}

func indexedVectors(b *bench) {
	const n = 1200
	b.base("kb", 8, models.MetricL2)
	b.base("small", 3, models.MetricCosine)
	own := map[string][]float32{}
	var order []string
	for i := range n {
		id := fmt.Sprintf("v%04d", i)
		order = append(order, id)
		own[id] = wave(8, i*37)
	}
	b.vectors("kb-file", order, own)
	q := repo.SimilarityQuery{BaseID: "kb", Vector: wave(8, 37*600), Limit: 10}
	before := b.similar(q)
	report, err := b.db.CreateOptimalIndexes(b.ctx)
	wantNil(b.t, "create indexes", err)
	if _, skipped := report.Skipped["small"]; !skipped && b.postgres() {
		b.t.Errorf("skipped: got %v, want base small among them", report.Skipped)
	}
	equal(b.t, "nearest with an index", b.similar(q)[0].VectorID, before[0].VectorID)
	q.Metric = models.MetricCosine
	equal(b.t, "nearest by another metric", b.similar(q)[0].VectorID, before[0].VectorID)
	again, err := b.db.CreateOptimalIndexes(b.ctx)
	wantNil(b.t, "create indexes again", err)
	deepEqual(b.t, "created again", again.Created, []string{})
	equal(b.t, "present then", len(again.Present), len(report.Created)+len(report.Present))
	v, err := b.db.ValidateSchema(b.ctx)
	wantNil(b.t, "validate", err)
	deepEqual(b.t, "drift with optional indexes", v.Drift, []migration.Drift{})
	// What is written after the index was built is found as well.
	b.vectors("kb-file", []string{"late"}, map[string][]float32{"late": wave(8, 123456)})
	got := b.similar(repo.SimilarityQuery{BaseID: "kb", Vector: wave(8, 123456), Limit: 1})
	deepEqual(b.t, "nearest to a late one", similarIDs(got), []string{"late"})
}
