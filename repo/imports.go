package repo

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/talkbase/talkbase/internal/engine"
	"github.com/talkbase/talkbase/models"
)

// ErrTaken means that another process has taken up the import meanwhile. What this one stored
// stays; it must stop.
var ErrTaken = errors.New("another process works on this import")

// SaveRun stores an import's row, or replaces it.
func (b *Bulk) SaveRun(ctx context.Context, run models.ImportRun) error {
	return b.s.write(ctx, "save import", func(_ context.Context, db *gorm.DB) error {
		return db.Clauses(clause.OnConflict{UpdateAll: true}).Create(&run).Error
	})
}

// ImportRuns returns all imports, the newest first.
func (b *Bulk) ImportRuns(ctx context.Context) ([]models.ImportRun, error) {
	const op = "list imports"
	db, err := b.s.reader(ctx)
	if err != nil {
		return nil, wrap(op, err)
	}
	var runs []models.ImportRun
	err = db.WithContext(ctx).Order("id DESC").Find(&runs).Error
	return runs, wrap(op, err)
}

// unfinished is the condition of imports that are under way, or were cut off.
const unfinished = "state IN ('" + string(models.ImportRunning) + "', '" + string(models.ImportRollingBack) + "')"

// UnfinishedImports returns the id, state and phase of the imports that are under way or being rolled back, or
// were cut off, the newest first.
func (b *Bulk) UnfinishedImports(ctx context.Context) ([]models.ImportRun, error) {
	const op = "list unfinished imports"
	db, err := b.s.reader(ctx)
	if err != nil {
		return nil, wrap(op, err)
	}
	var runs []models.ImportRun
	err = db.WithContext(ctx).Select("id", "state", "phase").Where(unfinished).Order("id DESC").Find(&runs).Error
	return runs, wrap(op, err)
}

// ImportRun returns one import; an unknown one is ErrNotFound.
func (b *Bulk) ImportRun(ctx context.Context, id string) (models.ImportRun, error) {
	const op = "get import"
	var run models.ImportRun
	db, err := b.s.reader(ctx)
	if err != nil {
		return run, wrap(op, err)
	}
	if err := db.WithContext(ctx).Where("id = ?", id).Take(&run).Error; err != nil {
		return run, wrap(op, named(err, "import", id))
	}
	return run, nil
}

// OwnRun locks an import's row for the transaction that ctx carries, and returns ErrTaken when owner
// is no longer the one that works on it.
func (b *Bulk) OwnRun(ctx context.Context, id, owner string) error {
	const op = "own import"
	db, err := b.s.reader(ctx)
	if err != nil {
		return wrap(op, err)
	}
	have, err := engine.One(ctx, db, engine.Value[string], "SELECT owner FROM talkbase_import_runs WHERE id = ?"+b.s.eng().LockSuffix(), id)
	if err == nil && have != owner {
		err = ErrTaken
	}
	if err != nil {
		return wrap(op, named(err, "import", id))
	}
	return nil
}

// SaveSource stores a legacy file of an import with its checkpoint, or replaces it.
func (b *Bulk) SaveSource(ctx context.Context, src models.ImportSource) error {
	return b.s.write(ctx, "save import source", func(_ context.Context, db *gorm.DB) error {
		return db.Clauses(clause.OnConflict{UpdateAll: true}).Create(&src).Error
	})
}

// SaveProgress stores the checkpoint of a legacy file.
func (b *Bulk) SaveProgress(ctx context.Context, run string, position int64, progress models.JSON) error {
	return b.s.write(ctx, "save import progress", func(ctx context.Context, db *gorm.DB) error {
		_, err := engine.Exec(ctx, db, "UPDATE talkbase_import_sources SET progress = ? WHERE run_id = ? AND position = ?", progress.String(), run, position)
		return err
	})
}

// ImportSources returns the legacy files of an import in their order.
func (b *Bulk) ImportSources(ctx context.Context, run string) ([]models.ImportSource, error) {
	const op = "list import sources"
	db, err := b.s.reader(ctx)
	if err != nil {
		return nil, wrap(op, err)
	}
	var out []models.ImportSource
	err = db.WithContext(ctx).Where("run_id = ?", run).Order("position").Find(&out).Error
	return out, wrap(op, err)
}

// AppendBatch adds to an import's journal. A number that the journal has already is ErrTaken: another
// process has written it.
func (b *Bulk) AppendBatch(ctx context.Context, batch models.ImportBatch) error {
	return b.s.write(ctx, "append to import journal", func(ctx context.Context, db *gorm.DB) error {
		_, err := engine.Exec(ctx, db, "INSERT INTO talkbase_import_batches (run_id, seq, table_name, merged, keys, hashes, replaced) VALUES (?, ?, ?, ?, ?, ?, ?)",
			batch.RunID, batch.Seq, batch.Table, flag(batch.Merged), blob(batch.Keys), blob(batch.Hashes), blob(batch.Replaced))
		if errors.Is(err, ErrConflict) {
			err = fmt.Errorf("%w: batch %d of its journal is there already", ErrTaken, batch.Seq) // no fault of the rows
		}
		return err
	})
}

