package engine

import (
	"cmp"
	"context"
	"math"
	"slices"
	"strconv"

	"gorm.io/gorm"

	"github.com/talkbase/talkbase/models"
)

// Distance is how far b is from a: cosine 1-cos(a,b), l2 the Euclidean distance, ip the negative
// inner product, as pgvector defines them. It is NaN for the cosine of a zero vector. Both have the
// same length.
func Distance(m models.Metric, a, b []float32) float64 {
	var dot, na, nb, sq float64
	switch m {
	case models.MetricL2:
		for i, x := range a {
			d := float64(x) - float64(b[i])
			sq += d * d
		}
		return math.Sqrt(sq)
	case models.MetricIP:
		for i, x := range a {
			dot += float64(x) * float64(b[i])
		}
		return -dot
	default:
		for i, x := range a {
			dot += float64(x) * float64(b[i])
			na += float64(x) * float64(x)
			nb += float64(b[i]) * float64(b[i])
		}
		return 1 - max(-1, min(1, dot/math.Sqrt(na*nb)))
	}
}

// Similarity turns a distance into a number that is larger for what is nearer: cosine 1-d, l2
// 1/(1+d), ip the inner product.
func Similarity(m models.Metric, distance float64) float64 {
	switch m {
	case models.MetricL2:
		return 1 / (1 + distance)
	case models.MetricIP:
		return -distance
	default:
		return 1 - distance
	}
}

// closest is how much nearer, relative to distances above 1, is no difference: pgvector adds up in
// float32.
const closest = 1e-6

// MaxDistance is the distance at which a similarity of least is just reached, or not by less than
// closest; ok is false when every distance qualifies.
func MaxDistance(m models.Metric, least float64) (d float64, ok bool) {
	switch m {
	case models.MetricL2:
		if least <= 0 {
			return 0, false
		}
		d = 1/least - 1
	case models.MetricIP:
		d = -least
	default:
		d = 1 - least
	}
	return d + closest*max(1, math.Abs(d)), true
}

// farthest is a heap with the farthest neighbour on top, ties by the larger id.
type farthest []Neighbor

func nearer(a, b Neighbor) int {
	return cmp.Or(cmp.Compare(a.Distance, b.Distance), cmp.Compare(a.VectorID, b.VectorID))
}

func (h farthest) Len() int           { return len(h) }
func (h farthest) Less(i, j int) bool { return nearer(h[i], h[j]) > 0 }
func (h farthest) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *farthest) Push(x any)        { *h = append(*h, x.(Neighbor)) }
func (h *farthest) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}

// describe fills in what belongs to the neighbours, and sorts them. What is no answer is left out.
func (e *sqliteEngine) describe(ctx context.Context, db *gorm.DB, top []Neighbor) ([]Neighbor, error) {
	if len(top) == 0 {
		return nil, nil
	}
	list := make([]byte, 0, 12*len(top))
	for i := range top {
		list = strconv.AppendInt(append(list, "[,"[min(i, 1)]), top[i].seq, 10)
	}
	// The order of the joins is given: without statistics SQLite may read all chunks for it.
	found, err := Collect(ctx, db, func(s Scanner, n *Neighbor) error {
		var at int
		err := s.Scan(&at, &n.ChunkID, &n.FileID, &n.Content, &n.ChunkIndex, &n.FileName, &n.FilePath, &n.FileStatus)
		n.VectorID, n.Distance = top[at].VectorID, top[at].Distance
		return err
	}, `SELECT j.key, v.chunk_id, v.file_id, c.content, c.chunk_index, f.name, f.path, f.status
		FROM json_each(?) j CROSS JOIN knowledge_vectors v ON v.seq = j.value
		CROSS JOIN knowledge_chunks c ON c.id = v.chunk_id CROSS JOIN knowledge_files f ON f.id = v.file_id
		WHERE c.status = 'processed'`, string(append(list, ']')))
	slices.SortFunc(found, nearer)
	return found, err
}

func scanNeighbor(s Scanner, n *Neighbor) error {
	return s.Scan(&n.VectorID, &n.ChunkID, &n.FileID, &n.Content, &n.ChunkIndex, &n.FileName, &n.FilePath, &n.FileStatus, &n.Distance)
}
