package engine

import (
	"context"
	"math"
	"slices"

	"gorm.io/gorm"

	"github.com/talkbase/talkbase/models"
)

// SampleQueries returns up to n vectors to ask a base for: the middles between two of its vectors at
// random. On real embeddings, by HNSW and by IVFFlat, they were as hard to find as questions that were not
// stored, or a little harder; stored vectors are found more easily, above all where many are nearly alike.
func SampleQueries(ctx context.Context, db *gorm.DB, base models.KnowledgeBase, n int) ([][]float32, error) {
	all, err := Collect(ctx, db, Value[models.Vector], `SELECT v.embedding FROM (SELECT seq FROM knowledge_vectors WHERE base_id = ? ORDER BY random() LIMIT ?) s
		JOIN knowledge_vectors v ON v.seq = s.seq`, base.ID, n)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(v models.Vector) bool { return int64(len(v)) != base.Dimensions })
	out := make([][]float32, 0, len(all))
	for i, a := range all {
		b := all[(i+1)%len(all)]
		q, norm2 := make([]float32, len(a)), 0.0
		for d := range q {
			q[d] = a[d]/2 + b[d]/2
			norm2 += float64(q[d]) * float64(q[d])
		}
		if norm2 > 0 && !math.IsInf(norm2, 0) && !math.IsNaN(norm2) {
			out = append(out, q)
		}
	}
	return out, nil
}

// Hits counts which of the exact answers an index has found. What is as near as the last of them is as
// good.
func Hits(exact, found []Neighbor) int {
	if len(exact) == 0 {
		return 0
	}
	last := exact[len(exact)-1].Distance
	last += closest * max(1, math.Abs(last))
	hits := 0
	for _, n := range found {
		if n.Distance <= last {
			hits++
		}
	}
	return min(hits, len(exact))
}
