package migration

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"

	"github.com/talkbase/talkbase/models"
)

// rejectsName is the reject file's name in a run's backup.
const rejectsName = "rejects.jsonl"

// targetError marks an error that is not the source's, so that going on with another source would
// be no use.
type targetError struct{ err error }

func (e *targetError) Error() string { return e.err.Error() }
func (e *targetError) Unwrap() error { return e.err }

// job is the import of one file.
type job struct {
	*importer
	src      Source
	report   *SourceReport
	tables   map[string]SourceTable
	list     []SourceTable
	position int64
	// state is the checkpoint as it is stored.
	state sourceProgress
}

// sync shows the stored counts in the report.
func (j *job) sync() {
	j.report.Tables = j.state.Counts
	j.sources[j.position].state = j.state
	for _, t := range j.state.Counts {
		if t.Written > 0 || t.Made > 0 {
			j.importer.report.RollbackPossible = true
		}
	}
}

func (j *job) progress(table string, done, total int64) {
	j.tell(Progress{Source: j.report.Path, Table: table, Done: done, Total: total})
}

// weight is what a page of so many bytes takes of the memory limit: as it is read, and as it is written.
func (j *job) weight(bytes int64) int64 { return 2*bytes + 1 }

// journal lists, in the batch's transaction, the rows of a table that it wrote, the rows it found
// there, and, as they were, those that it replaced.
func (j *job) journal(ctx context.Context, table string, wrote, found []entry, replaced any) error {
	for _, part := range []struct {
		entries []entry
		merged  bool
	}{{wrote, false}, {found, true}} {
		if len(part.entries) == 0 {
			continue
		}
		b := models.ImportBatch{RunID: j.row.ID, Seq: j.seq, Table: table, Merged: models.Flag(part.merged)}
		packEntries(&b, part.entries)
		if !part.merged && replaced != nil {
			before, err := json.Marshal(replaced)
			if err != nil {
				return err
			}
			if string(before) != "null" {
				b.Replaced = before
			}
		}
		if err := j.target.AppendBatch(ctx, b); err != nil {
			return err
		}
		j.seq++ // an attempt that is undone leaves a gap
	}
	return nil
}

// checkpoint stores how far the source has come, in the batch's transaction.
func (j *job) checkpoint(ctx context.Context, next sourceProgress) error {
	progress, err := next.json()
	if err != nil {
		return err
	}
	return j.target.SaveProgress(ctx, j.row.ID, j.position, progress)
}

// writeRejects writes rejected rows to the reject file, ahead of the commit of their batch, and returns
// the length the file then has. What a batch that is undone wrote is overwritten by the next.
func (j *job) writeRejects(rejects []Reject) (int64, error) {
	length := j.rejectsEnd()
	if j.rejects == nil || len(rejects) == 0 {
		return length, nil
	}
	return j.rejects.write(length, j.row.ID, rejects)
}

// rejectsEnd is the length of the reject file that the checkpoints know.
func (i *importer) rejectsEnd() (end int64) {
	for _, s := range i.sources {
		end = max(end, s.state.Rejects)
	}
	return end
}

// openRejects opens the reject file, cut to what the checkpoints know.
func (i *importer) openRejects() error {
	path := i.opts.RejectFile
	if path == "" && i.row.Backup != "" {
		path = filepath.Join(i.row.Backup, rejectsName)
	}
	if path == "" || i.opts.DryRun {
		return nil
	}
	log, err := openRejectLog(path, i.rejectsEnd(), i.recorded)
	if err != nil {
		return err
	}
	log.base = i.baseOf
	i.rejects, i.report.RejectFile = log, path
	i.closers = append(i.closers, log.close)
	return log.recent(func(r Reject) { i.report.reject(r) })
}

// baseOf is the knowledge base that a source holds, nil for another kind of source.
func (i *importer) baseOf(path string) *BaseConfig {
	for _, s := range i.sources {
		if s.found.Path == path {
			return s.found.Base
		}
	}
	return nil
}

// placeless counts the rows of tables that have no place in the target as rejected, apart from
// those named, which are the importer's own business or the old program's bookkeeping.
func (j *job) placeless(ctx context.Context, known ...string) error {
	set := newColumnSet(known)
	for _, t := range j.list {
		if _, ok := set[t.Name]; ok || t.Rows == 0 {
			continue
		}
		columns := newColumnSet(t.Columns)
		s := stream[struct{}]{
			job: j, source: t, target: t.Name,
			prepare: func(_ context.Context, rows []SourceRow) ([]transformed[struct{}], error) {
				out := make([]transformed[struct{}], len(rows))
				for i, row := range rows {
					out[i] = transformed[struct{}]{src: row, reject: ReasonNoPlace}
					if at, ok := columns["id"]; ok {
						out[i].key = plainID(row.Values[at])
					}
				}
				return out, nil
			},
		}
		if err := s.run(ctx); err != nil {
			return err
		}
	}
	return nil
}

// short is the error for a table that gave fewer rows than it says it has.
func (j *job) short(t SourceTable, read int64) error {
	return fmt.Errorf("migration: %s: %w: table %s has %d rows and only %d could be read; what could be read is stored",
		j.report.Path, ErrSourceDamaged, t.Name, t.Rows, read)
}
