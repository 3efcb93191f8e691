package migration

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math"
	"os"
	"slices"
	"testing"

	"github.com/google/uuid"

	"github.com/talkbase/talkbase/memory"
	"github.com/talkbase/talkbase/models"
)

// memorySource is a knowledge file in memory.
type memorySource struct {
	path   string
	tables map[string]*memoryTable
	// declared is the length the vector column declares, 0 for none.
	declared int64
	// claim is added to the number of rows of each table.
	claim int64
}

type memoryTable struct {
	columns []string
	rows    [][]any
}

// newKnowledge returns a file with the tables that the application makes.
func newKnowledge(path string) *memorySource {
	return &memorySource{path: path, tables: map[string]*memoryTable{
		tableFile:     {columns: []string{"id", "name", "path", "mime_type", "status", "uploaded_at", "metadata"}},
		tableChunk:    {columns: []string{"id", "file_id", "content", "status", "chunk_index", "error"}},
		tableVector:   {columns: []string{"id", "embedding", "file_id", "chunk_id"}},
		tableMetadata: {columns: []string{"key", "value"}, rows: [][]any{{"db_version", "1"}}},
	}}
}

func (m *memorySource) add(table string, values ...any) {
	m.tables[table].rows = append(m.tables[table].rows, values)
}

// file adds a file with chunks that each have a vector of n elements.
func (m *memorySource) file(id, status string, chunks, n int) {
	m.add(tableFile, id, id+".md", "/docs/"+id+".md", "text/markdown", status, int64(1760000000001), `{"size":3}`)
	for i := range chunks {
		c := fmt.Sprintf("%s_%d", id, i)
		m.add(tableChunk, c, id, "text of "+c, "completed", int64(i), "")
		m.add(tableVector, "v-"+c, vectorOf(n, float32(i)+0.5), id, c)
	}
}

func vectorOf(n int, x float32) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = x / float32(i+1)
	}
	return v
}

func (m *memorySource) Kind() Kind   { return KindDuckDB }
func (m *memorySource) Path() string { return m.path }
func (m *memorySource) Close() error { return nil }

func (m *memorySource) Tables(context.Context) ([]SourceTable, error) {
	var out []SourceTable
	for _, name := range slices.Sorted(maps.Keys(m.tables)) {
		t := m.tables[name]
		out = append(out, SourceTable{Name: name, Columns: t.columns, Rows: int64(len(t.rows)) + m.claim})
	}
	return out, nil
}

func (m *memorySource) Rows(_ context.Context, table string, after int64) iter.Seq2[SourceRow, error] {
	return func(yield func(SourceRow, error) bool) {
		for i, values := range m.tables[table].rows {
			if rid := int64(i + 1); rid > after && !yield(SourceRow{RowID: rid, Values: slices.Clone(values)}, nil) {
				return
			}
		}
	}
}

func (m *memorySource) Dimensions(context.Context) (int64, error) { return m.declared, nil }

// importKnowledge imports a source and checks the identity.
func importKnowledge(t *testing.T, target Target, src Source, config *BaseConfig, opts ImportOptions) (*ImportReport, map[string]*TableReport, error) {
	t.Helper()
	opts = opts.withDefaults()
	report := &ImportReport{}
	i := &importer{
		real: target, target: target, opts: opts, report: report, memory: memory.New(opts.MemoryLimit), work: t.TempDir(),
		row: models.ImportRun{ID: uuid.NewString(), Owner: "test"},
	}
	o := i.add(Found{Path: src.Path(), Kind: KindDuckDB, Base: config}, "")
	o.source = src
	err := errors.Join(os.Mkdir(o.dir, 0o700), target.Batch(t.Context(), func(ctx context.Context) error { return i.record(ctx, false) }))
	if err == nil {
		err = i.one(t.Context(), 0, o)
	}
	return report, sumUp(t, report), err
}

func mustImportKnowledge(t *testing.T, target Target, src Source, config *BaseConfig) (*ImportReport, map[string]*TableReport) {
	t.Helper()
	r, counts, err := importKnowledge(t, target, src, config, ImportOptions{BatchRows: 4})
	if err != nil {
		t.Fatal(err)
	}
	return r, counts
}

