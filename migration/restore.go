package migration

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/talkbase/talkbase/repo"
)

// ErrNotEmpty means that a database to restore or copy into holds something already.
var ErrNotEmpty = errors.New("the database is not empty")

// RestoreOptions says how Restore and Copy work.
type RestoreOptions struct {
	// RejectFile is where rows are written that the database refuses, as JSON lines; then all others are
	// restored. The file holds contents of chats. Without one, a row that is refused ends the work, and
	// nothing is restored.
	RejectFile string
	// NoVerify leaves out reading back what was stored.
	NoVerify bool
	// Progress is called now and then, from the goroutine that called.
	Progress func(Progress)
}

// RestoreReport says what Restore or Copy did.
type RestoreReport struct {
	// Dump is what was restored, nil of a copy.
	Dump *DumpInfo `json:"dump,omitempty"`
	// Tables holds the number of rows that were stored, and their digest.
	Tables map[string]Digest `json:"tables"`
	// Rejected counts the rows of each table that the database refused; Rejects lists up to 20 of each.
	Rejected map[string]int64 `json:"rejected,omitempty"`
	Rejects  []Reject         `json:"rejects,omitempty"`
	// RejectFile is where they are.
	RejectFile string `json:"reject_file,omitempty"`
	// Verified says that everything was read back and has the digests of what was read.
	Verified     bool  `json:"verified"`
	Milliseconds int64 `json:"milliseconds"`
}

// Restore loads a dump into an empty database, on either engine.
//
// The whole dump is checked before anything is written. Then all of it is stored in batches within one
// transaction, with the integer keys that rows had; indexes and the index of words are made; everything
// is read back and compared by its digests; and only then is the transaction committed. However it
// ends before, by an error or a kill, the database is as empty as it was. Others who write wait meanwhile,
// on Postgres also who reads. An SQLite file needs twice its room until the end, for its log.
//
// A database that holds anything is ErrNotEmpty. A damaged dump is ErrBackupDamaged, no dump at all
// ErrNotDump, a newer one ErrNewerDump. A dump with vectors needs a database that can hold them, else it is
// repo.ErrUnsupported.
func Restore(ctx context.Context, b *repo.Bulk, r io.ReadSeeker, opts RestoreOptions) (*RestoreReport, error) {
	start := time.Now()
	report, err := restore(ctx, b, r, opts)
	if err != nil {
		return nil, fmt.Errorf("migration: restoring: %w; the database is as it was", full(err))
	}
	report.Milliseconds = time.Since(start).Milliseconds()
	return report, nil
}

func restore(ctx context.Context, b *repo.Bulk, r io.ReadSeeker, opts RestoreOptions) (*RestoreReport, error) {
	if err := empty(ctx, b); err != nil { // before the dump is read; it is asked again later
		return nil, err
	}
	begin, err := r.Seek(0, io.SeekCurrent)
	if err != nil {
		return nil, err
	}
	info, err := checkDump(ctx, r, &checking{stepper: stepper{phase: PhaseCheck, progress: opts.Progress}})
	if err != nil {
		return nil, err
	}
	if info.FaultyRows > 0 && opts.RejectFile == "" {
		f := info.Faulty[0]
		return nil, fmt.Errorf("%w: %s %q: %s; %d rows of the dump are like that: name a reject file to restore the others", repo.ErrText, f.Table, f.ID, f.Detail, info.FaultyRows)
	}
	if err := canHold(b, info.Tables[tableVectors].Rows); err != nil {
		return nil, err
	}
	l, err := newLoader(b, PhaseRestore, opts, rowsOfDigests(info.Tables))
	if err != nil {
		return nil, err
	}
	l.report.Dump = info
	return l.run(ctx, func(ctx context.Context) error {
		if _, err := r.Seek(begin, io.SeekStart); err != nil {
			return err
		}
		d, err := openDump(r)
		if err != nil {
			return err
		}
		err = d.tables(func(t anyTable, columns [][2]string) error {
			d.info.Tables[t.table()] = info.Tables[t.table()]
			return t.restore(ctx, &rowReader{f: d.f}, columns, l)
		})
		if err != nil {
			return err
		}
		return l.same(info.Tables)
	})
}

// canHold checks that vectors can be stored where there are any.
func canHold(b *repo.Bulk, vectors int64) error {
	if vectors == 0 {
		return nil
	}
	if err := b.VectorsSupported(); err != nil {
		return fmt.Errorf("there are %d vectors to store: %w", vectors, err)
	}
	return nil
}

func empty(ctx context.Context, b *repo.Bulk) error {
	table, err := b.Occupied(ctx)
	if err == nil && table != "" {
		err = fmt.Errorf("%w: table %s has rows: name a new file or another schema, or empty this one with talkbase reset", ErrNotEmpty, table)
	}
	return err
}

