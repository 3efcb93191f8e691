package migration

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/talkbase/talkbase/repo"
)

// keySet holds the ids of the rows a run wrote, on disk, so that memory does not grow with them.
type keySet struct {
	remove func() error
	db     *sql.DB
}

func newKeySet(ctx context.Context) (*keySet, error) {
	dir, remove, err := newWorkDir("")
	if err != nil {
		return nil, err
	}
	k := &keySet{remove: remove}
	if k.db, err = openPrivate(filepath.Join(dir, "keys.db")); err == nil {
		for _, stmt := range []string{"PRAGMA journal_mode = OFF", "CREATE TABLE k (t TEXT, id TEXT, PRIMARY KEY (t, id)) WITHOUT ROWID"} {
			if _, err = k.db.ExecContext(ctx, stmt); err != nil {
				break
			}
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("migration: %w", err), k.close())
	}
	return k, nil
}

func (k *keySet) close() error {
	var err error
	if k.db != nil {
		err = k.db.Close()
	}
	return errors.Join(err, k.remove())
}

func (k *keySet) add(ctx context.Context, table string, ids []string) error {
	return writeScratch(ctx, k.db, "INSERT OR IGNORE INTO k (t, id) VALUES (?, ?)", len(ids), func(i int) []any { return []any{table, ids[i]} })
}

// has returns which of the ids of a table are in the set.
func (k *keySet) has(ctx context.Context, table string, ids []string) (map[string]bool, error) {
	out := map[string]bool{}
	for part := range slices.Chunk(ids, lookupStep) {
		args := []any{table}
		marks := make([]byte, 0, 2*len(part))
		for _, id := range part {
			args = append(args, id)
			marks = append(marks, '?', ',')
		}
		err := eachRow(ctx, k.db, "SELECT id FROM k WHERE t = ? AND id IN ("+string(marks[:len(marks)-1])+")", args, func(scan func(...any) error) error {
			var id string
			if err := scan(&id); err != nil {
				return err
			}
			out[id] = true
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// strangers calls f for the rows that belong to rows of the set and are not in it themselves.
func (k *keySet) strangers(ctx context.Context, target Target, table string, ids []string, f func(repo.Dependent) error) error {
	var page []repo.Dependent
	flush := func() error {
		byTable := map[string][]string{}
		for _, d := range page {
			byTable[d.Table] = append(byTable[d.Table], d.Key)
		}
		known := map[string]map[string]bool{}
		for t, keys := range byTable {
			var err error
			if known[t], err = k.has(ctx, t, keys); err != nil {
				return err
			}
		}
		for _, d := range page {
			if !known[d.Table][d.Key] {
				if err := f(d); err != nil {
					return err
				}
			}
		}
		page = page[:0]
		return nil
	}
	err := target.Dependents(ctx, table, ids, func(d repo.Dependent) error {
		if page = append(page, d); len(page) < lookupStep {
			return nil
		}
		return flush()
	})
	if err != nil {
		return err
	}
	return flush()
}
