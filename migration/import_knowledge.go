package migration

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"path/filepath"
	"slices"

	"github.com/talkbase/talkbase/models"
)

// Tables of a knowledge file, and of the target.
const (
	tableFile     = "file"
	tableChunk    = "chunk"
	tableVector   = "vector"
	tableMetadata = "metadata"

	tableBases   = "knowledge_bases"
	tableFiles   = "knowledge_files"
	tableChunks  = "knowledge_chunks"
	tableVectors = "knowledge_vectors"
)

// Dimensions of a knowledge base.
const (
	// maxDimensions is the most a base can have.
	maxDimensions = 16000
	// defaultDimensions is assumed of a base that has no vectors and no configuration.
	defaultDimensions = 1536
)

// VectorState is what the importer asks of a vector before it imports chunks.
type VectorState struct {
	// RowID is the vector's place in its table.
	RowID int64
	// ChunkID and FileID are what it belongs to, as the file holds them.
	ChunkID, FileID any
	// Length is its number of elements, 0 for NULL.
	Length int
	// Usable says that it has no NULL, NaN or infinite elements and is not all integral.
	Usable bool
}

// VectorSurveyor is what a Source may implement to tell the states of its vectors faster than by
// yielding them through Rows.
type VectorSurveyor interface {
	// SurveyVectors yields the state of each vector of the table vector, ascending by RowID.
	SurveyVectors(ctx context.Context) iter.Seq2[VectorState, error]
}

// Dimensioner is what a Source may implement to tell the declared length of its vectors.
type Dimensioner interface {
	// Dimensions returns the length that the file's vector column declares, 0 when it declares
	// none.
	Dimensions(ctx context.Context) (int64, error)
}

// knowledgeJob imports one knowledge file into one knowledge base.
type knowledgeJob struct {
	job
	found Found
	base  models.KnowledgeBase
	// scratch remembers, for each file, chunk and vector, what the next table needs of it.
	scratch *sql.DB
	// smallest is the smallest good time of a file, 0 when there is none.
	smallest int64
}

// The scratch tables: the chunks that have usable vectors with the first of them for each length;
// the files there are; where files went; where chunks went.
var knowledgeScratch = []string{
	"PRAGMA journal_mode = OFF",
	"CREATE TABLE vector (chunk TEXT, length INTEGER, rid INTEGER NOT NULL, PRIMARY KEY (chunk, length)) WITHOUT ROWID",
	"CREATE TABLE source_file (id TEXT PRIMARY KEY) WITHOUT ROWID",
	"CREATE TABLE file (id TEXT PRIMARY KEY, target TEXT NOT NULL, uploaded INTEGER NOT NULL) WITHOUT ROWID",
	"CREATE TABLE chunk (id TEXT PRIMARY KEY, target TEXT NOT NULL, file TEXT NOT NULL, source_file TEXT NOT NULL, uploaded INTEGER NOT NULL) WITHOUT ROWID",
}

func (k *knowledgeJob) close() error {
	if k.scratch == nil {
		return nil
	}
	return k.scratch.Close()
}

// run imports the base, then files, chunks and vectors.
func (k *knowledgeJob) run(ctx context.Context, dir string) error {
	var err error
	if k.scratch, err = openPrivate(filepath.Join(dir, "scratch.db")); err != nil {
		return fmt.Errorf("migration: %s: %w", k.report.Path, err)
	}
	for _, stmt := range knowledgeScratch {
		if _, err := k.scratch.ExecContext(ctx, stmt); err != nil {
			return fmt.Errorf("migration: %s: scratch: %w", k.report.Path, err)
		}
	}
	k.base.ID = k.baseID()
	lengths, err := k.survey(ctx)
	if err != nil {
		return err
	}
	if err := k.makeBase(ctx, lengths); err != nil {
		return err
	}
	var errs []error
	for _, step := range []struct {
		table string
		run   func(context.Context, SourceTable) error
	}{{tableFile, k.files}, {tableChunk, k.chunks}, {tableVector, k.vectors}} {
		t, ok := k.tables[step.table]
		if !ok {
			continue
		}
		if err := step.run(ctx, t); err != nil {
			errs = append(errs, err)
			var fatal *targetError
			if ctx.Err() != nil || errors.As(err, &fatal) {
				return errors.Join(errs...)
			}
		}
	}
	if len(k.list) == 0 {
		k.warn("%s holds no tables; it became an empty knowledge base", k.report.Path)
	}
	errs = append(errs, k.placeless(ctx, tableFile, tableChunk, tableVector, tableMetadata))
	return errors.Join(errs...)
}