// blob is b, never NULL.
func blob(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// ImportBatches returns up to limit batches of an import's journal after one, ascending, or, when
// backward, before one, descending.
func (b *Bulk) ImportBatches(ctx context.Context, run string, from int64, backward bool, limit int) ([]models.ImportBatch, error) {
	const op = "read import journal"
	db, err := b.s.reader(ctx)
	if err != nil {
		return nil, wrap(op, err)
	}
	tail := "seq > ? ORDER BY seq LIMIT ?"
	if backward {
		tail = "seq < ? ORDER BY seq DESC LIMIT ?"
	}
	out, err := engine.Collect(ctx, db, func(s engine.Scanner, v *models.ImportBatch) error {
		return s.Scan(&v.RunID, &v.Seq, &v.Table, &v.Merged, &v.Keys, &v.Hashes, &v.Replaced)
	}, "SELECT run_id, seq, table_name, merged, keys, hashes, replaced FROM talkbase_import_batches WHERE run_id = ? AND "+tail, run, from, limit)
	return out, wrap(op, err)
}

// DeleteBatch takes a batch out of an import's journal.
func (b *Bulk) DeleteBatch(ctx context.Context, run string, seq int64) error {
	return b.s.write(ctx, "delete from import journal", func(ctx context.Context, db *gorm.DB) error {
		_, err := engine.Exec(ctx, db, "DELETE FROM talkbase_import_batches WHERE run_id = ? AND seq = ?", run, seq)
		return err
	})
}

// MarkImported moves the marks of all tables to where the tables end: changes to rows up to there
// are noted from now on.
func (b *Bulk) MarkImported(ctx context.Context) error {
	return b.s.write(ctx, "mark imported rows", func(ctx context.Context, db *gorm.DB) error {
		for _, table := range engine.Tables() {
			last := "0"
			switch k := keysOf[table]; {
			case table == "knowledge_vectors" && b.s.eng().Vectors() != nil:
				continue
			case k.number != "":
				last = "coalesce((SELECT max(" + k.number + ") FROM " + table + "), 0)"
			}
			_, err := engine.Exec(ctx, db, "INSERT INTO talkbase_import_marks (table_name, last_id) SELECT ?, "+last+
				" WHERE 1 = 1 ON CONFLICT (table_name) DO UPDATE SET last_id = excluded.last_id", table)
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// EditedSince returns those of the rows of a table that talkbase itself changed or deleted after they
// were imported, with the time in milliseconds since the Unix epoch.
func (b *Bulk) EditedSince(ctx context.Context, table string, keys []string) (map[string]int64, error) {
	const op = "read edits"
	db, err := b.s.reader(ctx)
	if err != nil {
		return nil, wrap(op, err)
	}
	out := map[string]int64{}
	if len(keys) == 0 {
		return out, nil
	}
	where, list, err := b.s.eng().AnyOf("row_key", keys)
	if err != nil {
		return nil, wrap(op, err)
	}
	type edit struct {
		key string
		at  int64
	}
	err = engine.Each(ctx, db, func(s engine.Scanner, e *edit) error { return s.Scan(&e.key, &e.at) },
		func(e *edit) bool {
			out[e.key] = e.at
			return true
		},
		"SELECT row_key, edited_at FROM talkbase_import_edits WHERE table_name = ? AND "+where, table, list)
	return out, wrap(op, err)
}

// NoteEdits notes that talkbase is about to change the rows of a table with these keys, or, when gone, to
// delete them with all that belongs to them.
func (b *Bulk) NoteEdits(ctx context.Context, table string, keys []string, gone bool) error {
	if len(keys) == 0 {
		return nil
	}
	return b.s.write(ctx, "note edits", func(ctx context.Context, db *gorm.DB) error {
		where, list, err := b.s.eng().AnyOf(keysOf[table].key, keys)
		if err != nil {
			return err
		}
		return b.s.noteTree(ctx, db, table, where, []any{list}, noting{tree: gone, all: true})
	})
}

// ForgetEdits forgets what was noted of rows of a table.
func (b *Bulk) ForgetEdits(ctx context.Context, table string, keys []string) error {
	if len(keys) == 0 {
		return nil
	}
	return b.s.write(ctx, "forget edits", func(ctx context.Context, db *gorm.DB) error {
		there, err := engine.One(ctx, db, engine.Value[int64], "SELECT count(*) FROM (SELECT 1 FROM talkbase_import_edits LIMIT 1) e")
		if err != nil || there == 0 {
			return err
		}
		where, list, err := b.s.eng().AnyOf("row_key", keys)
		if err != nil {
			return err
		}
		_, err = engine.Exec(ctx, db, "DELETE FROM talkbase_import_edits WHERE table_name = ? AND "+where, table, list)
		return err
	})
}

// DeleteImported deletes rows of a table by their keys. What was noted of them stays.
func (b *Bulk) DeleteImported(ctx context.Context, table string, keys []string) (n int64, err error) {
	if len(keys) == 0 {
		return 0, nil
	}
	err = b.s.write(ctx, "delete imported rows", func(ctx context.Context, db *gorm.DB) error {
		where, list, err := b.s.eng().AnyOf(keysOf[table].key, keys)
		if err != nil {
			return err
		}
		n, err = engine.Exec(ctx, db, "DELETE FROM "+table+" WHERE "+where, list)
		return err
	})
	return n, err
}

// Dependent is a row that belongs to another, and would be deleted with it.
type Dependent struct{ Table, Key, Parent string }

// Dependents calls f for every row that belongs to one of the rows with these keys.
func (b *Bulk) Dependents(ctx context.Context, table string, keys []string, f func(Dependent) error) error {
	const op = "read dependent rows"
	db, err := b.s.reader(ctx)
	if err != nil {
		return wrap(op, err)
	}
	if len(keys) == 0 {
		return nil
	}
	for _, c := range keysOf[table].children {
		if c.table == "knowledge_vectors" && b.s.eng().Vectors() != nil {
			continue
		}
		where, list, err := b.s.eng().AnyOf(c.column, keys)
		if err != nil {
			return wrap(op, err)
		}
		var failed error
		err = engine.Each(ctx, db, func(s engine.Scanner, d *Dependent) error {
			d.Table = c.table
			return s.Scan(&d.Key, &d.Parent)
		}, func(d *Dependent) bool {
			failed = f(*d)
			return failed == nil
		}, "SELECT "+keysOf[c.table].key+", "+c.column+" FROM "+c.table+" WHERE "+where, list)
		if err = cmp.Or(err, failed); err != nil {
			return wrap(op, err)
		}
	}
	return nil
}

// CountRows counts the rows of a table that holds a host's rows; without vectors there are none of those.
func (b *Bulk) CountRows(ctx context.Context, table string) (int64, error) {
	const op = "count rows"
	if table == "knowledge_vectors" && b.s.eng().Vectors() != nil {
		return 0, nil
	}
	if _, ok := keysOf[table]; !ok {
		return 0, wrap(op, engine.Invalidf("no table %.60q", table))
	}
	db, err := b.s.reader(ctx)
	if err != nil {
		return 0, wrap(op, err)
	}
	n, err := engine.One(ctx, db, engine.Value[int64], "SELECT count(*) FROM "+table)
	return n, wrap(op, err)
}

// IsEmpty reports whether the database holds no conversation and no knowledge base.
func (b *Bulk) IsEmpty(ctx context.Context) (bool, error) {
	const op = "is empty"
	db, err := b.s.reader(ctx)
	if err != nil {
		return false, wrap(op, err)
	}
	n, err := engine.One(ctx, db, engine.Value[int64], "SELECT (SELECT count(*) FROM (SELECT 1 FROM conversations LIMIT 1) a) + (SELECT count(*) FROM (SELECT 1 FROM knowledge_bases LIMIT 1) b)")
	return n == 0, wrap(op, err)
}

// BrokenReferences describes rows that name a parent which does not exist, at most limit of each kind.
// The database keeps such rows out; only damage, or a program that turned foreign keys off, makes them.
func (b *Bulk) BrokenReferences(ctx context.Context, limit int) ([]string, error) {
	const op = "check references"
	db, err := b.s.reader(ctx)
	if err != nil {
		return nil, wrap(op, err)
	}
	var out []string
	for _, parent := range engine.Tables() {
		for _, c := range keysOf[parent].children {
			if c.table == "knowledge_vectors" && b.s.eng().Vectors() != nil {
				continue
			}
			key := keysOf[parent].key
			rows, err := engine.Collect(ctx, db, engine.Value[string], "SELECT c."+keysOf[c.table].key+" FROM "+c.table+" c LEFT JOIN "+parent+" p ON p."+key+" = c."+c.column+
				" WHERE p."+key+" IS NULL LIMIT ?", limit)
			if err != nil {
				return nil, wrap(op, err)
			}
			for _, id := range rows {
				out = append(out, fmt.Sprintf("%s %q names a row of %s that does not exist", c.table, id, parent))
			}
		}
	}
	return out, nil
}
