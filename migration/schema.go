package migration

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/pressly/goose/v3"
	"golang.org/x/sync/semaphore"
	"gorm.io/gorm/clause"

	"github.com/talkbase/talkbase/internal/engine"
	"github.com/talkbase/talkbase/internal/text"
	"github.com/talkbase/talkbase/models"
)

//go:embed sql/sqlite/*.sql sql/postgres/*.sql
var sqlFiles embed.FS

// vectorsFile is not a step: it runs whenever pgvector is there and the table is not.
const vectorsFile = "vectors.sql"

// latestVersion is the last step in both folders; a test keeps it so.
const latestVersion = 4

// extrasVersion is the step that holds what GORM cannot say.
const extrasVersion = 2

// sketchesVersion is the step that makes SQLite's tables of sketches, which have no models.
const sketchesVersion = 4

//go:embed schema/*.json
var expectedFiles embed.FS

// SchemaManager versions the schema of one database.
type SchemaManager interface {
	SchemaVersion(ctx context.Context) (int64, error)
	LatestSchemaVersion() int64
	MigrateSchema(ctx context.Context, target int64) error
	ValidateSchema(ctx context.Context) (SchemaReport, error)
	CreateOptimalIndexes(ctx context.Context) (IndexReport, error)
	Reset(ctx context.Context, load func(ctx context.Context) error) error
}

// Schema is the SchemaManager of a database, which may be opened later.
type Schema struct {
	late      *engine.Late
	indexKind string
	log       *slog.Logger

	building *semaphore.Weighted // held while an index is built

	mu        sync.Mutex
	provider  *goose.Provider
	vectorDDL string
}

var _ SchemaManager = (*Schema)(nil)

// NewSchema returns the schema manager of an engine. IndexKind is the vector index that
// CreateOptimalIndexes builds on Postgres: hnsw or ivfflat, or by the number of vectors when "".
func NewSchema(e *engine.Late, indexKind string, log *slog.Logger) *Schema {
	return &Schema{late: e, indexKind: indexKind, log: log, building: semaphore.NewWeighted(1)}
}

func (s *Schema) eng() engine.Engine { return s.late.Get() }

// steps returns goose's provider of the schema's steps, made when the engine is there.
func (s *Schema) steps() (*goose.Provider, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.provider != nil {
		return s.provider, nil
	}
	m, err := s.eng().Goose()
	if err != nil {
		return nil, err
	}
	folder, err := fs.Sub(sqlFiles, "sql/"+m.Folder)
	if err != nil {
		return nil, err
	}
	if b, err := fs.ReadFile(folder, vectorsFile); err == nil {
		s.vectorDDL = string(b)
	}
	opts := slices.Concat(m.Options, []goose.ProviderOption{
		goose.WithTableName(engine.VersionTable), goose.WithDisableGlobalRegistry(true),
		goose.WithExcludeNames([]string{vectorsFile}), goose.WithLogger(goose.NopLogger()),
	})
	p, err := goose.NewProvider(m.Dialect, s.eng().SQL(), folder, opts...)
	if err != nil {
		return nil, fmt.Errorf("migration: schema steps: %w", err)
	}
	s.provider = p
	return p, nil
}

// enableVectors creates what needs the extension, where it can.
func (s *Schema) enableVectors(ctx context.Context) error {
	if _, err := s.steps(); err != nil {
		return err
	}
	return s.eng().EnableVectors(ctx, s.vectorDDL)
}

// LatestSchemaVersion is the version this program needs.
func (s *Schema) LatestSchemaVersion() int64 { return latestVersion }

// SchemaVersion returns the database's version, 0 before anything was created.
func (s *Schema) SchemaVersion(ctx context.Context) (int64, error) {
	st, err := s.eng().State(ctx)
	if err != nil {
		return 0, engine.Wrap("schema version", err)
	}
	v, err := s.version(ctx, st)
	return v, engine.Wrap("schema version", err)
}