// survey reads the states of all vectors into the scratch database and counts their lengths.
func (k *knowledgeJob) survey(ctx context.Context) (map[int]int64, error) {
	if err := k.surveyFiles(ctx); err != nil {
		return nil, err
	}
	lengths := map[int]int64{}
	t, ok := k.tables[tableVector]
	if !ok {
		return lengths, nil
	}
	states := surveyRows(ctx, k.src, t)
	if s, ok := k.src.(VectorSurveyor); ok {
		states = s.SurveyVectors(ctx)
	}
	usable := make([]VectorState, 0, 4*pageRows)
	for s, err := range states {
		if err != nil {
			return nil, err
		}
		if s.Length > 0 {
			lengths[s.Length]++
		}
		if !s.Usable {
			continue
		}
		s.ChunkID, s.FileID = plainID(s.ChunkID), plainID(s.FileID)
		if usable = append(usable, s); len(usable) == cap(usable) {
			if err := k.remember(ctx, usable); err != nil {
				return nil, err
			}
			usable = usable[:0]
		}
	}
	if err := k.remember(ctx, usable); err != nil {
		return nil, err
	}
	return lengths, ctx.Err()
}

// surveyFiles remembers which files there are, and the smallest time of one.
func (k *knowledgeJob) surveyFiles(ctx context.Context) error {
	t, ok := k.tables[tableFile]
	if !ok {
		return nil
	}
	columns := newColumnSet(t.Columns)
	var ids []string
	flush := func() error {
		err := writeScratch(ctx, k.scratch, "INSERT OR IGNORE INTO source_file (id) VALUES (?)", len(ids), func(i int) []any { return []any{ids[i]} })
		ids = ids[:0]
		if err != nil {
			return k.scratchError(ctx, err)
		}
		return nil
	}
	for row, err := range k.src.Rows(ctx, tableFile, fromStart) {
		if err != nil {
			return err
		}
		r := record{columns: columns, row: row}
		if ms, _, ok := coerceTime(r.get("uploaded_at")); ok && (k.smallest == 0 || ms < k.smallest) {
			k.smallest = ms
		}
		if ids = append(ids, plainID(r.get("id"))); len(ids) >= pageRows {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}

// sourceFiles returns which of the ids are those of files in the source.
func (k *knowledgeJob) sourceFiles(ctx context.Context, ids []string) (map[string]bool, error) {
	out := map[string]bool{}
	err := k.lookup(ctx, "SELECT id FROM source_file WHERE id IN ", ids, func(scan func(...any) error) error {
		var id string
		if err := scan(&id); err != nil {
			return err
		}
		out[id] = true
		return nil
	})
	if err != nil || k.opts.Replay == "" {
		return out, err
	}
	there, err := k.placesThere(ctx, ids)
	for id := range there {
		out[id] = true
	}
	return out, err
}

// remember keeps, of usable vectors, the first of each chunk. Those whose file is gone are none.
func (k *knowledgeJob) remember(ctx context.Context, usable []VectorState) error {
	ids := make([]string, len(usable))
	for i, s := range usable {
		ids[i], _ = s.FileID.(string)
	}
	files, err := k.sourceFiles(ctx, ids)
	if err != nil {
		return err
	}
	usable = slices.DeleteFunc(usable, func(s VectorState) bool {
		id, _ := s.FileID.(string)
		return id != "" && !files[id]
	})
	err = writeScratch(ctx, k.scratch, "INSERT OR IGNORE INTO vector (chunk, length, rid) VALUES (?, ?, ?)", len(usable), func(i int) []any {
		return []any{usable[i].ChunkID, usable[i].Length, usable[i].RowID}
	})
	if err != nil {
		return k.scratchError(ctx, err)
	}
	return nil
}

func (k *knowledgeJob) scratchError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("migration: %s: scratch: %w", k.report.Path, err)
}

// surveyRows tells the states of vectors by reading them.
func surveyRows(ctx context.Context, src Source, t SourceTable) iter.Seq2[VectorState, error] {
	return func(yield func(VectorState, error) bool) {
		columns := newColumnSet(t.Columns)
		for row, err := range src.Rows(ctx, t.Name, fromStart) {
			if err != nil {
				yield(VectorState{}, err)
				return
			}
			r := record{columns: columns, row: row}
			_, fault := readVector(r.get("embedding"))
			state := VectorState{
				RowID: row.RowID, ChunkID: r.get("chunk_id"), FileID: r.get("file_id"),
				Length: vectorLength(r.get("embedding")), Usable: fault == "",
			}
			if !yield(state, nil) {
				return
			}
		}
	}
}

// makeBase finds out what the knowledge base is like and stores it, unless the target has it.
func (k *knowledgeJob) makeBase(ctx context.Context, lengths map[int]int64) error {
	base, err := k.describe(ctx, lengths)
	if err != nil {
		return err
	}
	k.base = base
	k.report.Base = base.ID
	row := transformed[models.KnowledgeBase]{row: base, key: base.ID}
	s := stream[models.KnowledgeBase]{
		job: &k.job, source: SourceTable{Name: tableBases}, target: tableBases, canonical: (*models.KnowledgeBase).AppendCanonical,
		existing: k.target.BasesByID, insert: k.target.InsertBases, replace: k.target.ReplaceBases,
		fits: func(have, row *models.KnowledgeBase) bool {
			row.CreatedAt = have.CreatedAt // a file does not say; it is the time of its oldest document
			return have.Dimensions == row.Dimensions && have.Metric == row.Metric
		},
		same: func(have, want *models.KnowledgeBase) bool {
			k.base = *have
			if k.opts.Replay != "" {
				return true // the rows are what is asked for
			}
			return have.Name == want.Name && have.Dimensions == want.Dimensions && have.Metric == want.Metric &&
				have.EmbeddingModel == want.EmbeddingModel && have.Settings.String() == want.Settings.String()
		},
		done: func(_ context.Context, rows []settled[models.KnowledgeBase]) error {
			if rows[0].reject == ReasonRefused {
				return &targetError{fmt.Errorf("migration: %s: the knowledge base %s was refused: %s", k.report.Path, base.ID, rows[0].detail)}
			}
			return nil
		},
	}
	rows := []transformed[models.KnowledgeBase]{row}
	s.hash(rows)
	if k.state.Tables[tableBases].Read > 0 {
		err = s.lookUp(ctx, rows)
	} else {
		err = s.store(ctx, rows)
	}
	if err != nil {
		return err
	}
	if k.base.Dimensions != base.Dimensions {
		k.warn("%s: the knowledge base %s is there already with %d dimensions; vectors of %d cannot join it, and their chunks wait to be embedded again",
			k.report.Path, base.ID, k.base.Dimensions, base.Dimensions)
	}
	return nil
}

// baseID is the name of the file.
func (k *knowledgeJob) baseID() string { return (&notes{}).clean(filepath.Base(k.report.Path)) }

// describe makes the base's row of the configuration and of what the file itself says. The length
// of the vectors that are there outweighs a configuration that says otherwise.
func (k *knowledgeJob) describe(ctx context.Context, lengths map[int]int64) (models.KnowledgeBase, error) {
	id := k.baseID()
	base := models.KnowledgeBase{ID: id, Name: id, Metric: models.MetricCosine, Settings: models.JSON("{}"), CreatedAt: k.smallest}
	config := BaseConfig{}
	if k.found.Base != nil {
		config = *k.found.Base
	} else {
		k.warn("%s: its configuration is unknown; the metric cosine is assumed, and no embedding model is recorded", k.report.Path)
	}
	if config.Name != "" {
		base.Name = config.Name
	}
	if config.Metric != "" {
		base.Metric = config.Metric
	}
	base.EmbeddingModel = config.EmbeddingModel
	if len(config.Settings) > 0 {
		base.Settings = config.Settings
	}
	dims, err := k.dimensions(ctx, lengths)
	if err != nil {
		return base, err
	}
	switch {
	case dims == 0 && config.Dimensions == 0:
		dims = defaultDimensions
		k.warn("%s: it has no vectors and no configuration; %d dimensions are assumed", k.report.Path, dims)
	case dims == 0:
		dims = config.Dimensions
	case config.Dimensions != 0 && config.Dimensions != dims:
		k.warn("%s: its configuration says %d dimensions, its vectors have %d, which was taken", k.report.Path, config.Dimensions, dims)
	}
	base.Dimensions = dims
	values, err := k.metadata(ctx)
	if err != nil {
		return base, err
	}
	if len(values) > 0 {
		base.Settings = withMember(base.Settings, keyLegacy, map[string]any{tableMetadata: values})
	}
	return base, nil
}

// dimensions returns the length the file declares or else that of most of its vectors, 0 when it
// has none.
func (k *knowledgeJob) dimensions(ctx context.Context, lengths map[int]int64) (int64, error) {
	if d, ok := k.src.(Dimensioner); ok {
		if n, err := d.Dimensions(ctx); err != nil || (n > 0 && n <= maxDimensions) {
			return n, err
		}
	}
	best := 0
	for length, n := range lengths {
		if length <= maxDimensions && (n > lengths[best] || (n == lengths[best] && length < best)) {
			best = length
		}
	}
	return int64(best), nil
}

// maxMetadata bounds the rows of the table metadata that are kept.
const maxMetadata = 1000

// metadata reads the file's own key-value table.
func (k *knowledgeJob) metadata(ctx context.Context) (map[string]any, error) {
	t, ok := k.tables[tableMetadata]
	if !ok {
		return nil, nil
	}
	var n notes
	out := map[string]any{}
	for row, err := range k.src.Rows(ctx, tableMetadata, fromStart) {
		if err != nil {
			return nil, err
		}
		r := record{columns: newColumnSet(t.Columns), row: row}
		if out[n.optionalText(r.get("key"))] = n.plainValue(r.get("value")); len(out) >= maxMetadata {
			break
		}
	}
	return out, nil
}

// lookup asks the scratch database about ids; it sorts them.
func (k *knowledgeJob) lookup(ctx context.Context, query string, ids []string, f func(scan func(...any) error) error) error {
	slices.Sort(ids)
	ids = slices.Compact(ids)
	for chunk := range slices.Chunk(ids, lookupStep) {
		args := make([]any, len(chunk))
		marks := make([]byte, 0, 2*len(chunk))
		for i, id := range chunk {
			args[i] = id
			marks = append(marks, '?', ',')
		}
		if err := eachRow(ctx, k.scratch, query+"("+string(marks[:len(marks)-1])+")", args, f); err != nil {
			return k.scratchError(ctx, err)
		}
	}
	return nil
}
