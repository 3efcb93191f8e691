package migration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/talkbase/talkbase/models"
	"github.com/talkbase/talkbase/repo"
)

// RollbackOptions says how Rollback works.
type RollbackOptions struct {
	// Force takes rows out although they were edited since, and what was added to them with them.
	Force bool
	// Progress is called after each batch.
	Progress func(Progress)
}

// RollbackReport says what a rollback did, or why it did not.
type RollbackReport struct {
	Run string `json:"run"`
	// Deleted and Restored count rows by table.
	Deleted  map[string]int64 `json:"deleted"`
	Restored map[string]int64 `json:"restored,omitempty"`
	// Edited lists rows that were edited, added to imported ones, or replaced and deleted since: up to 20
	// of each kind in each table. Imported rows that were deleted since are no obstacle.
	Edited []Finding `json:"edited,omitempty"`
	// Lost counts the edits that a forced rollback took out.
	Lost int64 `json:"lost,omitempty"`
}

// rollback is one Rollback under way.
type rollback struct {
	target Target
	row    models.ImportRun
	opts   RollbackOptions
	report *RollbackReport
	counts map[Finding]int64
	// others says that there is another run, which may list rows that this one takes out or puts back.
	others bool
}

// Rollback takes out every row that a run wrote and puts back those it replaced, so that the
// target holds what it held before. Rows that were there before, whoever wrote them, stay. Where
// imported rows were edited since, others were added to them, or replaced ones were deleted, nothing is
// changed and the error wraps ErrEdited, unless Force is set; the report lists them. One that was cut off goes on when it is
// called again. A run that was cut off can be rolled back as well. An unknown run is repo.ErrNotFound,
// one that was rolled back ErrRolledBack. The error is a *MigrationError.
func Rollback(ctx context.Context, target Target, run string, opts RollbackOptions) (*RollbackReport, error) {
	r := &rollback{
		target: target, opts: opts, counts: map[Finding]int64{},
		report: &RollbackReport{Run: run, Deleted: map[string]int64{}, Restored: map[string]int64{}},
	}
	err := full(r.run(ctx, run))
	if err == nil {
		return r.report, nil
	}
	return r.report, &MigrationError{Run: run, Phase: PhaseRollback, Recoverable: r.row.State == models.ImportRollingBack && !errors.Is(err, repo.ErrTaken), Err: err}
}

func (r *rollback) run(ctx context.Context, run string) error {
	var err error
	if r.row, err = r.target.ImportRun(ctx, run); err != nil {
		return err
	}
	if r.row.State == models.ImportRolledBack {
		return fmt.Errorf("migration: run %s: %w", run, ErrRolledBack)
	}
	if r.row.State != models.ImportRollingBack {
		if err := r.check(ctx); err != nil {
			return err
		}
	}
	runs, err := r.target.ImportRuns(ctx)
	if err != nil {
		return err
	}
	r.others = slices.ContainsFunc(runs, func(o models.ImportRun) bool { return o.ID != run && o.State != models.ImportRolledBack })
	r.row, err = takeUp(ctx, r.target, r.row, func(row *models.ImportRun) {
		row.State, row.Phase = models.ImportRollingBack, string(PhaseRollback)
	}, func(context.Context) error { return nil })
	if err != nil {
		return err
	}
	if err := r.indexes(ctx); err != nil {
		return err
	}
	if err := r.undo(ctx); err != nil {
		return err
	}
	row := r.row
	row.State, row.FinishedAt = models.ImportRolledBack, time.Now().UnixMilli()
	return r.save(ctx, row)
}

// save stores the run's row.
func (r *rollback) save(ctx context.Context, row models.ImportRun) error {
	err := r.target.Batch(ctx, func(ctx context.Context) error {
		if err := r.target.OwnRun(ctx, r.row.ID, r.row.Owner); err != nil {
			return err
		}
		return r.target.SaveRun(ctx, row)
	})
	if err == nil {
		r.row = row
	}
	return err
}

func (r *rollback) tell(p Progress) {
	if r.opts.Progress != nil {
		p.Run, p.Phase = r.row.ID, PhaseRollback
		r.opts.Progress(p)
	}
}

// indexes makes the indexes that a run which was cut off left out: deleting needs them.
func (r *rollback) indexes(ctx context.Context) error {
	var later putOff
	if err := json.Unmarshal(r.row.Progress, &later); err != nil {
		return fmt.Errorf("migration: the progress of run %s: %w", r.row.ID, err)
	}
	m := makeUp{target: r.target, row: r.row, later: &later, tell: r.tell}
	if err := m.restore(ctx, false); err != nil {
		return err
	}
	return m.restore(ctx, true)
}

