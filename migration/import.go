package migration

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/uuid"
)

// Defaults of ImportOptions.
const (
	// DefaultBatchRows is how many rows go into one transaction.
	DefaultBatchRows = 1000
	// DefaultBatchBytes is how many bytes of rows go into one transaction.
	DefaultBatchBytes = 8 << 20
)

// ImportOptions says what to import and how.
type ImportOptions struct {
	// Paths are DeepChat user-data folders, chat.db files and knowledge files, in any mix; see
	// Discover.
	Paths []string
	// BatchRows bounds the rows of one transaction; 0 is DefaultBatchRows.
	BatchRows int
	// BatchBytes bounds the bytes of the rows of one transaction; 0 is DefaultBatchBytes. A row
	// that is larger makes a batch of its own.
	BatchBytes int
	// MarkPendingAsError marks answers that were interrupted as errors, as DeepChat does when it
	// starts. By default they stay pending.
	MarkPendingAsError bool
	// RecoverOrphans makes a conversation named 'Recovered' for each conversation that is gone
	// while its messages are still there. By default such messages are rejected.
	RecoverOrphans bool
	// WorkDir is where private copies of the files are made, "" for the system's temporary folder.
	// It needs as much space as the largest of them. The copies are removed.
	WorkDir string
	// Progress is called after each batch, from the goroutine that called Import.
	Progress func(Progress)
	// OnReject is called for each rejected row, with the whole row, after its batch is stored. An
	// error ends the import.
	OnReject func(Reject) error
}

func (o ImportOptions) withDefaults() ImportOptions {
	if o.BatchRows <= 0 {
		o.BatchRows = DefaultBatchRows
	}
	if o.BatchBytes <= 0 {
		o.BatchBytes = DefaultBatchBytes
	}
	return o
}

// Import copies the legacy files at the given paths into target and reports what became of every
// row.
//
// Rows are streamed, so that memory stays bounded whatever the size of the files; each batch is one
// transaction, parents before children. The files and their folders are only read. Importing again
// changes nothing: rows that are there with the same content count as merged. A row whose id the
// target holds with other content is rejected as a conflict, and the target's stays.
//
// A file that fails (ErrSourceDamaged, ErrSourceLocked, ErrNotLegacy …) ends with what was read
// so far stored; the other files are still imported. The error then joins those of all files, and the
// report is returned with it. When the target fails or ctx ends, the import ends. A kind of file
// without a reader is ErrNoReader before anything is written.
func Import(ctx context.Context, target Target, opts ImportOptions) (*ImportReport, error) {
	opts = opts.withDefaults()
	run, err := uuid.NewV7()
	if err != nil {
		return nil, fmt.Errorf("migration: %w", err)
	}
	report := &ImportReport{Run: run.String(), Sources: []*SourceReport{}}
	found, err := Discover(ctx, opts.Paths...)
	if err != nil {
		return report, err
	}
	report.Warnings = found.Warnings
	for _, f := range found.Sources {
		if _, err := reader(f.Kind, f.Path); err != nil {
			return report, err
		}
	}
	work, err := os.MkdirTemp(opts.WorkDir, "talkbase-import-")
	if err != nil {
		return report, fmt.Errorf("migration: a private folder for the copies: %w", err)
	}
	defer func() { _ = os.RemoveAll(work) }()
	i := &importer{target: target, opts: opts, report: report}
	var errs []error
	for n, f := range found.Sources {
		sr := &SourceReport{Path: f.Path, Kind: f.Kind, Tables: []*TableReport{}}
		report.Sources = append(report.Sources, sr)
		err := i.source(ctx, f, sr, filepath.Join(work, fmt.Sprint(n)))
		if err == nil {
			continue
		}
		sr.Error = err.Error()
		errs = append(errs, err)
		var fatal *targetError
		if ctx.Err() != nil || errors.As(err, &fatal) {
			break
		}
	}
	report.OK = len(errs) == 0
	return report, errors.Join(errs...)
}

