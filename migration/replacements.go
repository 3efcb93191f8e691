package migration

import (
	"context"
	"errors"
	"math"
	"sync"

	"github.com/talkbase/talkbase/models"
)

// byLaterRun is the number of a replacement by another run than the one that is looked at.
const byLaterRun = math.MaxInt64

// replacements says which rows of a run were replaced after its journal listed them. The journals are read
// when it is first asked.
type replacements struct {
	target Target
	run    string
	mu     sync.Mutex
	keys   *keySet
}

// of returns, of the rows of a table with these ids, the number of the run's last batch that replaced each,
// or byLaterRun where a later run did.
func (r *replacements) of(ctx context.Context, table string, ids []string) (map[string]int64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.keys == nil {
		keys, err := newKeySet(ctx)
		if err != nil {
			return nil, err
		}
		if err := r.read(ctx, keys); err != nil {
			return nil, errors.Join(err, keys.close())
		}
		r.keys = keys
	}
	return r.keys.has(ctx, table, ids)
}

func (r *replacements) read(ctx context.Context, keys *keySet) error {
	runs, err := r.target.ImportRuns(ctx)
	if err != nil {
		return err
	}
	for _, run := range runs {
		if run.ID < r.run { // ids are in the order in which the runs began, and one ends before the next begins
			continue
		}
		err := eachBatch(ctx, r.target, run.ID, false, func(b models.ImportBatch, _ []entry) error {
			ids, err := replacedKeys(b)
			if err != nil || len(ids) == 0 {
				return err
			}
			n := b.Seq
			if run.ID != r.run {
				n = byLaterRun
			}
			return keys.add(ctx, b.Table, ids, n)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *replacements) close() error {
	if r.keys == nil {
		return nil
	}
	return r.keys.close()
}