// check finds out whether anything was edited since.
func (r *rollback) check(ctx context.Context) error {
	keys, err := newKeySet(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = keys.close() }()
	later := &replacements{target: r.target, run: r.row.ID}
	defer func() { _ = later.close() }()
	err = eachBatch(ctx, r.target, r.row.ID, false, func(b models.ImportBatch, entries []entry) error {
		if b.Merged {
			return nil
		}
		ids := keysOfEntries(entries)
		if err := keys.add(ctx, b.Table, ids, 0); err != nil {
			return err
		}
		rows, err := rowsOf[b.Table].read(ctx, r.target, ids)
		if err != nil {
			return err
		}
		var differ []string
		for _, e := range entries {
			if row, ok := rows[e.key]; ok && !row.is(e) && !row.moved(e) {
				differ = append(differ, e.key)
			}
		}
		if err := r.differ(ctx, later, b, differ); err != nil {
			return err
		}
		before, err := replacedKeys(b)
		if err != nil {
			return err
		}
		for _, key := range before {
			if _, ok := rows[key]; !ok {
				r.edited(Finding{Kind: FindingMissing, Table: b.Table, ID: key, Detail: "the import replaced it, and it was deleted since"})
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	err = eachBatch(ctx, r.target, r.row.ID, false, func(b models.ImportBatch, entries []entry) error {
		if b.Merged || len(b.Replaced) > 0 {
			return nil
		}
		return keys.strangers(ctx, r.target, b.Table, keysOfEntries(entries), func(d repo.Dependent) error {
			r.edited(Finding{Kind: FindingExtra, Table: d.Table, ID: d.Key, Detail: "it belongs to " + d.Parent + " and was not imported with it"})
			return nil
		})
	})
	if err != nil {
		return err
	}
	if len(r.report.Edited) > 0 && !r.opts.Force {
		var n int64
		for _, c := range r.counts {
			n += c
		}
		first := r.report.Edited[0]
		return fmt.Errorf("migration: %w: %d rows, such as %s %s; force the rollback to lose these edits", ErrEdited, n, first.Table, first.ID)
	}
	return nil
}

// differ reports rows that are not what a batch made of them, apart from those that another batch of the
// run replaced, which is rolled back before this one.
func (r *rollback) differ(ctx context.Context, later *replacements, b models.ImportBatch, keys []string) error {
	if len(keys) == 0 {
		return nil
	}
	replaced, err := later.of(ctx, b.Table, keys)
	if err != nil {
		return err
	}
	for _, key := range keys {
		switch n, ok := replaced[key]; {
		case ok && n == byLaterRun:
			r.edited(Finding{Kind: FindingReplaced, Table: b.Table, ID: key, Detail: "a later import replaced it"})
		case !ok || n <= b.Seq:
			r.edited(Finding{Kind: FindingDiffers, Table: b.Table, ID: key, Detail: "it is not what was imported"})
		}
	}
	return nil
}

func (r *rollback) edited(f Finding) {
	kind := Finding{Kind: f.Kind, Table: f.Table}
	if r.counts[kind]++; r.counts[kind] <= maxFindings {
		r.report.Edited = append(r.report.Edited, f)
	}
	if r.opts.Force {
		r.report.Lost++
	}
}

// undo takes the journal's batches back, the last first, each in a transaction of its own together
// with its place in the journal.
func (r *rollback) undo(ctx context.Context) error {
	var done int64
	return eachBatch(ctx, r.target, r.row.ID, true, func(b models.ImportBatch, entries []entry) error {
		var deleted, restored int64
		err := r.target.Batch(ctx, func(ctx context.Context) error {
			deleted, restored = 0, 0
			if err := r.target.OwnRun(ctx, r.row.ID, r.row.Owner); err != nil {
				return err
			}
			if !b.Merged {
				var err error
				if deleted, restored, err = r.batch(ctx, b, entries); err != nil {
					return err
				}
			}
			return r.target.DeleteBatch(ctx, r.row.ID, b.Seq)
		})
		if err != nil {
			return fmt.Errorf("migration: rolling back %s: %w", b.Table, err)
		}
		if deleted > 0 {
			r.report.Deleted[b.Table] += deleted
		}
		if restored > 0 {
			r.report.Restored[b.Table] += restored
		}
		done += int64(len(entries))
		r.tell(Progress{Table: b.Table, Done: done})
		return nil
	})
}

// replacedKeys are the ids of the rows that a batch replaced.
func replacedKeys(b models.ImportBatch) ([]string, error) {
	if len(b.Replaced) == 0 {
		return nil, nil
	}
	return rowsOf[b.Table].keys(b.Replaced)
}

// batch takes back what one batch did. A row that it replaced and somebody deleted since stays
// deleted.
func (r *rollback) batch(ctx context.Context, b models.ImportBatch, entries []entry) (deleted, restored int64, err error) {
	keys := keysOfEntries(entries)
	before, err := replacedKeys(b)
	if err != nil {
		return 0, 0, err
	}
	if len(before) > 0 {
		there, err := rowsOf[b.Table].read(ctx, r.target, before)
		if err != nil {
			return 0, 0, err
		}
		if err := r.note(ctx, b.Table, before, false); err != nil {
			return 0, 0, err
		}
		if err := rowsOf[b.Table].restore(ctx, r.target, b.Replaced, there); err != nil {
			return 0, 0, err
		}
		keys = slices.DeleteFunc(keys, func(k string) bool { return slices.Contains(before, k) })
		restored = int64(len(there))
	}
	if err := r.note(ctx, b.Table, keys, true); err != nil {
		return 0, 0, err
	}
	deleted, err = r.target.DeleteImported(ctx, b.Table, keys)
	return deleted, restored, err
}

// note has the verification of other runs told of what becomes of rows.
func (r *rollback) note(ctx context.Context, table string, keys []string, gone bool) error {
	if r.others {
		return r.target.NoteEdits(ctx, table, keys, gone)
	}
	return r.target.ForgetEdits(ctx, table, keys)
}
