package repo

import (
	"context"
	"errors"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"github.com/talkbase/talkbase/internal/engine"
	"github.com/talkbase/talkbase/models"
)

// View is a database as of one moment: what others write meanwhile is not in it. Its calls come one
// after another. Rows come in the order of their integer keys, or else of their ids.
type View struct {
	s       *Store
	db      *gorm.DB
	vectors bool
}

// View runs f on the database as of one moment, or, within a transaction, as the transaction sees it.
// The error of f is returned as it is.
func (b *Bulk) View(ctx context.Context, f func(ctx context.Context, v *View) error) error {
	var failed error
	err := b.s.snapshot(ctx, func(ctx context.Context, db *gorm.DB) error {
		v := &View{s: b.s, db: db}
		var err error
		if v.vectors, err = b.s.eng().HasTable(ctx, db, "knowledge_vectors"); err != nil {
			return err
		}
		failed = f(ctx, v)
		return nil
	})
	return errors.Join(failed, wrap("read database", err))
}

// SchemaVersion is the number of the last step of the schema that was applied.
func (v *View) SchemaVersion(ctx context.Context) (int64, error) {
	n, err := engine.One(ctx, v.db, engine.Value[int64], "SELECT coalesce(max(version_id), 0) FROM "+engine.VersionTable+" WHERE is_applied")
	return n, wrap("schema version", err)
}

// Count is the number of rows of a table.
func (v *View) Count(ctx context.Context, table string) (int64, error) {
	if table == "knowledge_vectors" && !v.vectors {
		return 0, nil
	}
	n, err := engine.One(ctx, v.db, engine.Value[int64], "SELECT count(*) FROM "+table)
	return n, wrap("count "+table, err)
}

func viewRows[T any](ctx context.Context, v *View, table, columns, order string, scan func(engine.Scanner, *T) error, f func(*T) error) error {
	var failed error
	err := engine.Each(ctx, v.db, scan, func(row *T) bool {
		failed = f(row)
		return failed == nil
	}, "SELECT "+columns+" FROM "+table+" ORDER BY "+order)
	if failed != nil {
		return failed
	}
	return wrap("read "+table, err)
}

// Conversations calls f for every conversation.
func (v *View) Conversations(ctx context.Context, f func(*models.Conversation) error) error {
	return viewRows(ctx, v, "conversations", conversationColumns, "id", scanConversation, f)
}

// Messages calls f for every message.
func (v *View) Messages(ctx context.Context, f func(*models.Message) error) error {
	return viewRows(ctx, v, "messages", messageColumns, "id", scanMessage, f)
}

// Attachments calls f for every attachment.
func (v *View) Attachments(ctx context.Context, f func(*models.MessageAttachment) error) error {
	return viewRows(ctx, v, "message_attachments", attachmentColumns, "id", scanAttachment, f)
}

// Bases calls f for every knowledge base.
func (v *View) Bases(ctx context.Context, f func(*models.KnowledgeBase) error) error {
	return viewRows(ctx, v, "knowledge_bases", baseColumns, "id", scanBase, f)
}

// Files calls f for every knowledge file.
func (v *View) Files(ctx context.Context, f func(*models.KnowledgeFile) error) error {
	return viewRows(ctx, v, "knowledge_files", fileColumns, "id", scanFile, f)
}

// Chunks calls f for every chunk.
func (v *View) Chunks(ctx context.Context, f func(*models.KnowledgeChunk) error) error {
	return viewRows(ctx, v, "knowledge_chunks", chunkColumns, "seq", scanChunk, f)
}

// Vectors calls f for every vector, also where the configuration disables them.
func (v *View) Vectors(ctx context.Context, f func(*models.KnowledgeVector) error) error {
	if !v.vectors {
		return nil
	}
	columns, scan := v.s.vectorRows()
	return viewRows(ctx, v, "knowledge_vectors", columns, "seq", scan, f)
}

