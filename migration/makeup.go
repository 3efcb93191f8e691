package migration

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/talkbase/talkbase/models"
	"github.com/talkbase/talkbase/repo"
)

// putOff is what a run does after the load because the target was empty.
type putOff struct {
	// Deferred says that the text index was left to the end.
	Deferred bool `json:"deferred,omitempty"`
	// Dropped are indexes and the like that are to be made again.
	Dropped []repo.Dropped `json:"dropped,omitempty"`
	// Text is how far the text of each table is indexed, by its integer key.
	Text map[string]int64 `json:"text,omitempty"`
}

// makeIndexes makes the indexes that were put off.
func (i *importer) makeIndexes(ctx context.Context) error {
	if i.opts.DryRun {
		return nil
	}
	return i.puttingOff().restore(ctx, false)
}

// makeText makes the text index where it was put off.
func (i *importer) makeText(ctx context.Context) error {
	if i.opts.DryRun {
		return nil
	}
	return i.puttingOff().text(ctx)
}

func (i *importer) puttingOff() makeUp {
	return makeUp{target: i.target, row: i.row, later: &i.later, tell: i.tell}
}

// makeUp makes what a run put off, and notes how far it has come.
type makeUp struct {
	target Target
	row    models.ImportRun
	later  *putOff
	tell   func(Progress)
}

// step does a part of the work and notes, in the same transaction, what is left then.
func (m makeUp) step(ctx context.Context, do func(ctx context.Context) (putOff, error)) error {
	var next putOff
	err := m.target.Batch(ctx, func(ctx context.Context) (err error) {
		if next, err = do(ctx); err != nil {
			return err
		}
		if err := m.target.OwnRun(ctx, m.row.ID, m.row.Owner); err != nil {
			return err
		}
		row := m.row
		if row.Progress, err = models.NewJSON(next); err != nil {
			return err
		}
		return m.target.SaveRun(ctx, row)
	})
	if err == nil {
		*m.later = next
	}
	return err
}

// restore makes what was dropped, of the text index or of all else.
func (m makeUp) restore(ctx context.Context, text bool) error {
	var done, total int64
	for _, d := range m.later.Dropped {
		if d.Text == text {
			total++
		}
	}
	for _, d := range slices.Clone(m.later.Dropped) {
		if d.Text != text {
			continue
		}
		err := m.step(ctx, func(ctx context.Context) (putOff, error) {
			next := *m.later
			next.Dropped = slices.DeleteFunc(slices.Clone(next.Dropped), func(o repo.Dropped) bool { return o.Name == d.Name })
			return next, m.target.Restore(ctx, d)
		})
		if err != nil {
			return fmt.Errorf("migration: making %s again: %w", d.Name, err)
		}
		done++
		m.tell(Progress{Done: done, Total: total})
	}
	return nil
}

func (m makeUp) text(ctx context.Context) error {
	if m.later.Deferred {
		for _, table := range []string{tableConversations, tableMessages, tableChunks} {
			if err := m.textOf(ctx, table); err != nil {
				return fmt.Errorf("migration: indexing the text of %s: %w", table, err)
			}
		}
	}
	if err := m.restore(ctx, true); err != nil || !m.later.Deferred {
		return err
	}
	return m.step(ctx, func(context.Context) (putOff, error) { return putOff{}, nil })
}

func (m makeUp) textOf(ctx context.Context, table string) error {
	var done int64
	for {
		n := 0
		err := m.step(ctx, func(ctx context.Context) (next putOff, err error) {
			next = *m.later
			if next.Text = maps.Clone(next.Text); next.Text == nil {
				next.Text = map[string]int64{}
			}
			next.Text[table], n, err = m.target.IndexText(ctx, table, m.later.Text[table])
			return next, err
		})
		if err != nil || n == 0 {
			return err
		}
		done += int64(n)
		m.tell(Progress{Table: table, Done: done})
	}
}
