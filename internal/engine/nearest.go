package engine

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

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

// MaxDistance is the distance at which a similarity of least is just reached; ok is false when
// every distance qualifies.
func MaxDistance(m models.Metric, least float64) (d float64, ok bool) {
	switch m {
	case models.MetricL2:
		if least <= 0 {
			return 0, false
		}
		return 1/least - 1, true
	case models.MetricIP:
		return -least, true
	default:
		return 1 - least, true
	}
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

// findable joins what a similarity query needs of a vector v; it ends in its WHERE.
const findable = ` FROM knowledge_vectors v
	JOIN knowledge_chunks c ON c.id = v.chunk_id
	JOIN knowledge_files f ON f.id = v.file_id
	WHERE c.status = 'processed'`

func statusFilter(q NearestQuery) (string, []any) {
	if len(q.FileStatus) == 0 {
		return "", nil
	}
	args := make([]any, len(q.FileStatus))
	for i, s := range q.FileStatus {
		args[i] = string(s)
	}
	return " AND f.status IN (?" + strings.Repeat(",?", len(args)-1) + ")", args
}

// describe fills in what belongs to the neighbours. One that was deleted since it was read is
// left out.
func (e *sqliteEngine) describe(ctx context.Context, db *gorm.DB, top []Neighbor) ([]Neighbor, error) {
	slices.SortFunc(top, nearer)
	out := make([]Neighbor, 0, len(top))
	for part := range slices.Chunk(top, 200) {
		distance := make(map[string]float64, len(part))
		args := make([]any, len(part))
		for i, n := range part {
			distance[n.VectorID], args[i] = n.Distance, n.VectorID
		}
		found, err := Collect(ctx, db, scanNeighbor,
			"SELECT "+neighborColumns+", 0.0"+findable+" AND v.id IN (?"+strings.Repeat(",?", len(args)-1)+")", args...)
		if err != nil {
			return nil, err
		}
		for i := range found {
			found[i].Distance = distance[found[i].VectorID]
		}
		out = append(out, found...)
	}
	slices.SortFunc(out, nearer)
	return out, nil
}

const neighborColumns = "v.id, v.chunk_id, v.file_id, c.content, c.chunk_index, f.name, f.path, f.status"

func scanNeighbor(s Scanner, n *Neighbor) error {
	return s.Scan(&n.VectorID, &n.ChunkID, &n.FileID, &n.Content, &n.ChunkIndex, &n.FileName, &n.FilePath, &n.FileStatus, &n.Distance)
}

// operator is pgvector's for a metric, and its index operator class.
func operator(m models.Metric) (op, class string) {
	switch m {
	case models.MetricL2:
		return "<->", "vector_l2_ops"
	case models.MetricIP:
		return "<#>", "vector_ip_ops"
	default:
		return "<=>", "vector_cosine_ops"
	}
}

func quoteLiteral(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// Nearest asks pgvector. The base's id and its dimensions are literals: a partial expression
// index is only considered when they are.
func (e *postgresEngine) Nearest(ctx context.Context, db *gorm.DB, q NearestQuery) ([]Neighbor, error) {
	op, _ := operator(q.Metric)
	expr := fmt.Sprintf("(v.embedding::vector(%d) %s $1::vector)", q.Base.Dimensions, op)
	args := []any{models.Vector(q.Vector).Text(), q.K}
	param := func(v any) string { args = append(args, v); return "$" + strconv.Itoa(len(args)) }
	var b strings.Builder
	b.WriteString("SELECT " + neighborColumns + ", " + expr + " AS distance" + findable + " AND v.base_id = " + quoteLiteral(q.Base.ID))
	if q.MaxDistance != nil {
		b.WriteString(" AND " + expr + " <= " + param(*q.MaxDistance) + "::float8")
	}
	if len(q.FileStatus) > 0 {
		in := make([]string, len(q.FileStatus))
		for i, s := range q.FileStatus {
			in[i] = param(string(s))
		}
		b.WriteString(" AND f.status IN (" + strings.Join(in, ", ") + ")")
	}
	// NaN sorts last in Postgres; it is the cosine of a zero vector and no answer.
	b.WriteString(" ORDER BY " + expr + ", v.id LIMIT $2")
	rows, err := queryBound(ctx, db, b.String(), args)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var out []Neighbor
	for rows.Next() {
		var n Neighbor
		if err := scanNeighbor(rows, &n); err != nil {
			return nil, classifyPostgres(err)
		}
		if !math.IsNaN(n.Distance) {
			out = append(out, n)
		}
	}
	if err := rows.Err(); err != nil {
		return nil, classifyPostgres(err)
	}
	slices.SortFunc(out, nearer)
	return out, nil
}

// maxIndexed is how many dimensions pgvector indexes of the type vector.
const maxIndexed = 2000

// minIndexed is how many rows a base needs before an index beats reading all of them.
const minIndexed = 1000

// VectorIndex describes a base's partial expression index. IVFFlat gets one list per 1,000 rows,
// as pgvector's documentation advises up to a million rows.
func (e *postgresEngine) VectorIndex(base models.KnowledgeBase, kind string, rows int64) (IndexSpec, string) {
	if base.Dimensions > maxIndexed {
		return IndexSpec{}, fmt.Sprintf("pgvector indexes up to %d dimensions, it has %d: its %d vectors are compared one by one", maxIndexed, base.Dimensions, rows)
	}
	if rows < minIndexed {
		return IndexSpec{}, fmt.Sprintf("comparing its %d vectors one by one is fast; an index is made from %d on", rows, minIndexed)
	}
	_, class := operator(base.Metric)
	sum := sha256.Sum256([]byte(base.ID))
	ix := IndexSpec{
		Name: "idx_knowledge_vectors_base_" + hex.EncodeToString(sum[:6]), Table: "knowledge_vectors", Method: kind,
		Body: fmt.Sprintf("((embedding::vector(%d)) %s)", base.Dimensions, class),
	}
	if kind == "ivfflat" {
		ix.Body += fmt.Sprintf(" WITH (lists = %d)", max(10, rows/1000))
	}
	ix.Body += " WHERE base_id = " + quoteLiteral(base.ID)
	return ix, ""
}

// CreateIndex builds concurrently, and again where an earlier build was cut off and left an
// invalid index.
func (e *postgresEngine) CreateIndex(ctx context.Context, ix IndexSpec) (bool, error) {
	var exists, valid bool
	err := e.pool.QueryRowContext(ctx, `SELECT count(*) > 0, coalesce(bool_and(i.indisvalid), false)
		FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname = current_schema() AND c.relname = $1`, ix.Name).Scan(&exists, &valid)
	if err != nil {
		return false, classifyPostgres(err)
	}
	if valid {
		return false, nil
	}
	if exists {
		if _, err := e.pool.ExecContext(ctx, "DROP INDEX CONCURRENTLY IF EXISTS "+ix.Name); err != nil {
			return false, classifyPostgres(err)
		}
	}
	using := ""
	if ix.Method != "" {
		using = "USING " + ix.Method + " "
	}
	start, query := time.Now(), "CREATE INDEX CONCURRENTLY IF NOT EXISTS "+ix.Name+" ON "+ix.Table+" "+using+ix.Body
	_, err = e.pool.ExecContext(ctx, query)
	err = withEnd(ctx, classifyPostgres(err))
	e.log.Observer.statement(ctx, start, query, -1, err)
	return err == nil, err
}
