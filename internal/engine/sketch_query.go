package engine

import (
	"cmp"
	"container/heap"
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"math"
	"slices"
	"strconv"

	"gorm.io/gorm"

	"github.com/talkbase/talkbase/internal/sketch"
	"github.com/talkbase/talkbase/models"
)

// nearestRows keeps the k nearest of the vectors it is shown, by their exact distances.
type nearestRows struct {
	q NearestQuery
	// joined asks of each vector at once whether it may be an answer. Else the answers are asked at
	// the end, which for each vector that is none saves looking up its chunk and its file.
	joined bool
	top    farthest
	seen   map[int64]bool
	// shown counts the vectors that were read, asked those that compare asked for.
	shown, asked int
}

func newNearestRows(q NearestQuery, joined bool) *nearestRows {
	return &nearestRows{q: q, joined: joined, top: make(farthest, 0, q.K+1), seen: map[int64]bool{}}
}

// offer shows a vector.
func (n *nearestRows) offer(seq int64, id, blob sql.RawBytes) {
	if len(blob) != 4*len(n.q.Vector) {
		return // written by other hands; a report of the database's health names it
	}
	v := Neighbor{seq: seq, Distance: Distance(n.q.Metric, n.q.Vector, blob)}
	if math.IsNaN(v.Distance) || n.q.MaxDistance != nil && v.Distance > *n.q.MaxDistance {
		return
	}
	if len(n.top) < n.q.K {
		v.VectorID = string(id)
		heap.Push(&n.top, v)
	} else if v.Distance <= n.top[0].Distance {
		v.VectorID = string(id)
		if nearer(v, n.top[0]) < 0 {
			n.top[0] = v
			heap.Fix(&n.top, 0)
		}
	}
}

// source is where vectors are read from: tables, with one of them under the alias v, and a condition.
type source struct {
	tables, where string
	args          []any
	// fixed has SQLite read the tables in the order they are written in.
	fixed bool
	// files says that the files are among the tables, under the alias f.
	files bool
}

// statement is the query for the vectors of a source.
func (n *nearestRows) statement(columns string, s source) (string, []any) {
	if !n.joined {
		return "SELECT " + columns + " FROM " + s.tables + " WHERE " + s.where, s.args
	}
	join := " JOIN "
	if s.fixed {
		join = " CROSS JOIN "
	}
	tables := s.tables + join + "knowledge_chunks c ON c.id = v.chunk_id"
	if !s.files {
		tables += join + "knowledge_files f ON f.id = v.file_id"
	}
	filter, fargs := sqliteFilter(n.q.Files)
	return "SELECT " + columns + " FROM " + tables + " WHERE " + s.where + " AND c.status = 'processed'" + filter, slices.Concat(s.args, fargs)
}

// scan shows the vectors of a source.
func (n *nearestRows) scan(ctx context.Context, db *gorm.DB, s source) error {
	query, args := n.statement("v.seq, v.id, v.embedding", s)
	rows, done, err := queryNow(ctx, db, query, args)
	defer done()
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	var seq int64
	var id, blob sql.RawBytes
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
		n.offer(seq, id, blob)
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
	if q.K <= 0 {
		return nil, nil
	}
	if _, in := SQLTx(db); !in { // one snapshot for the sketches and the vectors
		tx, err := e.BeginRead(ctx)
		if err != nil {
			return nil, err
		}
		defer func() { _ = tx.Rollback() }()
		db = tx.DB
	}
	joined := !q.Files.IsZero()
	for {
		top, err := e.nearest(ctx, db, q, joined)
		if err != nil {
			return nil, err
		}
		found, err := e.describe(ctx, db, top)
		// Vectors of chunks that are not processed are rare: only where one is in the way they are
		// sorted out before.
		if err != nil || joined || len(found) == len(top) {
			return found, err
		}
		joined = true
	}
}

func (e *sqliteEngine) nearest(ctx context.Context, db *gorm.DB, q NearestQuery, joined bool) ([]Neighbor, error) {
	if !q.Exact && q.Metric == q.Base.Metric {
		top, ok, err := e.sketches.nearest(ctx, db, q, joined)
		switch {
		case errors.Is(err, sketch.ErrDamaged):
			e.log.WarnContext(ctx, "vectors are compared one by one", slog.String("reason", "the sketches of a knowledge base are damaged: run talkbase indexes, or call CreateOptimalIndexes, to make them anew"))
		case err != nil:
			return nil, err
		case ok:
			q.answeredBy(IndexSketches)
			return top, nil
		}
	}
	q.answeredBy("")
	n := newNearestRows(q, joined)
	n.seen = nil
	err := n.scan(ctx, db, everything(q))
	return n.top, err
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
	// finder ranks the lists.
	finder *sketch.Finder
}