func (s *Schema) version(ctx context.Context, st engine.State) (int64, error) {
	if !st.Versioned {
		return 0, nil
	}
	// Not by goose, which would take the lock that only changes need.
	db, err := s.eng().Reader(ctx)
	if err != nil {
		return 0, err
	}
	return engine.One(ctx, db, engine.Value[int64], "SELECT coalesce(max(version_id), 0) FROM "+engine.VersionTable+" WHERE is_applied")
}

// Prepare brings the database to the version this program needs, where that is asked for or safe:
// it creates the schema in an SQLite file or an empty Postgres schema, and brings an old SQLite file up
// to date after writing a copy beside it. On an older Postgres it returns ErrSchemaOutdated unless
// migrate is set, on a newer database ErrSchemaNewer, and where another program's tables are in
// the way ErrForeignSchema. It changes nothing when it returns an error.
func (s *Schema) Prepare(ctx context.Context, migrate bool) error {
	const op = "open database"
	st, err := s.eng().State(ctx)
	if err != nil {
		return engine.Wrap(op, engine.Damaged(st.Path, err))
	}
	return engine.Wrap(op, engine.Damaged(st.Path, s.prepare(ctx, st, migrate)))
}

func (s *Schema) prepare(ctx context.Context, st engine.State, migrate bool) error {
	if st.Foreign != "" {
		return engine.Foreign(st.Foreign)
	}
	version, err := s.version(ctx, st)
	if err != nil {
		return err
	}
	latest := s.LatestSchemaVersion()
	if st.Versioned && st.Shared && version < latest {
		// Another program may be creating the schema at this moment: goose waits for its lock.
		p, err := s.steps()
		if err == nil {
			version, err = p.GetDBVersion(ctx)
		}
		if err != nil {
			return err
		}
	}
	switch {
	case version > latest:
		return fmt.Errorf("%w: it has version %d, this program knows %d: update the program", engine.ErrSchemaNewer, version, latest)
	case version == latest:
	case st.Shared && !st.Empty && !migrate:
		return fmt.Errorf("%w: it has version %d, this program needs %d: run talkbase schema up, or set Config.Migrate", engine.ErrSchemaOutdated, version, latest)
	default:
		if version > 0 && st.Path != "" {
			if err := s.backup(ctx, st.Path, version); err != nil {
				return err
			}
		}
		if err := s.up(ctx, latest); err != nil {
			return err
		}
	}
	if err := s.enableVectors(ctx); err != nil {
		return err
	}
	return s.checkAnalyser(ctx)
}

// checkAnalyser warns where another version of the analyser made the text index: what it made is still
// found by most queries, and making it anew can take minutes, so whoever runs the program chooses when.
func (s *Schema) checkAnalyser(ctx context.Context) error {
	r, err := s.eng().Reader(ctx)
	if err != nil {
		return err
	}
	made, err := engine.One(ctx, r, engine.Value[string], "SELECT value FROM talkbase_meta WHERE key = ?", models.MetaTextAnalyser)
	if err != nil && !errors.Is(err, engine.ErrNotFound) {
		return err
	}
	if made != strconv.Itoa(text.Version) {
		s.log.WarnContext(ctx, "the text index was made by another version of the analyser, and some searches may miss rows: run talkbase reindex, or call RebuildTextIndex",
			slog.String("index", made), slog.Int("program", text.Version))
	}
	return nil
}

// backup copies an SQLite file before its schema changes.
func (s *Schema) backup(ctx context.Context, path string, version int64) error {
	var to string
	err := fs.ErrExist
	for errors.Is(err, fs.ErrExist) && ctx.Err() == nil { // another process may copy it in the same millisecond
		to = fmt.Sprintf("%s.v%d-%s.bak", path, version, time.Now().UTC().Format("20060102T150405.000"))
		err = s.eng().Snapshot(ctx, to)
	}
	if err != nil {
		return fmt.Errorf("copying the database to %s before changing its schema: %w", filepath.Base(to), err)
	}
	// Not where the file is, which may tell whose it is.
	s.log.InfoContext(ctx, "database copied beside its file before its schema changes", slog.String("suffix", strings.TrimPrefix(to, path)))
	return nil
}

