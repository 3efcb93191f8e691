package engine

import (
	"cmp"
	"container/heap"
	"context"
	"database/sql"
	"encoding/binary"
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"slices"

	"gorm.io/gorm"

	"github.com/talkbase/talkbase/internal/sketch"
	"github.com/talkbase/talkbase/models"
)

// nearestRows keeps the k nearest of the vectors it is shown, by their exact distances.
type nearestRows struct {
	q    NearestQuery
	top  farthest
	vec  []float32
	seen map[int64]bool
}

func newNearestRows(q NearestQuery) *nearestRows {
	return &nearestRows{q: q, top: make(farthest, 0, q.K+1), vec: make([]float32, len(q.Vector)), seen: map[int64]bool{}}
}

// offer shows a vector.
func (n *nearestRows) offer(id string, blob []byte) {
	if len(blob) != 4*len(n.vec) {
		return // written by other hands; a report of the database's health names it
	}
	for i := range n.vec {
		n.vec[i] = math.Float32frombits(binary.LittleEndian.Uint32(blob[4*i:]))
	}
	v := Neighbor{VectorID: id, Distance: Distance(n.q.Metric, n.q.Vector, n.vec)}
	if math.IsNaN(v.Distance) || n.q.MaxDistance != nil && v.Distance > *n.q.MaxDistance {
		return
	}
	if len(n.top) < n.q.K {
		heap.Push(&n.top, v)
	} else if nearer(v, n.top[0]) < 0 {
		n.top[0] = v
		heap.Fix(&n.top, 0)
	}
}

// scan shows the vectors that where, SQL after the filters of the query, finds.
func (n *nearestRows) scan(ctx context.Context, db *gorm.DB, where string, args ...any) error {
	filter, fargs := statusFilter(n.q)
	rows, done, err := queryNow(ctx, db, "SELECT v.seq, v.id, v.embedding"+findable+" AND v.base_id = ?"+filter+where,
		slices.Concat([]any{n.q.Base.ID}, fargs, args))
	defer done()
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	var seq int64
	var id string
	var blob sql.RawBytes
	for rows.Next() {
		if err := rows.Scan(&seq, &id, &blob); err != nil {
			return classifySQLite(err)
		}
		if n.seen != nil {
			if n.seen[seq] {
				continue
			}
			n.seen[seq] = true
		}
		n.offer(id, blob)
	}
	return withEnd(ctx, classifySQLite(rows.Err()))
}

// limit is the largest score an answer can have as far as is known.
func (n *nearestRows) limit() float32 {
	d := math.Inf(1)
	if len(n.top) == n.q.K {
		d = n.top[0].Distance
	} else if n.q.MaxDistance != nil {
		d = *n.q.MaxDistance
	}
	if n.q.Metric == models.MetricL2 {
		d *= math.Abs(d)
	}
	// Estimates are float32: what is equal to them is within the limit.
	return float32(d + 1e-5*math.Abs(d))
}

// Nearest finds the nearest by the base's sketches, and compares only the vectors that may be among
// them. It compares all where there are no sketches, where they are no help (another metric, a filter
// that lets little pass) or damaged, and where the query asks for that.
func (e *sqliteEngine) Nearest(ctx context.Context, db *gorm.DB, q NearestQuery) ([]Neighbor, error) {
	if _, in := SQLTx(db); !in { // one snapshot for the sketches and the vectors
		tx, err := e.BeginRead(ctx)
		if err != nil {
			return nil, err
		}
		defer func() { _ = tx.Rollback() }()
		db = tx.DB
	}
	if !q.Exact && q.Metric == q.Base.Metric && q.K > 0 {
		top, ok, err := e.sketches.nearest(ctx, db, q)
		switch {
		case errors.Is(err, sketch.ErrDamaged):
			e.log.WarnContext(ctx, "vectors are compared one by one", slog.String("reason", "the sketches of a knowledge base are damaged: run talkbase indexes, or call CreateOptimalIndexes, to make them anew"))
		case err != nil:
			return nil, err
		case ok:
			return e.describe(ctx, db, top)
		}
	}
	n := newNearestRows(q)
	n.seen = nil
	if err := n.scan(ctx, db, ""); err != nil {
		return nil, err
	}
	return e.describe(ctx, db, n.top)
}

// candidate is a vector that may be an answer: its score is not less than low, probably. Scores are
// squared distances for l2, half of those for cosine, whose vectors have length 1, and negative
// products for ip.
type candidate struct {
	low float32
	seq int64
}

