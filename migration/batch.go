package migration

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/talkbase/talkbase/memory"
	"github.com/talkbase/talkbase/models"
)

// fromStart comes before every row: a rowid can be negative.
const fromStart = math.MinInt64

// stream carries one table of a file into one table of the target.
type stream[T any] struct {
	job    *job
	source SourceTable
	// target is the table's name there.
	target string
	// canonical appends a row's canonical form.
	canonical func(row *T, b []byte) []byte
	// prepare transforms a page of rows. It asks the source, not the target, unless serial is set, and
	// runs while an earlier page is being stored.
	prepare func(ctx context.Context, rows []SourceRow) ([]transformed[T], error)
	serial  bool
	// again has rows that an earlier attempt at the import stored looked up, so that done is told of
	// them.
	again bool
	// existing looks up rows of the target by key. Without it every row is rejected by prepare.
	existing func(ctx context.Context, ids []string) (map[string]T, error)
	// same compares what is there with what is to be written.
	same func(have, want *T) bool
	// fits reports whether a row may overwrite the one that is there, and takes over what stays as it
	// is: a row is never moved to another parent.
	fits func(have, row *T) bool
	// link checks, inside the batch, what rows that are not there refer to, and sets the
	// reject of those that cannot be placed. It may be nil.
	link func(ctx context.Context, rows []*transformed[T]) error
	// begin is called before each attempt at a batch; it may be nil.
	begin func()
	// insert stores rows; replace overwrites rows that are there.
	insert  func(ctx context.Context, rows []T) error
	replace func(ctx context.Context, rows []T) error
	// made returns the conversations that the batch made for orphans; it may be nil.
	made func() []models.Conversation
	// entails changes, in the batch's transaction, what rows that were written entail in another table; it
	// may be nil.
	entails func(ctx context.Context, rows []settled[T], next *sourceProgress) error
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
	// there is the row of the target that was found under the key: the same, or one that was replaced.
	there *T
}

// transformable reports whether the row could be made into a row of the target, whatever became of
// it there.
func (o *settled[T]) transformable() bool { return o.hash != (rowHash{}) }

// page is a part of a table on its way to the target.
type page[T any] struct {
	rows []transformed[T]
	// stored says that an earlier attempt at the import stored it.
	stored bool
	bytes  int64
	room   *memory.Reservation
	err    error
}