func (s *Schema) up(ctx context.Context, target int64) error {
	p, err := s.steps()
	if err != nil {
		return err
	}
	results, err := p.UpTo(ctx, target)
	for _, r := range results {
		s.log.InfoContext(ctx, "schema step", slog.String("step", filepath.Base(r.Source.Path)), slog.Duration("duration", r.Duration))
	}
	if err == nil && target >= extrasVersion {
		err = s.setMeta(ctx)
	}
	return s.stepError(err)
}

// stepError keeps the cause that goose wraps in its own words.
func (s *Schema) stepError(err error) error {
	var partial *goose.PartialError
	if errors.As(err, &partial) {
		return fmt.Errorf("schema step %s: %w", filepath.Base(partial.Failed.Source.Path), engine.Classify(partial.Err))
	}
	return engine.Classify(err)
}

func (s *Schema) setMeta(ctx context.Context) error {
	tx, err := s.eng().Begin(ctx)
	if err != nil {
		return err
	}
	err = tx.DB.Clauses(clause.OnConflict{DoNothing: true}).Create(&models.Meta{Key: models.MetaTextAnalyser, Value: fmt.Sprint(text.Version)}).Error
	if err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

// MigrateSchema brings the schema up or down to a version: 0 removes everything talkbase created,
// with all rows. A version that does not exist is ErrInvalid.
func (s *Schema) MigrateSchema(ctx context.Context, target int64) error {
	const op = "migrate schema"
	if target < 0 || target > s.LatestSchemaVersion() {
		return engine.Wrap(op, engine.Invalidf("there is no schema version %d: use 0 to %d", target, s.LatestSchemaVersion()))
	}
	version, err := s.SchemaVersion(ctx)
	if err != nil {
		return engine.Wrap(op, err)
	}
	if target < version {
		p, err := s.steps()
		if err == nil {
			_, err = p.DownTo(ctx, target)
		}
		return engine.Wrap(op, s.stepError(err))
	}
	if err := s.up(ctx, target); err != nil {
		return engine.Wrap(op, err)
	}
	if target == 0 {
		return nil
	}
	return engine.Wrap(op, s.enableVectors(ctx))
}

// SchemaReport says whether the schema is what this program expects.
type SchemaReport struct {
	// OK is true when nothing differs.
	OK bool `json:"ok"`
	// Version is the database's, Latest the one this program needs.
	Version int64 `json:"version"`
	Latest  int64 `json:"latest"`
	// Drift lists every difference in talkbase's own tables.
	Drift []Drift `json:"drift"`
}

// Drift is one difference between the schema that should be and the one that is.
type Drift = engine.Drift

// ValidateSchema compares talkbase's own tables with what this program expects: tables, columns
// and their types and defaults, indexes, constraints, triggers. A host's tables are not looked at.
func (s *Schema) ValidateSchema(ctx context.Context) (SchemaReport, error) {
	const op = "validate schema"
	r := SchemaReport{Latest: s.LatestSchemaVersion(), Drift: []Drift{}}
	var err error
	if r.Version, err = s.SchemaVersion(ctx); err != nil {
		return r, err
	}
	want, err := s.expected()
	if err != nil {
		return r, engine.Wrap(op, err)
	}
	have, err := s.eng().Introspect(ctx)
	if err != nil {
		return r, engine.Wrap(op, err)
	}
	if s.eng().Vectors() != nil { // the table may be there from when vectors were wanted
		delete(have.Tables, "knowledge_vectors")
	}
	if drift := engine.Compare(want, have, isOptional); drift != nil {
		r.Drift = drift
	}
	r.OK = len(r.Drift) == 0 && r.Version == r.Latest
	return r, nil
}

// expected is the description of the newest schema, which a test keeps equal to what the steps
// create.
func (s *Schema) expected() (engine.Schema, error) {
	var want engine.Schema
	b, err := expectedFiles.ReadFile("schema/" + s.eng().Name() + ".json")
	if err != nil {
		return want, err
	}
	if err := json.Unmarshal(b, &want); err != nil {
		return want, err
	}
	if s.eng().Vectors() != nil {
		delete(want.Tables, "knowledge_vectors")
	}
	return want, nil
}

// optimalIndexes are those that CreateOptimalIndexes adds to the schema's own.
func optimalIndexes() []engine.IndexSpec {
	return []engine.IndexSpec{
		{Name: "idx_conversations_timeline", Table: "conversations", Body: "(updated_at DESC, is_pinned DESC)"},
		{Name: "idx_conversations_created", Table: "conversations", Body: "(created_at DESC, id DESC)"},
		{Name: "idx_conversations_title", Table: "conversations", Body: "(title, id)"},
		{Name: "idx_messages_conversation_timeline", Table: "messages", Body: "(conversation_id, created_at DESC)"},
		{Name: "idx_messages_status", Table: "messages", Body: "(status) WHERE status <> 'sent'"},
	}
}

// schemaIndexes are the schema's own plain indexes, which CreateOptimalIndexes restores.
func schemaIndexes() []engine.IndexSpec {
	return []engine.IndexSpec{
		{Name: "idx_conversations_updated", Table: "conversations", Body: "(updated_at DESC, id DESC)"},
		{Name: "idx_conversations_recent", Table: "conversations", Body: "(is_pinned DESC, updated_at DESC, id DESC)"},
		{Name: "idx_messages_conversation", Table: "messages", Body: "(conversation_id, order_seq, id)"},
		{Name: "idx_messages_timeline", Table: "messages", Body: "(created_at DESC)"},
		{Name: "idx_messages_context_edge", Table: "messages", Body: "(is_context_edge)"},
		{Name: "idx_messages_parent", Table: "messages", Body: "(parent_id)"},
		{Name: "idx_message_attachments_message", Table: "message_attachments", Body: "(message_id, attachment_type)"},
		{Name: "idx_knowledge_files_base", Table: "knowledge_files", Body: "(base_id)"},
		{Name: "idx_knowledge_files_status", Table: "knowledge_files", Body: "(status)"},
		{Name: "idx_knowledge_files_path", Table: "knowledge_files", Body: "(path)"},
		{Name: "idx_knowledge_chunks_file", Table: "knowledge_chunks", Body: "(file_id, chunk_index)"},
		{Name: "idx_knowledge_chunks_status", Table: "knowledge_chunks", Body: "(status)"},
		{Name: "idx_knowledge_vectors_base", Table: "knowledge_vectors", Body: "(base_id)"},
		{Name: "idx_knowledge_vectors_file", Table: "knowledge_vectors", Body: "(file_id)"},
		{Name: "idx_knowledge_vectors_chunk", Table: "knowledge_vectors", Body: "(chunk_id)"},
	}
}

func isOptional(index string) bool {
	if strings.HasPrefix(index, "idx_knowledge_vectors_base_") {
		return true
	}
	for _, ix := range optimalIndexes() {
		if ix.Name == index {
			return true
		}
	}
	return false
}

// IndexReport says what CreateOptimalIndexes did.
type IndexReport struct {
	// Created are the names of new indexes, Present of those that were there.
	Created []string `json:"created"`
	Present []string `json:"present"`
	// Skipped are the knowledge bases without a vector index of their own, and why.
	Skipped map[string]string `json:"skipped,omitempty"`
}

// CreateOptimalIndexes creates the indexes that speed up timelines, lists and, on Postgres,
// similarity queries, and restores those of the schema that are missing. On Postgres it builds them
// concurrently, so that writers go on; an index of vectors whose building was cut off, that is of another
// kind than is configured, or that its base has outgrown is made anew while the old one answers. What an index
// of vectors needs to find 99 of 100 of the nearest is measured, and kept with it. The text index is part of
// the schema. It stops at the first error; calling it again goes on from there.
func (s *Schema) CreateOptimalIndexes(ctx context.Context) (IndexReport, error) {
	const op = "create optimal indexes"
	r := IndexReport{Created: []string{}, Present: []string{}}
	specs := append(schemaIndexes(), optimalIndexes()...)
	if s.eng().Vectors() == nil {
		vectors, err := s.vectorIndexes(ctx, &r)
		if err != nil {
			return r, engine.Wrap(op, err)
		}
		specs = append(specs, vectors...)
	}
	for _, ix := range specs {
		if ix.Table == "knowledge_vectors" && s.eng().Vectors() != nil {
			continue
		}
		created, err := s.createIndex(ctx, ix)
		if err != nil {
			return r, engine.Wrap(op, fmt.Errorf("index %s: %w", ix.Name, err))
		}
		if created {
			r.Created = append(r.Created, ix.Name)
		} else {
			r.Present = append(r.Present, ix.Name)
		}
	}
	return r, nil
}

func (s *Schema) vectorIndexes(ctx context.Context, r *IndexReport) ([]engine.IndexSpec, error) {
	db, err := s.eng().Reader(ctx)
	if err != nil {
		return nil, err
	}
	type sized struct {
		models.KnowledgeBase
		rows int64
	}
	bases, err := engine.Collect(ctx, db, func(sc engine.Scanner, v *sized) error {
		return sc.Scan(&v.ID, &v.Dimensions, &v.Metric, &v.rows)
	}, "SELECT b.id, b.dimensions, b.metric, (SELECT count(*) FROM knowledge_vectors v WHERE v.base_id = b.id) FROM knowledge_bases b ORDER BY b.id")
	if err != nil {
		return nil, err
	}
	var out []engine.IndexSpec
	for _, b := range bases {
		ix, why := s.eng().VectorIndex(b.KnowledgeBase, s.indexKind, b.rows)
		if ix.Name != "" {
			out = append(out, ix)
			continue
		}
		if why == "" {
			continue
		}
		if r.Skipped == nil {
			r.Skipped = map[string]string{}
		}
		r.Skipped[b.ID] = why
	}
	return out, nil
}

// Reset is for development only: it drops everything talkbase created with all rows, makes the
// schema anew from the models by AutoMigrate and from the file of what GORM cannot say, and then calls
// load, if it is not nil, to fill it.
func (s *Schema) Reset(ctx context.Context, load func(ctx context.Context) error) error {
	const op = "reset"
	if err := s.eng().DropAll(ctx); err != nil {
		return engine.Wrap(op, err)
	}
	s.mu.Lock()
	s.provider = nil // goose makes its table once a provider
	s.mu.Unlock()
	if err := s.autoMigrate(ctx); err != nil {
		return engine.Wrap(op, err)
	}
	if load != nil {
		return load(ctx)
	}
	return nil
}

func (s *Schema) autoMigrate(ctx context.Context) error {
	tables := models.All()
	if s.vectorDDL != "" && s.eng().Vectors() != nil { // the table that needs the extension comes with it
		tables = slices.DeleteFunc(tables, func(t any) bool { _, ok := t.(*models.KnowledgeVector); return ok })
	}
	// Not by the engine's Begin, which may need tables that are not there yet.
	tx, err := s.eng().SQL().BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	db, err := s.eng().Gorm(ctx, tx)
	if err == nil {
		err = db.AutoMigrate(tables...)
	}
	if err != nil {
		return errors.Join(err, tx.Rollback())
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	return s.stampAndExtras(ctx)
}

// stampAndExtras runs the steps of what GORM does not make and marks the others as applied.
func (s *Schema) stampAndExtras(ctx context.Context) error {
	p, err := s.steps()
	if err != nil {
		return err
	}
	for _, version := range []int64{extrasVersion, sketchesVersion} {
		if _, err := p.ApplyVersion(ctx, version, true); err != nil {
			return s.stepError(err)
		}
	}
	// goose steps down in the order of its rows: they are written anew, in the order of versions.
	stamps := []string{"DELETE FROM " + engine.VersionTable + " WHERE version_id > 0"}
	for _, src := range p.ListSources() {
		stamps = append(stamps, fmt.Sprintf("INSERT INTO %s (version_id, is_applied) VALUES (%d, true)", engine.VersionTable, src.Version))
	}
	for _, stamp := range stamps {
		if _, err := s.eng().SQL().ExecContext(ctx, stamp); err != nil {
			return err
		}
	}
	if err := s.setMeta(ctx); err != nil {
		return err
	}
	return s.enableVectors(ctx)
}