func TestImportKnowledge(t *testing.T) {
	t.Parallel()
	src := newKnowledge("/data/KnowledgeBase/kb1")
	src.file("f1", "completed", 7, 8)
	src.file("f2", "paused", 2, 8)
	config := &BaseConfig{ID: "kb1", Name: "docs", Dimensions: 8, Metric: models.MetricIP, EmbeddingModel: "bge-m3", Settings: models.JSON(`{"chunkSize":500}`)}
	target := newMemoryTarget()
	report, counts := mustImportKnowledge(t, target, src, config)
	base := target.bases["kb1"]
	if base.Name != "docs" || base.Dimensions != 8 || base.Metric != models.MetricIP || base.EmbeddingModel != "bge-m3" ||
		base.Settings.String() != `{"_legacy":{"metadata":{"db_version":"1"}},"chunkSize":500}` || base.CreatedAt != 1760000000001 {
		t.Errorf("base: %+v", base)
	}
	for table, n := range map[string]int64{tableBases: 1, tableFiles: 2, tableChunks: 9, tableVectors: 9} {
		if c := counts[table]; c.Read != n || c.Written != n || c.Changed != 0 {
			t.Errorf("%+v, want %d", *c, n)
		}
	}
	if f := target.files["f1"]; f.Status != models.TaskProcessed || f.BaseID != "kb1" || f.Metadata.String() != `{"size":3}` {
		t.Errorf("file: %+v", f)
	}
	if target.files["f2"].Status != models.TaskPaused || target.chunks["f2_1"].Status != models.TaskProcessed {
		t.Error("finished chunks of a paused file can no longer be found")
	}
	if v := target.vectors["v-f1_3"]; !sameVector(v.Embedding, vectorOf(8, 3.5)) || v.ChunkID != "f1_3" || v.FileID != "f1" || v.CreatedAt == 0 {
		t.Errorf("vector: %+v", v)
	}
	if report.Sources[0].Base != "kb1" || len(report.Warnings) != 0 {
		t.Errorf("%+v", report)
	}
	_, counts = mustImportKnowledge(t, target, src, config)
	for _, c := range counts {
		if c.Merged != c.Read {
			t.Errorf("again: %+v", *c)
		}
	}
}

