package migration

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
)

// fromStart comes before every row: a rowid can be negative.
const fromStart = math.MinInt64

// stream carries one table of a file into one table of the target.
type stream[T any] struct {
	job    *job
	source SourceTable
	// target is the table's name there.
	target string
	// prepare transforms a page of rows; it asks the source, not the target.
	prepare func(ctx context.Context, rows []SourceRow) ([]transformed[T], error)
	// existing looks up rows of the target by key.
	existing func(ctx context.Context, ids []string) (map[string]T, error)
	// same compares what is there with what is to be written.
	same func(have, want *T) bool
	// link checks, inside the batch, what rows that are not there refer to, and sets the
	// reject of those that cannot be placed. It may be nil.
	link func(ctx context.Context, rows []*transformed[T]) error
	// begin is called before each attempt at a batch; it may be nil.
	begin func()
	// insert stores rows.
	insert func(ctx context.Context, rows []T) error
	// done is told of a batch after it is stored; it may be nil.
	done func(ctx context.Context, rows []settled[T]) error
}

// verdict is what became of a row.
type verdict int

const (
	written verdict = iota
	merged
	rejected
)

// settled is a row with what became of it.
type settled[T any] struct {
	transformed[T]
	verdict verdict
}

// run streams the table. It adds to the counts only what is stored.
func (s *stream[T]) run(ctx context.Context) error {
	opts := s.job.opts
	var page []SourceRow
	var bytes int
	var read int64
	flush := func() error {
		if len(page) == 0 {
			return nil
		}
		rows, err := s.prepare(ctx, page)
		if err != nil {
			return err
		}
		if err := s.store(ctx, rows); err != nil {
			return err
		}
		read += int64(len(page))
		clear(page)
		page, bytes = page[:0], 0
		if opts.Progress != nil {
			opts.Progress(Progress{Source: s.job.report.Path, Table: s.target, Done: read, Total: s.source.Rows})
		}
		return nil
	}
	s.job.report.Table(s.target)
	for row, err := range s.job.src.Rows(ctx, s.source.Name, fromStart) {
		if err != nil {
			return err
		}
		page = append(page, row)
		bytes += rowSize(row)
		if len(page) < opts.BatchRows && bytes < opts.BatchBytes {
			continue
		}
		if err := flush(); err != nil {
			return err
		}
	}
	if err := flush(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if read < s.source.Rows {
		return s.job.short(s.source, read)
	}
	return nil
}

// store writes rows in one transaction. When the target refuses some of them it goes on with
// halves, until those at fault stand alone and are rejected.
func (s *stream[T]) store(ctx context.Context, rows []transformed[T]) error {
	var out []settled[T]
	err := s.job.target.Batch(ctx, func(ctx context.Context) (err error) {
		out, err = s.attempt(ctx, rows)
		return err
	})
	switch {
	case err == nil:
		return s.account(ctx, out)
	case ctx.Err() != nil || !s.job.target.Refused(err):
		return &targetError{fmt.Errorf("migration: %s: writing %s: %w", s.job.report.Path, s.target, err)}
	case len(rows) == 1:
		if s.begin != nil {
			s.begin()
		}
		r := rows[0]
		r.reject, r.detail = ReasonRefused, err.Error()
		return s.account(ctx, []settled[T]{{transformed: r, verdict: rejected}})
	}
	half := len(rows) / 2
	if err := s.store(ctx, rows[:half]); err != nil {
		return err
	}
	return s.store(ctx, rows[half:])
}

// attempt decides about each row and writes the new ones, in the batch's transaction. It leaves
// rows as they are, so that it can run again.
func (s *stream[T]) attempt(ctx context.Context, rows []transformed[T]) ([]settled[T], error) {
	if s.begin != nil {
		s.begin()
	}
	out := make([]settled[T], len(rows))
	ids := make([]string, 0, len(rows))
	for i, r := range rows {
		r.notes = slices.Clip(r.notes)
		out[i] = settled[T]{transformed: r}
		if r.reject == "" {
			ids = append(ids, r.key)
		}
	}
	have := map[string]T{}
	if len(ids) > 0 {
		slices.Sort(ids)
		found, err := s.existing(ctx, slices.Compact(ids))
		if err != nil {
			return nil, err
		}
		maps.Copy(have, found)
	}
	var fresh []*transformed[T]
	for i := range out {
		if _, there := have[out[i].key]; out[i].reject == "" && !there {
			fresh = append(fresh, &out[i].transformed)
		}
	}
	if s.link != nil && len(fresh) > 0 {
		if err := s.link(ctx, fresh); err != nil {
			return nil, err
		}
	}
	var insert []T
	for i := range out {
		o := &out[i]
		if o.reject != "" {
			o.verdict = rejected
			continue
		}
		if there, ok := have[o.key]; ok {
			if o.verdict = merged; !s.same(&there, &o.row) {
				o.verdict, o.reject = rejected, ReasonConflict
			}
			continue
		}
		have[o.key] = o.row // a second row of the same id meets this one
		insert = append(insert, o.row)
	}
	if len(insert) == 0 {
		return out, nil
	}
	return out, s.insert(ctx, insert)
}

// account adds a stored batch to the report.
func (s *stream[T]) account(ctx context.Context, rows []settled[T]) error {
	counts := s.job.report.Table(s.target)
	for _, o := range rows {
		counts.Read++
		switch o.verdict {
		case merged:
			counts.Merged++
		case written:
			counts.Written++
			if o.notes.changed() {
				counts.Changed++
			}
			for _, r := range o.notes {
				counts.count(r)
			}
		case rejected:
			err := s.job.rejected(counts, Reject{
				Path: s.job.report.Path, Table: s.target, SourceTable: s.source.Name, RowID: o.src.RowID,
				ID: o.key, Reason: o.reject, Detail: o.detail, Columns: s.source.Columns, Values: o.src.Values,
			})
			if err != nil {
				return err
			}
		}
	}
	if s.done != nil {
		return s.done(ctx, rows)
	}
	return nil
}
