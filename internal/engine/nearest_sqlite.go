package engine

import (
	"context"
	"math"

	"gorm.io/gorm"
)

// sqliteFilter is a filter of files as SQL.
func sqliteFilter(f FileFilter) (conditions string, args []any) {
	conditions = (*sqliteEngine)(nil).FilterFiles(f, func(v any) string {
		args = append(args, v)
		return "?"
	})
	return conditions, args
}

// everything is where all vectors that may be answers are read from: with a filter first the files, then
// by the index their vectors.
func everything(q NearestQuery) source {
	if q.Files.IsZero() {
		return source{tables: "knowledge_vectors v", where: "v.base_id = ?", args: []any{q.Base.ID}}
	}
	return source{
		tables: "knowledge_files f CROSS JOIN knowledge_vectors v ON v.file_id = f.id",
		where:  "f.base_id = ? AND +v.base_id = f.base_id", args: []any{q.Base.ID}, fixed: true, files: true,
	}
}

// widening decides among how many vectors a query looks.
type widening struct {
	q      NearestQuery
	codes  int64
	narrow float64
	// counted is set when it is known that more than a few vectors pass the filter.
	counted bool
}

// fewNamed is few for files that are named, whose vectors are counted at once.
func (w *widening) fewNamed(ctx context.Context, db *gorm.DB) (bool, error) {
	if len(w.q.Files.IDs) == 0 {
		return false, nil
	}
	return w.few(ctx, db)
}

// few reports whether so few vectors pass the filter that they are better compared one by one. Of n
// vectors of which m pass, the nearest k that do are among the nearest k*n/m of all, which are compared
// otherwise: the two cost the same at m = sqrt(k*n), times what one of each costs.
func (w *widening) few(ctx context.Context, db *gorm.DB) (bool, error) {
	limit := int64(w.narrow * math.Sqrt(float64(w.q.K)*float64(w.codes)))
	filter, args := sqliteFilter(w.q.Files)
	n, err := One(ctx, db, Value[int64], "SELECT count(*) FROM (SELECT 1 FROM knowledge_files f CROSS JOIN knowledge_vectors v ON v.file_id = f.id WHERE f.base_id = ?"+
		filter+" LIMIT ?)", append(append([]any{w.q.Base.ID}, args...), limit+1)...)
	w.counted = true
	return n <= limit, err
}

// first is how many of the nearest are looked at first: with a filter twice as many as are asked for,
// which do where most files pass.
func (w *widening) first() int {
	if w.q.Files.IsZero() {
		return w.q.K
	}
	return 2 * w.q.K
}

// giveUp is the part of all vectors of which on it is faster to compare all.
const giveUp = 4

// next is how many of the nearest are looked at after want, 0 for none: then vectors are better
// compared one by one. With a filter it goes by the share that has passed.
func (w *widening) next(ctx context.Context, db *gorm.DB, want int, n *nearestRows) (int, error) {
	more := 4 * want
	if !w.q.Files.IsZero() {
		if !w.counted {
			if few, err := w.few(ctx, db); err != nil || few {
				return 0, err
			}
		}
		if n.shown > 0 {
			more = max(2*want, int(1.5*float64(w.q.K)*float64(n.asked)/float64(n.shown)))
		}
	}
	if int64(more)*giveUp > w.codes {
		return 0, nil
	}
	return more, nil
}
