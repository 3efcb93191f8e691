package repo

import (
	"context"
	"strings"

	"gorm.io/gorm"

	"github.com/talkbase/talkbase/internal/engine"
	"github.com/talkbase/talkbase/models"
)

// AsGiven returns a loader for rows that come from another talkbase database: integer keys are kept,
// and no rule but the database's own is asked whether a row may be stored.
func (b *Bulk) AsGiven() *Bulk { return &Bulk{s: b.s, noText: b.noText, asGiven: true} }

// tablesOfImports are what imports leave behind.
var tablesOfImports = []string{
	"talkbase_import_runs", "talkbase_import_sources", "talkbase_import_batches", "talkbase_import_marks", "talkbase_import_edits",
}

// Occupied returns the name of a table that has rows, "" when the database holds nothing, not even the
// journal of an import.
func (b *Bulk) Occupied(ctx context.Context) (string, error) {
	const op = "is empty"
	db, err := b.s.reader(ctx)
	if err != nil {
		return "", wrap(op, err)
	}
	tables, err := b.tables(ctx, db)
	if err != nil {
		return "", wrap(op, err)
	}
	for _, table := range tables {
		n, err := engine.One(ctx, db, engine.Value[int64], "SELECT count(*) FROM (SELECT 1 FROM "+table+" LIMIT 1) a")
		if err != nil || n > 0 {
			return table, wrap(op, err)
		}
	}
	return "", nil
}

// tables are those that hold rows of a host or of imports, as far as they are there.
func (b *Bulk) tables(ctx context.Context, db *gorm.DB) ([]string, error) {
	var out []string
	for _, table := range engine.Tables() {
		if table == "knowledge_vectors" {
			there, err := b.s.eng().HasTable(ctx, db, table)
			if err != nil {
				return nil, err
			}
			if !there {
				continue
			}
		}
		out = append(out, table)
	}
	return append(out, tablesOfImports...), nil
}

// BeginLoad keeps others from writing until the transaction that ctx carries ends.
func (b *Bulk) BeginLoad(ctx context.Context) error {
	return b.s.write(ctx, "begin load", func(ctx context.Context, db *gorm.DB) error {
		tables, err := b.tables(ctx, db)
		if err != nil {
			return err
		}
		return b.s.eng().LockTables(ctx, db, tables)
	})
}

// EndLoad lets the integer keys of all tables go on behind the rows that were loaded with theirs.
func (b *Bulk) EndLoad(ctx context.Context) error {
	_, err := NewHealth(b.s).SetSequences(ctx)
	return err
}

// insert writes rows of a table that is not one of loadSpec's.
func insert[T any](ctx context.Context, b *Bulk, table, columns string, rows []T, values func(*T) []any) error {
	return b.s.write(ctx, "load "+table, func(ctx context.Context, db *gorm.DB) error {
		all := make([][]any, len(rows))
		for i := range rows {
			all[i] = values(&rows[i])
		}
		return b.s.eng().BulkInsert(ctx, db, table, strings.Split(columns, ", "), all)
	})
}

// LoadBases stores knowledge bases as they are given.
func (b *Bulk) LoadBases(ctx context.Context, rows []models.KnowledgeBase) error {
	return insert(ctx, b, "knowledge_bases", baseColumns, rows, func(k *models.KnowledgeBase) []any {
		return []any{k.ID, k.Name, k.Dimensions, string(k.Metric), k.EmbeddingModel, k.Settings.String(), k.CreatedAt}
	})
}

// LoadFiles stores files as they are given.
func (b *Bulk) LoadFiles(ctx context.Context, rows []models.KnowledgeFile) error {
	return load(ctx, b, "load files", loadFiles, rows)
}

// LoadChunks stores chunks as they are given.
func (b *Bulk) LoadChunks(ctx context.Context, rows []models.KnowledgeChunk) error {
	return load(ctx, b, "load chunks", loadChunks, rows)
}

// LoadVectors stores vectors as they are given, and gives them codes where the engine has them. One whose
// id is known is ErrConflict.
func (b *Bulk) LoadVectors(ctx context.Context, rows []models.KnowledgeVector) error {
	if err := b.s.eng().Vectors(); err != nil {
		return wrap("load vectors", err)
	}
	const op = "load vectors"
	ids := make([]string, len(rows))
	for i := range rows {
		ids[i] = rows[i].ID
	}
	return b.s.write(ctx, op, func(ctx context.Context, db *gorm.DB) error {
		there, err := b.Existing(ctx, "knowledge_vectors", ids)
		if err != nil {
			return err
		}
		for _, id := range ids {
			if there[id] {
				return named(ErrConflict, "vector", id)
			}
			there[id] = true
		}
		return b.s.eng().UpsertVectors(ctx, db, rows)
	})
}

// LoadImportRuns stores imports as they are given.
func (b *Bulk) LoadImportRuns(ctx context.Context, rows []models.ImportRun) error {
	return insert(ctx, b, "talkbase_import_runs", importRunColumns, rows, func(r *models.ImportRun) []any {
		return []any{r.ID, string(r.State), r.Phase, r.Owner, r.StartedAt, r.FinishedAt, r.Options.String(), r.Backup, r.Progress.String(), r.Report.String()}
	})
}

// LoadImportSources stores legacy files of imports as they are given.
func (b *Bulk) LoadImportSources(ctx context.Context, rows []models.ImportSource) error {
	return insert(ctx, b, "talkbase_import_sources", importSourceColumns, rows, func(r *models.ImportSource) []any {
		return []any{r.RunID, r.Position, r.Path, r.Kind, r.Fingerprint, r.Config.String(), r.Progress.String()}
	})
}

// LoadImportBatches stores the journals of imports as they are given.
func (b *Bulk) LoadImportBatches(ctx context.Context, rows []models.ImportBatch) error {
	return insert(ctx, b, "talkbase_import_batches", importBatchColumns, rows, func(r *models.ImportBatch) []any {
		return []any{r.RunID, r.Seq, r.Table, flag(r.Merged), blob(r.Keys), blob(r.Hashes), blob(r.Replaced)}
	})
}

// LoadImportMarks stores marks as they are given.
func (b *Bulk) LoadImportMarks(ctx context.Context, rows []models.ImportMark) error {
	return insert(ctx, b, "talkbase_import_marks", importMarkColumns, rows, func(r *models.ImportMark) []any {
		return []any{r.Table, r.LastID}
	})
}

// LoadImportEdits stores notes of edits as they are given.
func (b *Bulk) LoadImportEdits(ctx context.Context, rows []models.ImportEdit) error {
	return insert(ctx, b, "talkbase_import_edits", importEditColumns, rows, func(r *models.ImportEdit) []any {
		return []any{r.Table, r.Key, r.At}
	})
}

// VectorsSupported is Store.VectorsSupported.
func (b *Bulk) VectorsSupported() error { return b.s.VectorsSupported() }

// Existing returns which of the keys of a table's rows exist.
func (b *Bulk) Existing(ctx context.Context, table string, keys []string) (map[string]bool, error) {
	out := make(map[string]bool, len(keys))
	if len(keys) == 0 || table == "knowledge_vectors" && b.s.eng().Vectors() != nil {
		return out, nil
	}
	key := keysOf[table].key
	found, err := byKey(ctx, b, table, key, key, engine.Value[string], func(id *string) string { return *id }, keys)
	for id := range found {
		out[id] = true
	}
	return out, err
}