// search is one query on one version of a base's sketches.
type search struct {
	*sketches
	set *sketchSet
	q   NearestQuery
	rot []float32 // the query, rotated
	n   *nearestRows
	// order are the lists, the nearest first.
	order []int64
}

// Queries that compare more than 1/giveUp of the vectors are faster without sketches.
const giveUp = 4

// nearest answers by sketches; ok is false when every vector is better compared.
func (s *sketches) nearest(ctx context.Context, db *gorm.DB, q NearestQuery) (top []Neighbor, ok bool, err error) {
	set, err := s.load(ctx, db, q.Base.ID)
	if err != nil || !set.fits(q.Base) {
		return nil, false, err
	}
	sr := &search{sketches: s, set: set, q: q, n: newNearestRows(q)}
	if !sr.rotate() {
		return nil, false, nil
	}
	if err := sr.n.scan(ctx, db, " AND v.seq > ?", set.upto); err != nil {
		return nil, false, err
	}
	if err := sr.n.scan(ctx, db, " AND v.seq IN (SELECT seq FROM knowledge_sketch_pending WHERE base_id = ?)", set.base); err != nil {
		return nil, false, err
	}
	// A candidate may be deleted, changed or filtered out: then the search goes on among more.
	for want := q.K; ; want *= 4 {
		if int64(want)*giveUp > set.codes && want > q.K {
			return nil, false, nil
		}
		settled, err := sr.pass(ctx, db, want)
		if err != nil {
			return nil, false, err
		}
		if settled {
			s.answered.Add(1)
			return sr.n.top, true, nil
		}
	}
}

// rotate prepares the query; it reports false for one beyond estimates.
func (s *search) rotate() bool {
	v := slices.Clone(s.q.Vector)
	var norm2 float64
	for _, x := range v {
		norm2 += float64(x) * float64(x)
	}
	if s.q.Metric == models.MetricCosine && norm2 > 0 && !math.IsInf(norm2, 0) {
		unit(v, norm2)
	} else if !(norm2 < math.MaxFloat32/1e6) || s.q.Metric == models.MetricIP && norm2 < 1e-20 {
		return false
	}
	s.rot = make([]float32, s.set.rotation.Padded())
	s.set.rotation.Rotate(s.rot, v)
	s.order = make([]int64, 0, s.set.lists.Len())
	s.set.lists.Finder().Ranked(s.rot, func(at int) { s.order = append(s.order, int64(at+1)) })
	return true
}

// probes is how many lists are read for the want nearest: as many as hold them of the sample that
// was measured when the lists were made, between 10 and 100 of them in between, beyond in proportion.
func (s *search) probes(want int) int {
	p := float64(s.set.probes10)
	if want > 10 {
		p += (float64(s.set.probes100) - p) * math.Log10(float64(want)/10)
	}
	if want > 100 {
		p = float64(s.set.probes100) * float64(want) / 100
	}
	return min(len(s.order), int(math.Ceil(p)))
}

// pass reads the lists that may hold the want nearest, and compares the vectors that may be among
// the k nearest. It reports whether the answer cannot become better by more of them.
func (s *search) pass(ctx context.Context, db *gorm.DB, want int) (settled bool, err error) {
	probes := s.probes(want)
	near := append([]int64{0}, s.order[:probes]...)
	cut := newCut(want)
	var found []candidate
	for part := range slices.Chunk(near, 64) {
		if found, err = s.read64(ctx, db, part, cut, found); err != nil {
			return false, err
		}
	}
	limit := cut.value()
	found = slices.DeleteFunc(found, func(c candidate) bool { return c.low > limit || s.n.seen[c.seq] })
	slices.SortFunc(found, func(a, b candidate) int { return cmp.Or(cmp.Compare(a.low, b.low), cmp.Compare(a.seq, b.seq)) })
	if most := maxCompared + 16*want; len(found) > most {
		found = found[:most] // in data without structure nearly all vectors are about as far
	}
	all, err := s.compare(ctx, db, found)
	if err != nil || !all {
		return err == nil, err
	}
	// What was cut off, or is in other lists, may be nearer than the last.
	return s.n.limit() <= limit && cut.full() || !cut.full() && probes == len(s.order), nil
}

