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

// keySet holds the ids of rows, each with the highest number it was added with, on disk, so that memory does
// not grow with them.
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
		for _, stmt := range []string{"PRAGMA journal_mode = OFF", "CREATE TABLE k (t TEXT, id TEXT, n INTEGER, PRIMARY KEY (t, id)) WITHOUT ROWID"} {
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

func (k *keySet) add(ctx context.Context, table string, ids []string, n int64) error {
	const query = "INSERT INTO k (t, id, n) VALUES (?, ?, ?) ON CONFLICT (t, id) DO UPDATE SET n = max(n, excluded.n)"
	return writeScratch(ctx, k.db, query, len(ids), func(i int) []any { return []any{table, ids[i], n} })
}

// has returns those of the ids of a table that are in the set, with their numbers.
func (k *keySet) has(ctx context.Context, table string, ids []string) (map[string]int64, error) {
	out := map[string]int64{}
	for part := range slices.Chunk(ids, lookupStep) {
		args := []any{table}
		marks := make([]byte, 0, 2*len(part))
		for _, id := range part {
			args = append(args, id)
			marks = append(marks, '?', ',')
		}
		err := eachRow(ctx, k.db, "SELECT id, n FROM k WHERE t = ? AND id IN ("+string(marks[:len(marks)-1])+")", args, func(scan func(...any) error) error {
			var id string
			var n int64
			if err := scan(&id, &n); err != nil {
				return err
			}
			out[id] = n
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
		known := map[string]map[string]int64{}
		for t, keys := range byTable {
			var err error
			if known[t], err = k.has(ctx, t, keys); err != nil {
				return err
			}
		}
		for _, d := range page {
			if _, ok := known[d.Table][d.Key]; !ok {
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