const (
	importRunColumns    = "id, state, phase, owner, started_at, finished_at, options, backup, progress, report"
	importSourceColumns = "run_id, position, path, kind, fingerprint, config, progress"
	importBatchColumns  = "run_id, seq, table_name, merged, keys, hashes, replaced"
	importMarkColumns   = "table_name, last_id"
	importEditColumns   = "table_name, row_key, edited_at"
)

// ImportRuns calls f for every import.
func (v *View) ImportRuns(ctx context.Context, f func(*models.ImportRun) error) error {
	return viewRows(ctx, v, "talkbase_import_runs", importRunColumns, "id", func(s engine.Scanner, r *models.ImportRun) error {
		return s.Scan(&r.ID, &r.State, &r.Phase, &r.Owner, &r.StartedAt, &r.FinishedAt, &r.Options, &r.Backup, &r.Progress, &r.Report)
	}, f)
}

// ImportSources calls f for every legacy file of every import.
func (v *View) ImportSources(ctx context.Context, f func(*models.ImportSource) error) error {
	return viewRows(ctx, v, "talkbase_import_sources", importSourceColumns, "run_id, position", func(s engine.Scanner, r *models.ImportSource) error {
		return s.Scan(&r.RunID, &r.Position, &r.Path, &r.Kind, &r.Fingerprint, &r.Config, &r.Progress)
	}, f)
}

// ImportBatches calls f for every batch of every import's journal.
func (v *View) ImportBatches(ctx context.Context, f func(*models.ImportBatch) error) error {
	return viewRows(ctx, v, "talkbase_import_batches", importBatchColumns, "run_id, seq", func(s engine.Scanner, r *models.ImportBatch) error {
		return s.Scan(&r.RunID, &r.Seq, &r.Table, &r.Merged, &r.Keys, &r.Hashes, &r.Replaced)
	}, f)
}

// ImportMarks calls f for every mark of how far imports have reached.
func (v *View) ImportMarks(ctx context.Context, f func(*models.ImportMark) error) error {
	return viewRows(ctx, v, "talkbase_import_marks", importMarkColumns, "table_name", func(s engine.Scanner, r *models.ImportMark) error {
		return s.Scan(&r.Table, &r.LastID)
	}, f)
}

// ImportEdits calls f for every note of an edit of what was imported.
func (v *View) ImportEdits(ctx context.Context, f func(*models.ImportEdit) error) error {
	return viewRows(ctx, v, "talkbase_import_edits", importEditColumns, "table_name, row_key", func(s engine.Scanner, r *models.ImportEdit) error {
		return s.Scan(&r.Table, &r.Key, &r.At)
	}, f)
}

// metaDatabase is the key under which a database keeps its id.
const metaDatabase = "database_id"

// DatabaseID is what tells the database from others: a UUID that it is given when it is first asked for
// with create, "" before. It is not restored from a dump: then there are two.
func (b *Bulk) DatabaseID(ctx context.Context, create bool) (string, error) {
	const op, query = "database id", "SELECT value FROM talkbase_meta WHERE key = ?"
	db, err := b.s.reader(ctx)
	if err != nil {
		return "", wrap(op, err)
	}
	id, err := engine.One(ctx, db, engine.Value[string], query, metaDatabase)
	if !errors.Is(err, ErrNotFound) || !create {
		if errors.Is(err, ErrNotFound) {
			err = nil
		}
		return id, wrap(op, err)
	}
	err = b.s.write(ctx, op, func(ctx context.Context, db *gorm.DB) error {
		_, err := engine.Exec(ctx, db, "INSERT INTO talkbase_meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO NOTHING", metaDatabase, uuid.NewString())
		if err == nil {
			id, err = engine.One(ctx, db, engine.Value[string], query, metaDatabase)
		}
		return err
	})
	return id, err
}

// Engine is the name of the engine: sqlite or postgres.
func (b *Bulk) Engine() string { return b.s.Engine() }