// read64 adds the candidates of some lists.
func (s *search) read64(ctx context.Context, db *gorm.DB, lists []int64, cut *cut, found []candidate) ([]candidate, error) {
	var ids, of []int64
	for _, l := range lists {
		for _, id := range s.set.blocks[l] {
			ids, of = append(ids, id), append(of, l)
		}
	}
	blocks, err := s.read(ctx, db, s.set, ids)
	if err != nil {
		return nil, err
	}
	p := prober{metric: s.q.Metric, query: s.rot, diff: make([]float32, len(s.rot)), list: -1, deviations: s.tuning.deviations}
	for i, b := range blocks {
		if p.list != of[i] {
			p.list = of[i]
			p.at(s.set.centre(of[i]))
		}
		found = p.probe(b, cut, found)
	}
	return found, nil
}

// prober estimates the scores of blocks relative to one centre after the other.
type prober struct {
	metric     models.Metric
	query      []float32
	diff       []float32
	list       int64
	deviations float32
	product    float32 // of the query and the centre
	q          sketch.Query
	est        [sketch.BlockSize]sketch.Estimate
}

// at goes to a centre.
func (p *prober) at(centre []float32) {
	if p.metric == models.MetricIP {
		p.product = sketch.Dot(p.query, centre)
		p.q.Set(p.query)
		return
	}
	sketch.Subtract(p.diff, p.query, centre)
	p.q.Set(p.diff)
}

// score is the estimated score of a code and how wrong it may be.
func (p *prober) score(norm2 float32, e sketch.Estimate) (value, wrong float32) {
	switch p.metric {
	case models.MetricIP:
		return -p.product - e.Dot, p.deviations * e.Sigma
	case models.MetricL2:
		return p.q.Norm2() + norm2 - 2*e.Dot, 2 * p.deviations * e.Sigma
	default:
		return (p.q.Norm2()+norm2)/2 - e.Dot, p.deviations * e.Sigma
	}
}

func (p *prober) probe(b *sketch.Block, cut *cut, found []candidate) []candidate {
	est := p.est[:min(b.Len(), sketch.BlockSize)]
	b.Estimates(&p.q, est)
	limit := cut.value()
	for i, e := range est {
		value, wrong := p.score(b.Norm2[i], e)
		if value-wrong > limit {
			continue
		}
		found = append(found, candidate{value - wrong, b.Seqs[i]})
		if value+wrong < limit {
			cut.add(value + wrong)
			limit = cut.value()
		}
	}
	return found
}

// maxCompared bounds how many vectors a query compares, and 16 for each that it is asked for. Real data
// and clusters need some 100; on isotropic noise (100,000 of 768 dimensions), where 7,000 would be
// compared, this bound keeps recall@10 above 0.95.
const maxCompared = 2048

// compareAtOnce is how many vectors one statement reads.
const compareAtOnce = 32

// compare shows the candidates' vectors, those with the lowest scores first, until no further one
// can be among the nearest. It reports whether it came to the end.
func (s *search) compare(ctx context.Context, db *gorm.DB, found []candidate) (all bool, err error) {
	seqs := make([]int64, 0, compareAtOnce)
	for part := range slices.Chunk(found, compareAtOnce) {
		limit := s.n.limit()
		if part[0].low > limit {
			return false, nil
		}
		seqs = seqs[:0]
		for _, c := range part {
			if c.low <= limit {
				seqs = append(seqs, c.seq)
			}
		}
		list, err := json.Marshal(seqs)
		if err != nil {
			return false, err
		}
		if err := s.n.scan(ctx, db, " AND v.seq IN (SELECT value FROM json_each(?))", string(list)); err != nil {
			return false, err
		}
		for _, seq := range seqs {
			s.n.seen[seq] = true // also what was not there
		}
		s.compared.Add(int64(len(seqs)))
	}
	return true, nil
}

// cut is the score that is at least that of the want nearest: the largest of the want smallest upper
// bounds seen.
type cut struct {
	want int
	high []float32 // a heap, the largest first
}

func newCut(want int) *cut { return &cut{want: want} }

func (c *cut) full() bool { return len(c.high) >= c.want }

func (c *cut) value() float32 {
	if !c.full() {
		return float32(math.Inf(1))
	}
	return c.high[0]
}

func (c *cut) add(v float32) {
	if !c.full() {
		heap.Push((*floatHeap)(&c.high), v)
		return
	}
	c.high[0] = v
	heap.Fix((*floatHeap)(&c.high), 0)
}

type floatHeap []float32

func (h floatHeap) Len() int           { return len(h) }
func (h floatHeap) Less(i, j int) bool { return h[i] > h[j] }
func (h floatHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *floatHeap) Push(x any)        { *h = append(*h, x.(float32)) }
func (h *floatHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}
