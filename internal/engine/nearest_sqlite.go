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

// narrowSQLite is where the two ways of BenchmarkNarrow take the same time.
const narrowSQLite = 4

// few reports whether so few vectors pass the filter that they are better compared one by one. Of n
// vectors of which m pass, the nearest k that do are among the nearest k*n/m of all, which are compared
// otherwise: the two cost the same at m = sqrt(k*n), times a factor.
func (s *sketches) few(ctx context.Context, db *gorm.DB, q NearestQuery, codes int64) (bool, error) {
	if q.Files.IsZero() {
		return false, nil
	}
	limit := int64(s.tuning.narrow * math.Sqrt(float64(q.K)*float64(codes)))
	filter, args := sqliteFilter(q.Files)
	n, err := One(ctx, db, Value[int64], "SELECT count(*) FROM (SELECT 1 FROM knowledge_files f CROSS JOIN knowledge_vectors v ON v.file_id = f.id WHERE f.base_id = ?"+
		filter+" LIMIT ?)", append(append([]any{q.Base.ID}, args...), limit+1)...)
	return n <= limit, err
}

// giveUp is the part of all vectors of which on it is faster to compare all.
const giveUp = 4

// more is how many of the nearest are looked at after want were not enough, 0 for none: then all are
// better compared. With a filter it goes by the share that has passed.
func (n *nearestRows) more(want int, codes int64) int {
	more := 4 * want
	if n.shown > 0 && !n.q.Files.IsZero() {
		more = max(2*want, int(1.5*float64(n.q.K)*float64(n.asked)/float64(n.shown)))
	}
	if int64(more)*giveUp > codes {
		return 0
	}
	return more
}
