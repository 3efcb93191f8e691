package engine

import (
	"cmp"
	"context"
	"encoding/binary"
	"math"
	"slices"
	"strconv"

	"gorm.io/gorm"

	"github.com/talkbase/talkbase/models"
)

// Distance is how far b, a vector as SQLite stores it, is from a: cosine 1-cos(a,b), l2 the Euclidean
// distance, ip the negative inner product, as pgvector defines them. It is NaN for the cosine of a zero
// vector, and 0 for l2 and cosine where the vectors are equal. Both have the same number of dimensions.
func Distance(m models.Metric, a []float32, b []byte) float64 {
	if m == models.MetricL2 {
		return math.Sqrt(squaredDistance(a, b))
	}
	dot, aa, bb := products(a, b)
	if m == models.MetricIP {
		return -dot
	}
	return 1 - max(-1, min(1, dot/math.Sqrt(aa*bb)))
}

// squaredDistance adds up even and odd dimensions apart, so that the sums do not wait for each other.
func squaredDistance(a []float32, b []byte) float64 {
	var even, odd float64
	for ; len(a) >= 2 && len(b) >= 8; a, b = a[2:], b[8:] {
		d, e := float64(a[0])-coordinate(b), float64(a[1])-coordinate(b[4:])
		even += d * d
		odd += e * e
	}
	if len(a) > 0 {
		d := float64(a[0]) - coordinate(b)
		even += d * d
	}
	return even + odd
}

// products are a·b, a·a and b·b; see squaredDistance.
func products(a []float32, b []byte) (ab, aa, bb float64) {
	var ab2, aa2, bb2 float64
	for ; len(a) >= 2 && len(b) >= 8; a, b = a[2:], b[8:] {
		p, q, r, s := float64(a[0]), coordinate(b), float64(a[1]), coordinate(b[4:])
		ab += p * q
		ab2 += r * s
		aa += p * p
		aa2 += r * r
		bb += q * q
		bb2 += s * s
	}
	if len(a) > 0 {
		p, q := float64(a[0]), coordinate(b)
		ab += p * q
		aa += p * p
		bb += q * q
	}
	return ab + ab2, aa + aa2, bb + bb2
}

// coordinate is the first of a stored vector.
func coordinate(b []byte) float64 {
	return float64(math.Float32frombits(binary.LittleEndian.Uint32(b)))
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