func TestImportKnowledgeQuirks(t *testing.T) {
	t.Parallel()
	src := newKnowledge("kb")
	src.file("f", "completed", 1, 4)
	chunk := func(id string, status any) { src.add(tableChunk, id, "f", id, status, int64(1), nil) }
	vector := func(id, chunk string, embedding any) { src.add(tableVector, id, embedding, "f", chunk) }
	good := vectorOf(4, 0.3)
	nan := slices.Clone(good)
	nan[1] = float32(math.NaN())
	inf := slices.Clone(good)
	inf[3] = float32(math.Inf(-1))
	for _, c := range []struct {
		id        string
		status    any
		embedding any
		reject    Reason
		want      models.TaskStatus
	}{
		{"zero", "completed", make([]float32, 4), ReasonVectorZero, models.TaskPending},
		{"integral", "completed", []float32{1, -2, 0, 3}, ReasonVectorIntegral, models.TaskPending},
		{"null", "completed", nil, ReasonVectorNull, models.TaskPending},
		{"null element", "completed", []any{float32(0.1), nil, float32(0.3), float32(1)}, ReasonVectorNull, models.TaskPending},
		{"nan", "completed", nan, ReasonVectorNotFinite, models.TaskPending},
		{"inf", "completed", inf, ReasonVectorNotFinite, models.TaskPending},
		{"long", "completed", vectorOf(5, 0.3), ReasonVectorLength, models.TaskPending},
		{"list", "completed", []any{float32(0.1), float32(0.2), float32(0.3), float32(0.4)}, "", models.TaskProcessed},
		{"running", "processing", good, "", models.TaskProcessed},
		{"paused with error in it", "paused", make([]float32, 4), ReasonVectorZero, models.TaskPaused},
		{"nothing known", nil, good, "", models.TaskProcessed},
	} {
		chunk(c.id, c.status)
		vector("v "+c.id, c.id, c.embedding)
	}
	chunk("without", "completed")
	chunk("resumable", "processing")
	chunk("failed", "error")
	chunk("odd", "whatever")
	vector("second", "list", good)
	vector("stray", "no such chunk", good)
	src.add(tableVector, "lost", good, "no such file", "without")
	src.add(tableVector, "fileless", good, nil, "failed")
	src.add(tableChunk, "lost chunk", "no such file", "x", "completed", int64(0), "")
	src.add(tableVector, "v lost chunk", good, "f", "lost chunk")
	src.add(tableFile, "null file", nil, nil, nil, nil, nil, nil)
	src.add(tableFile, "bad json", "n", "p", "m", "processing", "2025-01-01", `{"a":NaN}`)

	target := newMemoryTarget()
	report, counts := mustImportKnowledge(t, target, src, nil)
	for id, want := range map[string]models.TaskStatus{
		"f_0": models.TaskProcessed, "zero": models.TaskPending, "integral": models.TaskPending, "null": models.TaskPending,
		"null element": models.TaskPending, "nan": models.TaskPending, "inf": models.TaskPending, "long": models.TaskPending,
		"list": models.TaskProcessed, "running": models.TaskProcessed, "paused with error in it": models.TaskPaused,
		"nothing known": models.TaskProcessed, "without": models.TaskPending, "resumable": models.TaskPaused,
		"failed": models.TaskProcessed, "odd": models.TaskPending,
	} {
		if got := target.chunks[id].Status; got != want {
			t.Errorf("chunk %q is %q, want %q", id, got, want)
		}
		vectors, _ := target.VectorsOfChunks(t.Context(), []string{id})
		if (want == models.TaskProcessed) != (vectors[id] != "") {
			t.Errorf("chunk %q is %q and has the vector %q", id, want, vectors[id])
		}
	}
	wantRejects := map[Reason]int64{
		ReasonVectorZero: 2, ReasonVectorIntegral: 1, ReasonVectorNull: 2, ReasonVectorNotFinite: 2, ReasonVectorLength: 1,
		ReasonSecondVector: 1, ReasonChunkGone: 2, ReasonFileGone: 1,
	}
	vectors := counts[tableVectors]
	var sum int64
	for r, n := range wantRejects {
		sum += n
		if vectors.Reasons[r] != n {
			t.Errorf("%d vectors rejected for %s, want %d", vectors.Reasons[r], r, n)
		}
	}
	if vectors.Rejected != sum || int64(len(report.Rejects)) != sum+1 {
		t.Errorf("%d vectors rejected, want %d; listed %d", vectors.Rejected, sum, len(report.Rejects))
	}
	if c := counts[tableChunks]; c.Rejected != 1 || c.Reasons[ReasonFileGone] != 1 {
		t.Errorf("chunks: %+v", *c)
	}
	if f := target.files["null file"]; f.Status != models.TaskPaused || f.UploadedAt != 1735689600000 {
		t.Errorf("null file: %+v", f)
	}
	if f := target.files["bad json"]; f.Metadata.String() != `{"_legacy_raw":"{\"a\":NaN}"}` || f.Status != models.TaskPaused {
		t.Errorf("bad json: %+v", f)
	}
	if b := target.bases["kb"]; b.Metric != models.MetricCosine || b.Dimensions != 4 {
		t.Errorf("base: %+v", b)
	}
	if len(report.Warnings) != 1 {
		t.Errorf("an unknown configuration is worth a warning: %v", report.Warnings)
	}
	_, again := mustImportKnowledge(t, target, src, nil)
	for table, c := range again {
		if c.Written != 0 || c.Rejected != counts[table].Rejected {
			t.Errorf("again: %+v", *c)
		}
	}
}

func TestImportKnowledgeDimensions(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		declared, config int64
		vectors          int
		want             int64
		warnings         int
	}{
		"declared":                          {declared: 6, want: 6},
		"of the vectors":                    {vectors: 3, want: 3},
		"of the configuration":              {config: 9, want: 9},
		"vectors outweigh a configuration":  {vectors: 3, config: 9, want: 3, warnings: 1},
		"of nothing":                        {want: defaultDimensions, warnings: 1},
		"declared outweigh a configuration": {declared: 5, config: 9, want: 5, warnings: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			src := newKnowledge("kb")
			src.declared = c.declared
			if c.vectors > 0 {
				src.file("f", "completed", 2, c.vectors)
			}
			target := newMemoryTarget()
			report, _ := mustImportKnowledge(t, target, src, &BaseConfig{ID: "kb", Dimensions: c.config})
			if got := target.bases["kb"].Dimensions; got != c.want {
				t.Errorf("%d dimensions, want %d", got, c.want)
			}
			if len(report.Warnings) != c.warnings {
				t.Errorf("warnings: %v", report.Warnings)
			}
		})
	}
}