// run streams the table from its checkpoint on. One goroutine reads and transforms while this one
// stores.
func (s *stream[T]) run(ctx context.Context) error {
	s.job.state.table(s.target)
	s.job.sync()
	if s.serial || s.job.opts.Width <= 1 {
		return s.finish(ctx, s.read(ctx, func(p page[T]) error {
			return s.job.memory.Do(ctx, s.job.weight(p.bytes), func(ctx context.Context) error { return s.take(ctx, p) })
		}))
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	pages := make(chan page[T], s.job.opts.Width-1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(pages)
		send := func(p page[T]) error {
			select {
			case pages <- p:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if err := s.read(ctx, func(p page[T]) (err error) {
			if p.room, err = s.job.memory.Acquire(ctx, s.job.weight(p.bytes)); err != nil {
				return err
			}
			if err = send(p); err != nil {
				p.room.Release()
			}
			return err
		}); err != nil {
			_ = send(page[T]{err: err})
		}
	}()
	var err error
	covered := s.job.memory.With(ctx) // what storing a page takes is part of what the page has set aside
	for p := range pages {
		if err == nil {
			if err = p.err; err == nil {
				err = s.take(covered, p)
			}
			if err != nil {
				cancel()
			}
		}
		p.room.Release()
	}
	<-done
	return s.finish(ctx, err)
}

// finish checks that the table gave as many rows as it says it has.
func (s *stream[T]) finish(ctx context.Context, err error) error {
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return err
	}
	if read := s.job.state.Tables[s.source.Name].Read; read < s.source.Rows {
		return s.job.short(s.source, read)
	}
	return nil
}

// take stores a page, or looks up one that is stored.
func (s *stream[T]) take(ctx context.Context, p page[T]) error {
	if p.stored {
		return s.lookUp(ctx, p.rows)
	}
	if err := s.store(ctx, p.rows); err != nil {
		return err
	}
	s.job.progress(s.target, s.job.state.Tables[s.source.Name].Read, s.source.Rows)
	return nil
}

// read reads and transforms the rows after the checkpoint, and those before it if they are needed
// again, page by page.
func (s *stream[T]) read(ctx context.Context, give func(page[T]) error) error {
	opts := s.job.opts
	checkpoint, from := int64(fromStart), int64(fromStart)
	if at, ok := s.job.state.Tables[s.source.Name]; ok && at.Read > 0 {
		checkpoint = at.After
		if !s.again {
			from = checkpoint
		}
	}
	var rows []SourceRow
	var bytes int
	flush := func() error {
		if len(rows) == 0 {
			return nil
		}
		p := page[T]{stored: rows[0].RowID <= checkpoint, bytes: int64(bytes)}
		var err error
		if p.rows, err = s.prepare(ctx, rows); err != nil {
			return err
		}
		s.hash(p.rows)
		rows, bytes = nil, 0
		return give(p)
	}
	for row, err := range s.job.src.Rows(ctx, s.source.Name, from) {
		if err != nil {
			return errors.Join(flush(), err)
		}
		if len(rows) > 0 && rows[0].RowID <= checkpoint && row.RowID > checkpoint {
			if err := flush(); err != nil {
				return err
			}
		}
		rows = append(rows, row)
		bytes += rowSize(row)
		if len(rows) < opts.BatchRows && bytes < opts.BatchBytes {
			continue
		}
		if err := flush(); err != nil {
			return err
		}
	}
	return flush()
}

func (s *stream[T]) hash(rows []transformed[T]) {
	var buf []byte
	for i := range rows {
		if rows[i].reject == "" && s.canonical != nil {
			buf = s.canonical(&rows[i].row, buf[:0])
			rows[i].hash = sha256.Sum256(buf)
		}
	}
}

// store writes rows in one transaction. When the target refuses some of them it goes on with
// halves, until those at fault stand alone and are rejected.
func (s *stream[T]) store(ctx context.Context, rows []transformed[T]) error {
	var out []settled[T]
	var next sourceProgress
	batch := func(ctx context.Context, attempt func(ctx context.Context) ([]settled[T], error)) error {
		return s.job.target.Batch(ctx, func(ctx context.Context) (err error) {
			// First, so that a process which lost its turn neither judges rows nor writes to the reject file.
			if err := s.job.target.OwnRun(ctx, s.job.row.ID, s.job.row.Owner); err != nil {
				return err
			}
			if out, err = attempt(ctx); err != nil {
				return err
			}
			next, err = s.record(ctx, out)
			return err
		})
	}
	err := batch(ctx, func(ctx context.Context) ([]settled[T], error) { return s.attempt(ctx, rows, s.job.fresh) })
	if err != nil && ctx.Err() == nil && s.job.target.Refused(err) && s.job.fresh != nil {
		// Somebody else may have stored an id that was new.
		err = batch(ctx, func(ctx context.Context) ([]settled[T], error) { return s.attempt(ctx, rows, nil) })
	}
	if err != nil && ctx.Err() == nil && s.job.target.Refused(err) && len(rows) == 1 {
		r := rows[0]
		r.reject, r.detail = ReasonRefused, err.Error()
		err = batch(ctx, func(context.Context) ([]settled[T], error) {
			if s.begin != nil {
				s.begin()
			}
			return []settled[T]{{transformed: r, verdict: rejected}}, nil
		})
	}
	switch {
	case err == nil:
		return s.stored(ctx, out, next)
	case ctx.Err() != nil || !s.job.target.Refused(err) || len(rows) == 1:
		return &targetError{fmt.Errorf("migration: %s: writing %s: %w", s.job.report.Path, s.target, err)}
	}
	half := len(rows) / 2
	if err := s.store(ctx, rows[:half]); err != nil {
		return err
	}
	return s.store(ctx, rows[half:])
}

// attempt decides about each row and writes the new ones, in the batch's transaction. What fresh knows
// to be new is not looked up. It leaves rows as they are, so that it can run again.
func (s *stream[T]) attempt(ctx context.Context, rows []transformed[T], fresh *newIDs) ([]settled[T], error) {
	if s.begin != nil {
		s.begin()
	}
	out, have, err := s.meet(ctx, rows, fresh)
	if err != nil {
		return nil, err
	}
	var absent []*transformed[T]
	for i := range out {
		if _, there := have[out[i].key]; out[i].reject == "" && !there {
			absent = append(absent, &out[i].transformed)
		}
	}
	if s.link != nil && len(absent) > 0 {
		if err := s.link(ctx, absent); err != nil {
			return nil, err
		}
	}
	insert, replace := s.judge(out, have)
	if len(replace) > 0 {
		if err := s.replace(ctx, replace); err != nil {
			return nil, err
		}
	}
	if len(insert) == 0 {
		return out, nil
	}
	return out, s.insert(ctx, insert)
}

// meet looks up what the target holds under the keys of rows, apart from those that fresh knows to be
// new.
func (s *stream[T]) meet(ctx context.Context, rows []transformed[T], fresh *newIDs) ([]settled[T], map[string]T, error) {
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
	if ids = fresh.known(s.target, ids); len(ids) == 0 {
		return out, have, nil
	}
	slices.Sort(ids)
	found, err := s.existing(ctx, slices.Compact(ids))
	if err != nil {
		return nil, nil, err
	}
	maps.Copy(have, found)
	return out, have, nil
}

// judge gives each row its verdict and returns those to insert and those to overwrite.
func (s *stream[T]) judge(out []settled[T], have map[string]T) (insert, replace []T) {
	fresh := map[string]bool{}
	for i := range out {
		o := &out[i]
		if o.reject != "" {
			o.verdict = rejected
			continue
		}
		there, ok := have[o.key]
		switch {
		case !ok:
			insert = append(insert, o.row)
			fresh[o.key] = true
		case s.same(&there, &o.row):
			o.verdict, o.there = merged, &there
			fresh[o.key] = true
			continue
		case s.job.opts.PreferSource && s.replace != nil && !fresh[o.key] && (s.fits == nil || s.fits(&there, &o.row)):
			o.there = &there
			o.notes.add(ReasonReplaced)
			replace = append(replace, o.row)
			fresh[o.key] = true
		default:
			o.verdict, o.reject = rejected, ReasonConflict
			continue
		}
		have[o.key] = o.row // a second row of the same id meets this one
	}
	return insert, replace
}

// lookUp tells done what became of rows that are stored.
func (s *stream[T]) lookUp(ctx context.Context, rows []transformed[T]) error {
	out, have, err := s.meet(ctx, rows, nil)
	if err != nil {
		return &targetError{fmt.Errorf("migration: %s: reading %s: %w", s.job.report.Path, s.target, err)}
	}
	for i := range out {
		o := &out[i]
		there, ok := have[o.key]
		switch {
		case o.reject != "":
			o.verdict = rejected
		case ok && s.same(&there, &o.row):
			o.verdict = merged
		case ok:
			o.verdict, o.reject = rejected, ReasonConflict
		default:
			o.verdict, o.reject = rejected, ReasonRefused
		}
	}
	if s.done == nil {
		return nil
	}
	return s.done(ctx, out)
}

// record writes, in the batch's transaction, what became of its rows: the journal, the rejected rows
// and the checkpoint, which it returns.
func (s *stream[T]) record(ctx context.Context, rows []settled[T]) (sourceProgress, error) {
	next := s.job.state.clone()
	if s.entails != nil {
		if err := s.entails(ctx, rows, &next); err != nil {
			return next, err
		}
	}
	counts := next.table(s.target)
	var wrote, found []entry
	var replaced []T
	var rejects []Reject
	for _, o := range rows {
		counts.Read++
		if o.transformable() {
			d := next.Transformed[s.target]
			d.add(o.hash)
			next.Transformed[s.target] = d
		}
		switch o.verdict {
		case merged:
			counts.Merged++
			found = append(found, s.entry(o.key, o.there))
		case written:
			counts.written(o.notes)
			wrote = append(wrote, s.written(&o))
			if o.there != nil {
				replaced = append(replaced, *o.there)
			}
		case rejected:
			counts.Rejected++
			counts.count(o.reject)
			rejects = append(rejects, s.rejected(o))
		}
	}
	made, err := s.recordMade(ctx, &next)
	if err != nil {
		return next, err
	}
	if err := s.job.journal(ctx, s.target, wrote, found, replaced); err != nil {
		return next, err
	}
	// What was done to a row before it was written says nothing of the one that is there from now on.
	if err := s.job.target.ForgetEdits(ctx, s.target, keysOfEntries(wrote)); err != nil {
		return next, err
	}
	for _, e := range slices.Concat(wrote, found) {
		next.store(s.target, e.full)
	}
	for _, e := range made {
		next.store(tableConversations, e.full)
	}
	if at := next.Tables[s.source.Name]; len(rows) > 0 {
		next.Tables[s.source.Name] = tableProgress{After: rows[len(rows)-1].src.RowID, Read: at.Read + int64(len(rows))}
	}
	if next.Rejects, err = s.job.writeRejects(rejects); err != nil {
		return next, err
	}
	return next, s.job.checkpoint(ctx, next)
}

// recordMade puts conversations that were made for orphans into the journal.
func (s *stream[T]) recordMade(ctx context.Context, next *sourceProgress) ([]entry, error) {
	if s.made == nil {
		return nil, nil
	}
	var out []entry
	for _, c := range s.made() {
		out = append(out, conversationEntry(&c))
	}
	next.table(tableConversations).Made += int64(len(out))
	return out, s.job.journal(ctx, tableConversations, out, nil, nil)
}

// written is the entry of a row that was written. One that replaced another may have taken over something
// of it since it was transformed.
func (s *stream[T]) written(o *settled[T]) entry {
	if _, ok := any(&o.row).(*models.Conversation); ok || o.there != nil {
		return s.entry(o.key, &o.row)
	}
	return entry{key: o.key, full: o.hash}
}

func (s *stream[T]) entry(key string, row *T) entry {
	if c, ok := any(row).(*models.Conversation); ok {
		return conversationEntry(c)
	}
	return newEntry(key, s.canonical(row, nil))
}

func (s *stream[T]) rejected(o settled[T]) Reject {
	return Reject{
		Path: s.job.report.Path, Kind: s.job.report.Kind, Base: s.job.report.Base, Table: s.target, SourceTable: s.source.Name, RowID: o.src.RowID,
		ID: o.key, Reason: o.reject, Detail: o.detail, Columns: s.source.Columns, Values: o.src.Values,
	}
}

// stored takes over the checkpoint of a batch that is stored and tells of it.
func (s *stream[T]) stored(ctx context.Context, rows []settled[T], next sourceProgress) error {
	s.job.state = next
	s.job.sync()
	if s.made != nil {
		for _, c := range s.made() {
			s.job.fresh.add(tableConversations, c.ConvID)
		}
	}
	for _, o := range rows {
		if o.verdict != rejected {
			s.job.fresh.add(s.target, o.key)
			continue
		}
		r := s.rejected(o)
		s.job.importer.report.reject(r)
		if s.job.opts.OnReject == nil {
			continue
		}
		if err := s.job.opts.OnReject(r); err != nil {
			return &targetError{fmt.Errorf("migration: the rejected row %d of %s: %w", r.RowID, r.SourceTable, err)}
		}
	}
	if s.done != nil {
		return s.done(ctx, rows)
	}
	return nil
}