// reader returns the OpenFunc of a kind of file.
func reader(kind Kind, path string) (OpenFunc, error) {
	readersMu.RLock()
	defer readersMu.RUnlock()
	if open := readers[kind]; open != nil {
		return open, nil
	}
	return nil, fmt.Errorf(`migration: %s: %w: add import _ "github.com/talkbase/talkbase/migration/%s"`, path, ErrNoReader, kind)
}

// targetError marks an error that is not the source's, so that going on with another source would
// be no use.
type targetError struct{ err error }

func (e *targetError) Error() string { return e.err.Error() }
func (e *targetError) Unwrap() error { return e.err }

// importer is one run of Import.
type importer struct {
	target Target
	opts   ImportOptions
	report *ImportReport
}

func (i *importer) warn(format string, args ...any) {
	i.report.Warnings = append(i.report.Warnings, fmt.Sprintf(format, args...))
}

// source imports one file.
func (i *importer) source(ctx context.Context, f Found, sr *SourceReport, dir string) (err error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("migration: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	open, err := reader(f.Kind, f.Path)
	if err != nil {
		return err
	}
	src, err := open(ctx, f.Path, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	return i.opened(ctx, src, f, sr, dir)
}

// opened imports a source; dir is a private folder.
func (i *importer) opened(ctx context.Context, src Source, f Found, sr *SourceReport, dir string) (err error) {
	list, err := src.Tables(ctx)
	if err != nil {
		return err
	}
	tables := map[string]SourceTable{}
	for _, t := range list {
		tables[t.Name] = t
	}
	j := job{importer: i, src: src, report: sr, tables: tables, list: list}
	switch f.Kind {
	case KindSQLite:
		chat, ok := src.(*sqliteSource)
		if !ok {
			return fmt.Errorf("migration: %s: %w: its reader does not index it", f.Path, ErrNoReader)
		}
		index, err := chat.index(ctx)
		if err != nil {
			return err
		}
		return (&chatJob{job: j, index: index}).run(ctx)
	case KindDuckDB:
		k := &knowledgeJob{job: j, found: f}
		defer func() { err = errors.Join(err, k.close()) }()
		return k.run(ctx, dir)
	default:
		return fmt.Errorf("migration: %s: %w: kind %q", f.Path, ErrNotLegacy, f.Kind)
	}
}

// job is the import of one file.
type job struct {
	*importer
	src    Source
	report *SourceReport
	tables map[string]SourceTable
	list   []SourceTable
}

// placeless counts the rows of tables that have no place in the target as rejected, apart from
// those named, which are the importer's own business or the old program's bookkeeping.
func (j *job) placeless(ctx context.Context, known ...string) error {
	set := newColumnSet(known)
	for _, t := range j.list {
		if _, ok := set[t.Name]; ok || t.Rows == 0 {
			continue
		}
		counts := j.report.Table(t.Name)
		columns := newColumnSet(t.Columns)
		var read int64
		for row, err := range j.src.Rows(ctx, t.Name, fromStart) {
			if err != nil {
				return err
			}
			read++
			id := ""
			if at, ok := columns["id"]; ok {
				id = plainID(row.Values[at])
			}
			r := Reject{Path: j.report.Path, Table: t.Name, SourceTable: t.Name, RowID: row.RowID, ID: id, Reason: ReasonNoPlace, Columns: t.Columns, Values: row.Values}
			counts.Read++
			if err := j.rejected(counts, r); err != nil {
				return err
			}
		}
		if read < t.Rows {
			return j.short(t, read)
		}
	}
	return nil
}

// rejected counts a rejected row, lists it and hands it on.
func (j *job) rejected(counts *TableReport, r Reject) error {
	counts.Rejected++
	counts.count(r.Reason)
	j.importer.report.reject(r)
	if j.opts.OnReject == nil {
		return nil
	}
	if err := j.opts.OnReject(r); err != nil {
		return &targetError{fmt.Errorf("migration: the rejected row %d of %s: %w", r.RowID, r.SourceTable, err)}
	}
	return nil
}

// short is the error for a table that gave fewer rows than it says it has.
func (j *job) short(t SourceTable, read int64) error {
	return fmt.Errorf("migration: %s: %w: table %s has %d rows and only %d could be read; what could be read is stored",
		j.report.Path, ErrSourceDamaged, t.Name, t.Rows, read)
}