func TestImportKnowledgeWithoutTables(t *testing.T) {
	t.Parallel()
	target := newMemoryTarget()
	_, counts := mustImportKnowledge(t, target, &memorySource{path: "kb"}, nil)
	if len(target.bases) != 1 || counts[tableBases].Written != 1 {
		t.Error("no empty knowledge base")
	}
}

func TestImportKnowledgeIDTakenByAnotherBase(t *testing.T) {
	t.Parallel()
	target := newMemoryTarget()
	first, second := newKnowledge("a/kb1"), newKnowledge("b/kb2")
	first.file("f", "completed", 2, 4)
	second.file("f", "completed", 3, 8)
	mustImportKnowledge(t, target, first, nil)
	for range 2 {
		_, counts := mustImportKnowledge(t, target, second, nil)
		for table, n := range map[string]int64{tableFiles: 1, tableChunks: 3, tableVectors: 3} {
			if c := counts[table]; c.Rejected != 0 || c.Written+c.Merged != n || c.Reasons[ReasonFileIDTaken] != c.Written {
				t.Errorf("%+v", *c)
			}
		}
	}
	if len(target.files) != 2 || len(target.chunks) != 5 || len(target.vectors) != 5 {
		t.Errorf("%d files, %d chunks, %d vectors", len(target.files), len(target.chunks), len(target.vectors))
	}
	if target.files["f"].BaseID != "kb1" || len(target.vectors["v-f_0"].Embedding) != 4 {
		t.Error("the first base lost its file")
	}
}

func TestImportKnowledgeOfOtherDimensionsIntoABase(t *testing.T) {
	t.Parallel()
	target := newMemoryTarget()
	target.bases["kb"] = models.KnowledgeBase{ID: "kb", Dimensions: 16, Metric: models.MetricL2}
	src := newKnowledge("kb")
	src.file("f", "completed", 2, 4)
	report, counts := mustImportKnowledge(t, target, src, nil)
	if counts[tableBases].Reasons[ReasonConflict] != 1 || counts[tableVectors].Reasons[ReasonVectorLength] != 2 || counts[tableChunks].Written != 2 {
		t.Errorf("%+v %+v %+v", *counts[tableBases], *counts[tableVectors], *counts[tableChunks])
	}
	if target.chunks["f_0"].Status != models.TaskPending || target.bases["kb"].Dimensions != 16 {
		t.Error("the base changed, or a chunk does not wait to be embedded")
	}
	if len(report.Warnings) != 2 {
		t.Errorf("warnings: %v", report.Warnings)
	}
}

func TestImportKnowledgeKeepsEditedChunks(t *testing.T) {
	t.Parallel()
	target := newMemoryTarget()
	src := newKnowledge("kb")
	src.file("f", "completed", 2, 4)
	mustImportKnowledge(t, target, src, nil)
	c := target.chunks["f_0"]
	c.Content = "edited"
	target.chunks["f_0"] = c
	delete(target.vectors, "v-f_0")
	_, counts := mustImportKnowledge(t, target, src, nil)
	if counts[tableChunks].Reasons[ReasonConflict] != 1 || counts[tableVectors].Reasons[ReasonConflict] != 1 || counts[tableVectors].Merged != 1 {
		t.Errorf("%+v %+v", *counts[tableChunks], *counts[tableVectors])
	}
	// A chunk that was embedded anew keeps its vector.
	target.chunks["f_0"] = models.KnowledgeChunk{ID: "f_0", FileID: "f", Content: "text of f_0", Status: models.TaskProcessed}
	target.vectors["new"] = models.KnowledgeVector{ID: "new", BaseID: "kb", FileID: "f", ChunkID: "f_0", Embedding: vectorOf(4, 9.5)}
	_, counts = mustImportKnowledge(t, target, src, nil)
	if counts[tableChunks].Merged != 2 || counts[tableVectors].Reasons[ReasonSecondVector] != 1 {
		t.Errorf("%+v %+v", *counts[tableChunks], *counts[tableVectors])
	}
}

func TestImportKnowledgeThatIsCutShort(t *testing.T) {
	t.Parallel()
	src := newKnowledge("kb")
	src.file("f", "completed", 2, 4)
	src.claim = 1
	target := newMemoryTarget()
	_, counts, err := importKnowledge(t, target, src, nil, ImportOptions{})
	if err == nil || counts[tableVectors].Written != 2 {
		t.Errorf("%v; what can be read should be stored: %+v", err, *counts[tableVectors])
	}
}