// Copy copies everything that one database holds, as of one moment, into another, which must be empty,
// on the same engine or the other. It is Restore without a dump between: one transaction, committed
// when everything was read back and has the digests of what was read from the other database. An
// interrupted copy leaves the database empty.
func Copy(ctx context.Context, from, to *repo.Bulk, opts RestoreOptions) (*RestoreReport, error) {
	start := time.Now()
	report, err := copyAll(ctx, from, to, opts)
	if err != nil {
		return nil, fmt.Errorf("migration: copying: %w; the database to copy to is as it was", full(err))
	}
	report.Milliseconds = time.Since(start).Milliseconds()
	return report, nil
}

func copyAll(ctx context.Context, from, to *repo.Bulk, opts RestoreOptions) (report *RestoreReport, err error) {
	if err := empty(ctx, to); err != nil {
		return nil, err
	}
	err = from.View(ctx, func(ctx context.Context, v *repo.View) error {
		s := stepper{progress: func(Progress) {}}
		if err := s.count(ctx, v); err != nil {
			return err
		}
		if err := canHold(to, s.totals[tableVectors]); err != nil {
			return err
		}
		l, err := newLoader(to, PhaseCopy, opts, s.totals)
		if err != nil {
			return err
		}
		report, err = l.run(ctx, func(ctx context.Context) error {
			for _, t := range dumpTables {
				if err := t.copy(ctx, v, l); err != nil {
					return err
				}
			}
			return nil
		})
		return err
	})
	return report, err
}

// loader stores the rows of another database.
type loader struct {
	stepper
	b       *repo.Bulk
	opts    RestoreOptions
	report  *RestoreReport
	rejects *rejectLog
	// read is the digest of what was read, refused rows included.
	read map[string]Digest
	// end is the length of the reject file.
	end int64
	// onReject is told of each rejected row; it may be nil.
	onReject func(Reject)
	// copies says that a row may come twice.
	copies bool
}

func newLoader(b *repo.Bulk, phase Phase, opts RestoreOptions, totals map[string]int64) (*loader, error) {
	l := &loader{stepper: stepper{phase: phase, progress: opts.Progress, totals: totals}, b: b.AsGiven().WithoutText(), opts: opts, report: &RestoreReport{}}
	if opts.RejectFile == "" {
		return l, nil
	}
	path, err := filepath.Abs(opts.RejectFile)
	if err != nil {
		return nil, err
	}
	l.report.RejectFile, l.opts.RejectFile = path, path
	l.rejects, err = openRejectLog(path, 0, false)
	return l, err
}

// run runs load and everything after it in one transaction.
func (l *loader) run(ctx context.Context, load func(ctx context.Context) error) (report *RestoreReport, err error) {
	if l.rejects != nil {
		defer func() {
			err = errors.Join(err, l.rejects.close())
			if err != nil || l.end == 0 {
				l.report.RejectFile = ""
				err = errors.Join(err, os.Remove(l.opts.RejectFile))
			}
		}()
	}
	err = l.b.Batch(ctx, func(ctx context.Context) error {
		// The transaction may have collided with another and begin anew.
		l.read, l.end = map[string]Digest{}, 0
		l.report.Tables, l.report.Rejected, l.report.Rejects = map[string]Digest{}, map[string]int64{}, nil
		for _, t := range dumpTables {
			l.report.Tables[t.table()], l.read[t.table()] = Digest{}, Digest{}
		}
		if err := l.b.BeginLoad(ctx); err != nil {
			return err
		}
		if err := empty(ctx, l.b); err != nil {
			return err
		}
		dropped, err := l.b.DropForLoad(ctx, false) // a salvaged row may have lost its parent
		if err != nil {
			return err
		}
		if err := load(ctx); err != nil {
			return err
		}
		return l.finish(ctx, dropped)
	})
	if err != nil {
		return nil, err
	}
	return l.report, nil
}

// finish makes what was put off and reads everything back.
func (l *loader) finish(ctx context.Context, dropped []repo.Dropped) error {
	if err := l.b.EndLoad(ctx); err != nil {
		return err
	}
	l.phase = PhaseIndex
	for _, table := range []string{tableConversations, tableMessages, tableChunks} {
		var done int64
		for after := int64(0); ; {
			last, n, err := l.b.IndexText(ctx, table, after)
			if err != nil {
				return err
			}
			if n == 0 {
				break
			}
			after, done = last, done+int64(n)
			l.stepper.report(table, done)
		}
	}
	for _, d := range dropped {
		if err := l.b.Restore(ctx, d); err != nil {
			return err
		}
	}
	if l.opts.NoVerify {
		return nil
	}
	l.phase = PhaseValidate
	err := l.b.View(ctx, func(ctx context.Context, v *repo.View) error {
		for _, t := range dumpTables {
			have, err := t.digest(ctx, v)
			if err != nil {
				return err
			}
			if want := l.report.Tables[t.table()]; have != want {
				return fmt.Errorf("%w: table %s has %d rows with the digest %s, and should have %d with %s", ErrVerification, t.table(), have.Rows, have, want.Rows, want)
			}
			l.stepper.report(t.table(), have.Rows)
		}
		return nil
	})
	l.report.Verified = err == nil
	return err
}