// nearest answers by sketches; ok is false when every vector is better compared.
func (s *sketches) nearest(ctx context.Context, db *gorm.DB, q NearestQuery, joined bool) (top []Neighbor, ok bool, err error) {
	set, err := s.load(ctx, db, q.Base.ID)
	if err != nil || !set.fits(q.Base) {
		return nil, false, err
	}
	if few, err := s.few(ctx, db, q, set.codes); err != nil || few {
		return nil, false, err
	}
	sr := &search{sketches: s, set: set, q: q, n: newNearestRows(q, joined)}
	if !sr.rotate() {
		return nil, false, nil
	}
	// What has no code: the newest, and what is pending.
	err = sr.n.scan(ctx, db, source{
		tables: "(SELECT seq FROM knowledge_vectors WHERE base_id = ? AND seq > ? UNION ALL SELECT seq FROM knowledge_sketch_pending WHERE base_id = ?) u CROSS JOIN knowledge_vectors v ON v.seq = u.seq",
		where:  "v.base_id = ?", args: []any{set.base, set.upto, set.base, set.base}, fixed: true,
	})
	if err != nil {
		return nil, false, err
	}
	// A candidate may be deleted, changed or filtered out: then the search goes on among more.
	for want := q.K; ; {
		settled, err := sr.pass(ctx, db, want)
		if err != nil {
			return nil, false, err
		}
		if settled {
			s.answered.Add(1)
			return sr.n.top, true, nil
		}
		if want = sr.n.more(want, set.codes); want == 0 {
			return nil, false, nil
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
	s.finder = s.set.lists.Finder()
	return true
}

// probes is how many lists are read first for the want nearest: as many as hold them of the sample
// that was measured when the lists were made, between 10 and 100 of them in between, beyond in
// proportion.
func (s *search) probes(want int) int {
	p := float64(s.set.probes10)
	if want > 10 {
		p += (float64(s.set.probes100) - p) * math.Log10(float64(want)/10)
	}
	if want > 100 {
		p = float64(s.set.probes100) * float64(want) / 100
	}
	return min(s.set.lists.Len(), int(math.Ceil(p)))
}

// pass reads the lists that may hold the want nearest, and compares the vectors that may be among
// the k nearest. It reports whether the answer cannot become better by more of them.
func (s *search) pass(ctx context.Context, db *gorm.DB, want int) (settled bool, err error) {
	p := s.newProber(max(want, leastRanked))
	if err := p.read(ctx, db, []int{-1}); err != nil { // what is in no list
		return false, err
	}
	lists := s.set.lists.Len()
	for probes := s.probes(want); len(p.probed) < lists; probes = min(2*probes, lists) {
		if err := p.read(ctx, db, s.finder.Ranked(s.rot, probes)); err != nil {
			return false, err
		}
		if p.cut.full() && settledIn*int(p.cut.last()) < probes {
			break
		}
	}
	limit := p.cut.value()
	found := slices.DeleteFunc(p.found, func(c candidate) bool { return c.low > limit || s.n.seen[c.seq] })
	slices.SortFunc(found, func(a, b candidate) int { return cmp.Or(cmp.Compare(a.low, b.low), cmp.Compare(a.seq, b.seq)) })
	if most := maxCompared + 16*want; len(found) > most {
		found = found[:most] // in data without structure nearly all vectors are about as far
	}
	all, err := s.compare(ctx, db, found)
	if err != nil || !all {
		return err == nil, err
	}
	// What was cut off, or is in other lists, may be nearer than the last.
	return s.n.limit() <= limit && p.cut.full() || !p.cut.full() && len(p.probed) == lists, nil
}

// settledIn says when enough lists were read: when the nearest are all in the first 1/settledIn of
// them. Else there may be nearer ones in others.
const settledIn = 8

// leastRanked is how many of the nearest, at least, tell whether more lists are read.
const leastRanked = 10

// prober collects candidates from one list after the other.
type prober struct {
	*search
	estimator
	cut    *cut
	found  []candidate
	probed map[int]bool
}

func (s *search) newProber(want int) *prober {
	return &prober{
		search: s, estimator: estimator{metric: s.q.Metric, query: s.rot, diff: make([]float32, len(s.rot))},
		cut: newCut(want), probed: map[int]bool{},
	}
}

// read adds the candidates of the lists that were not read before; -1 is what is in none.
func (p *prober) read(ctx context.Context, db *gorm.DB, lists []int) error {
	var ids []int64
	var of []int
	for rank, at := range lists {
		if p.probed[at] {
			continue
		}
		if at >= 0 {
			p.probed[at] = true
		}
		for _, id := range p.set.blocks[int64(at+1)] {
			ids, of = append(ids, id), append(of, rank)
		}
	}
	const atOnce = 64
	last := -1
	for len(ids) > 0 {
		n := min(atOnce, len(ids))
		blocks, err := p.sketches.read(ctx, db, p.set, ids[:n])
		if err != nil {
			return err
		}
		for i, b := range blocks {
			if rank := of[i]; rank != last {
				last = rank
				p.at(p.set.centre(int64(lists[rank] + 1)))
			}
			p.probe(b, last)
		}
		ids, of = ids[n:], of[n:]
	}
	return nil
}

// probe adds the candidates of a block of the list of that rank.
func (p *prober) probe(c *sketch.Columns, rank int) {
	c.Search(&p.rounded, p.score, p.tuning.deviations, p.cut.value(), func(i int, value, wrong float32) float32 {
		p.found = append(p.found, candidate{value - wrong, c.Seqs[i]})
		p.cut.add(value+wrong, rank)
		return p.cut.value()
	})
}

// estimator estimates scores relative to one centre after the other.
type estimator struct {
	metric  models.Metric
	query   []float32
	diff    []float32
	rounded sketch.Query
	score   sketch.Score
}

// at goes to a centre.
func (p *estimator) at(centre []float32) {
	if p.metric == models.MetricIP {
		if p.score.Dot == 0 {
			p.rounded.Set(p.query)
		}
		p.score = sketch.Score{Base: -sketch.Dot(p.query, centre), Dot: 1}
		return
	}
	sketch.Subtract(p.diff, p.query, centre)
	p.rounded.Set(p.diff)
	if p.metric == models.MetricL2 {
		p.score = sketch.Score{Base: p.rounded.Norm2(), Norm2: 1, Dot: 2}
		return
	}
	p.score = sketch.Score{Base: p.rounded.Norm2() / 2, Norm2: 0.5, Dot: 1}
}

// maxCompared bounds how many vectors a query compares, and 16 for each that it is asked for. Real data
// and clusters need some 100; on isotropic noise (100,000 of 768 dimensions), where 7,000 would be
// compared, this bound keeps recall@10 above 0.95.
const maxCompared = 3072

// compareAtOnce is how many candidates the first statement is given; the next gets twice as many.
const compareAtOnce = 64

// compare shows the candidates' vectors, those with the lowest scores first, until no further one
// can be among the nearest. It reports whether it came to the end; if not, nothing else is near.
func (s *search) compare(ctx context.Context, db *gorm.DB, found []candidate) (all bool, err error) {
	part := make([]candidate, 0, compareAtOnce)
	for n := compareAtOnce; len(found) > 0; n *= 2 {
		part = part[:0]
		for len(part) < n && len(found) > 0 {
			if c := found[0]; !s.n.seen[c.seq] { // of one that was replaced there may be an old code as well
				s.n.seen[c.seq] = true
				part = append(part, c)
			}
			found = found[1:]
		}
		if all, err = s.compareSome(ctx, db, part); err != nil || !all {
			return false, err
		}
	}
	return true, nil
}

// compareSome is compare in one statement, which is left as soon as the next candidate is too far.
func (s *search) compareSome(ctx context.Context, db *gorm.DB, found []candidate) (all bool, err error) {
	list := make([]byte, 0, 12*len(found)+2)
	for i, c := range found {
		list = strconv.AppendInt(append(list, "[,"[min(i, 1)]), c.seq, 10)
	}
	query, args := s.n.statement("j.key, v.id, v.embedding", source{
		tables: "json_each(?) j CROSS JOIN knowledge_vectors v ON v.seq = j.value",
		where:  "v.base_id = ?", args: []any{string(append(list, ']')), s.set.base}, fixed: true,
	})
	rows, done, err := queryNow(ctx, db, query, args)
	defer done()
	if err != nil {
		return false, err
	}
	defer func() { _ = rows.Close() }()
	var id, blob sql.RawBytes
	next := 0
	defer func() { s.n.asked += next }()
	for ; next < len(found); next++ {
		if found[next].low > s.n.limit() {
			return false, nil
		}
		if !rows.Next() {
			next = len(found)
			break
		}
		if err := rows.Scan(&next, &id, &blob); err != nil { // some before it may be gone
			return false, classifySQLite(err)
		}
		s.n.shown++
		s.n.offer(found[next].seq, id, blob)
		s.compared.Add(1)
	}
	return true, withEnd(ctx, classifySQLite(rows.Err()))
}

// cut is the score that is at least that of the want nearest: the largest of the want smallest upper
// bounds seen.
type cut struct {
	want int
	high []worst // a heap, the largest first
}

// worst is what a score is at most, and the rank of the list it was seen in.
type worst struct {
	score float32
	rank  int32
}

func newCut(want int) *cut { return &cut{want: want} }

func (c *cut) full() bool { return len(c.high) >= c.want }

func (c *cut) value() float32 {
	if !c.full() {
		return float32(math.Inf(1))
	}
	return c.high[0].score
}

// last is the largest rank of a list that holds one of the nearest.
func (c *cut) last() (rank int32) {
	for _, b := range c.high {
		rank = max(rank, b.rank)
	}
	return rank
}

// add shows a bound.
func (c *cut) add(score float32, rank int) {
	b := worst{score, int32(rank)}
	h := c.high
	if !c.full() {
		h = append(h, b)
		c.high = h
		for i := len(h) - 1; i > 0 && h[i].score > h[(i-1)/2].score; i = (i - 1) / 2 {
			h[i], h[(i-1)/2] = h[(i-1)/2], h[i]
		}
		return
	}
	if !(score < h[0].score) {
		return
	}
	i := 0
	for {
		child := 2*i + 1
		if child >= len(h) {
			break
		}
		if child+1 < len(h) && h[child+1].score > h[child].score {
			child++
		}
		if h[child].score <= score {
			break
		}
		h[i] = h[child]
		i = child
	}
	h[i] = b
}