// same checks that what was read is what the dump says it holds.
func (l *loader) same(want map[string]Digest) error {
	for table, w := range want {
		if have := l.read[table]; have != w {
			return fmt.Errorf("%w: %d rows of table %s were read, and it holds %d: it changed meanwhile", ErrBackupDamaged, have.Rows, table, w.Rows)
		}
	}
	return nil
}

// refused is told of a row that the database refused.
func (l *loader) refused(r Reject, cause error) error {
	if l.rejects == nil && l.onReject == nil {
		return fmt.Errorf("%s %q: %w: name a reject file to go on without such rows", r.Table, r.ID, cause)
	}
	if l.rejects != nil {
		end, err := l.rejects.write(l.end, "", []Reject{r})
		if err != nil {
			return err
		}
		l.end = end
	}
	if l.onReject != nil {
		l.onReject(r)
	}
	if l.report.Rejected[r.Table]++; l.report.Rejected[r.Table] <= maxFindings {
		r.Columns, r.Values = nil, nil
		l.report.Rejects = append(l.report.Rejects, r)
	}
	return nil
}

// loadBatch collects rows of one table.
type loadBatch[T any] struct {
	t      *dumpTable[T]
	l      *loader
	rows   []T
	hashes []rowHash
	size   int
	buf    []byte
	done   int64
}

func newLoadBatch[T any](t *dumpTable[T], l *loader) *loadBatch[T] { return &loadBatch[T]{t: t, l: l} }

func (b *loadBatch[T]) add(ctx context.Context, row *T) error {
	b.rows = append(b.rows, *row)
	b.hashes = append(b.hashes, b.t.hash(row, &b.buf))
	b.size += len(b.buf)
	if len(b.rows) < DefaultBatchRows && b.size < DefaultBatchBytes {
		return nil
	}
	return b.flush(ctx)
}

func (b *loadBatch[T]) flush(ctx context.Context) error {
	read := b.l.read[b.t.name]
	for _, h := range b.hashes {
		read.add(h)
	}
	b.l.read[b.t.name] = read
	if err := b.store(ctx, b.rows, b.hashes); err != nil {
		return err
	}
	b.done += int64(len(b.rows))
	b.l.stepper.report(b.t.name, b.done)
	clear(b.rows)
	b.rows, b.hashes, b.size = b.rows[:0], b.hashes[:0], 0
	return nil
}

// store stores rows, and narrows those that are refused down to the rows at fault.
func (b *loadBatch[T]) store(ctx context.Context, rows []T, hashes []rowHash) error {
	if len(rows) == 0 {
		return nil
	}
	err := b.l.b.Batch(ctx, func(ctx context.Context) error { return b.t.load(b.l.b, ctx, rows) })
	switch {
	case err == nil:
		d := b.l.report.Tables[b.t.name]
		for _, h := range hashes {
			d.add(h)
		}
		b.l.report.Tables[b.t.name] = d
		return nil
	case !b.l.b.Refused(err) || ctx.Err() != nil:
		return err
	case len(rows) == 1:
		if copied, cerr := b.copied(ctx, &rows[0], err); cerr != nil || copied {
			return cerr
		}
		return b.l.refused(b.reject(&rows[0], err), err)
	}
	half := len(rows) / 2
	if err := b.store(ctx, rows[:half], hashes[:half]); err != nil {
		return err
	}
	return b.store(ctx, rows[half:], hashes[half:])
}

// copied reports whether a row was refused because it is there already, as it is.
func (b *loadBatch[T]) copied(ctx context.Context, row *T, cause error) (bool, error) {
	access, ok := rowsOf[b.t.name]
	if !b.l.copies || !ok || !errors.Is(cause, repo.ErrConflict) {
		return false, nil
	}
	key := b.t.key(row)
	there, err := access.read(ctx, b.l.b, []string{key})
	return err == nil && there[key].full == b.t.hash(row, &b.buf), err
}

func (b *loadBatch[T]) reject(row *T, cause error) Reject {
	r := Reject{Table: b.t.name, SourceTable: b.t.name, ID: b.t.key(row), Reason: ReasonRefused, Detail: cause.Error()}
	if b.t.number != nil {
		r.RowID = *b.t.number(row)
	}
	if errors.Is(cause, repo.ErrReference) {
		r.Reason = ReasonOrphan
	}
	for _, c := range b.t.columns {
		r.Columns = append(r.Columns, c.name)
		r.Values = append(r.Values, c.value(row))
	}
	return r
}
