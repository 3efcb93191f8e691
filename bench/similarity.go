package bench

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/talkbase/talkbase"
	"github.com/talkbase/talkbase/internal/sketch"
	"github.com/talkbase/talkbase/models"
	"github.com/talkbase/talkbase/repo"
)

// GroupSimilarity is similarity queries against what else there is, and their recall.
const GroupSimilarity = "similarity"

const (
	vec0Target    = 1.0 / 20
	chromemTarget = 1.0 / 50
	pgliteTarget  = 1.0
	growthTarget  = 10
	byHandTarget  = 1.3

	leastRecall      = 0.99
	leastNoiseRecall = 0.95

	similarK       = 10
	similarQueries = 100
)

func itoa(n int) string { return strconv.Itoa(n) }

// made is vectors, queries of the same kind, and the nearest of each by comparing all.
type made struct {
	name          string
	dims          int
	rows, queries []float32
	truth         [][]int // the most that is asked for, nearest first
}

func (d *made) len() int              { return len(d.rows) / d.dims }
func (d *made) row(i int) []float32   { return d.rows[i*d.dims : (i+1)*d.dims] }
func (d *made) query(i int) []float32 { return d.queries[i*d.dims : (i+1)*d.dims] }
func (d *made) asked() int            { return len(d.queries) / d.dims }

// clusters makes n vectors of length 1 around n/100 centres, and queries around the same.
func clusters(n, dims int) *made {
	r := rand.New(rand.NewPCG(21, uint64(n))) //nolint:gosec // no secret
	centres := make([]float32, max(1, n/100)*dims)
	for i := range centres {
		centres[i] = float32(r.NormFloat64())
	}
	return draw(fmt.Sprintf("clusters, %s x %d", count(n), dims), n, dims, func(v []float32) {
		c := centres[r.IntN(len(centres)/dims)*dims:]
		for i := range v {
			v[i] = c[i] + 0.5*float32(r.NormFloat64())
		}
	})
}

// noise makes n vectors of length 1 in all directions.
func noise(n, dims int) *made {
	r := rand.New(rand.NewPCG(22, uint64(n))) //nolint:gosec // no secret
	return draw(fmt.Sprintf("isotropic noise, %s x %d", count(n), dims), n, dims, func(v []float32) {
		for i := range v {
			v[i] = float32(r.NormFloat64())
		}
	})
}

func draw(name string, n, dims int, next func(v []float32)) *made {
	d := &made{name: name, dims: dims, rows: make([]float32, n*dims), queries: make([]float32, similarQueries*dims)}
	for _, all := range [][]float32{d.rows, d.queries} {
		for v := range slices.Chunk(all, dims) {
			next(v)
			scale := 1 / float32(math.Sqrt(float64(sketch.Dot(pad(v), pad(v)))))
			for i := range v {
				v[i] *= scale
			}
		}
	}
	return d
}

// pad makes the length a multiple of 4.
func pad(v []float32) []float32 {
	if n := len(v) % 4; n != 0 {
		return append(slices.Clone(v), make([]float32, 4-n)...)
	}
	return v
}

// sentences reads real embeddings, of length 1; see the README of that folder.
func sentences(folder string) (*made, error) {
	const dims = 512
	d := &made{dims: dims}
	for _, part := range []struct {
		file string
		to   *[]float32
	}{{"embeddings-512.base.f32", &d.rows}, {"embeddings-512.query.f32", &d.queries}} {
		b, err := os.ReadFile(filepath.Join(folder, part.file)) //nolint:gosec // the folder is the caller's
		if err != nil {
			return nil, err
		}
		for ; len(b) >= 4; b = b[4:] {
			*part.to = append(*part.to, math.Float32frombits(binary.LittleEndian.Uint32(b)))
		}
	}
	d.name = fmt.Sprintf("real embeddings, %s x %d", count(d.len()), dims)
	return d, nil
}

// findTruth compares every query with every vector; they have length 1.
func (d *made) findTruth(k int) {
	type near struct {
		dot float32
		at  int
	}
	k = min(k, d.len())
	d.truth = make([][]int, d.asked())
	sketch.Parallel(d.asked(), 1, func(from, to int) {
		all := make([]near, d.len())
		for q := from; q < to; q++ {
			query := pad(d.query(q))
			for i := range all {
				all[i] = near{sketch.Dot(query, pad(d.row(i))), i}
			}
			slices.SortFunc(all, func(a, b near) int { return cmp.Compare(b.dot, a.dot) })
			for _, n := range all[:k] {
				d.truth[q] = append(d.truth[q], n.at)
			}
		}
	})
}

// recall is the part of the truth that was found.
func (d *made) recall(found [][]int, k int) float64 {
	hits, wanted := 0, 0
	for q, ids := range found {
		truth := d.truth[q][:min(k, len(d.truth[q]))]
		wanted += len(truth)
		for _, id := range ids {
			if slices.Contains(truth, id) {
				hits++
			}
		}
	}
	return float64(hits) / float64(max(wanted, 1))
}

// nearest makes one query.
type nearest func(ctx context.Context, query []float32, k int) ([]int, error)

// peer is one side of a comparison: it is asked one query after the other, and each is timed.
type peer struct {
	name   string
	d      *made
	ask    func(ctx context.Context, queries []int) (found [][]int, took []time.Duration, err error)
	recall float64
	next   int
	took   []time.Duration
}

// oneByOne is a peer whose queries are calls.
func oneByOne(name string, d *made, k int, f nearest) *peer {
	return &peer{name: name, d: d, ask: func(ctx context.Context, queries []int) (found [][]int, took []time.Duration, err error) {
		for _, q := range queries {
			start := time.Now()
			ids, err := f(ctx, d.query(q), k)
			if err != nil {
				return nil, nil, err
			}
			found, took = append(found, ids), append(took, time.Since(start))
		}
		return found, took, nil
	}}
}

// measure makes every query once and sets the recall.
func (p *peer) measure(ctx context.Context, k int) error {
	all := make([]int, p.d.asked())
	for i := range all {
		all[i] = i
	}
	found, _, err := p.ask(ctx, all)
	p.recall = p.d.recall(found, k)
	return err
}

func (p *peer) label() string { return fmt.Sprintf("%s (recall %.4f)", p.name, p.recall) }

// side is the peer in a comparison, in which the median of the queries of a turn counts.
func (p *peer) side() Side {
	typical := func(ctx context.Context, n int) (time.Duration, error) {
		queries := make([]int, n)
		for i := range queries {
			queries[i] = p.next % p.d.asked()
			p.next++
		}
		_, took, err := p.ask(ctx, queries)
		p.took = append(p.took, took...)
		if err != nil || len(took) == 0 {
			return 0, err
		}
		return middle(slices.Sorted(slices.Values(took))), nil
	}
	return Side{Label: p.label(), Typical: typical, Run: func(ctx context.Context, n int) error {
		_, err := typical(ctx, n)
		return err
	}}
}

// note says how long single queries took.
func (p *peer) note(what string) string {
	if len(p.took) == 0 {
		return ""
	}
	took := slices.Sorted(slices.Values(p.took))
	ms := func(part float64) float64 {
		return float64(took[int(part*float64(len(took)-1))].Microseconds()) / 1000
	}
	return fmt.Sprintf("%s, %s: %d queries, p50 %.2f ms, p95 %.2f ms.", what, p.label(), len(took), ms(0.5), ms(0.95))
}

// noted adds the notes of peers to the report.
func (e *Env) noted(what string, peers ...*peer) {
	for _, p := range peers {
		e.notes = append(e.notes, func() string { return p.note(what) })
	}
}

// base is a base of talkbase with the vectors of made.
type base struct {
	cfg talkbase.Config
	d   *made
	db  *talkbase.DB
}

// newBase stores the vectors and makes the indexes.
func (e *Env) newBase(ctx context.Context, cfg talkbase.Config, d *made) (*base, error) {
	b := &base{cfg: cfg, d: d}
	if err := b.open(ctx); err != nil {
		return nil, err
	}
	e.close = append(e.close, func() error { return b.db.Close() })
	start := time.Now()
	if err := knowledge(ctx, b.db, d.len(), d.dims); err != nil {
		return nil, err
	}
	const batch = 5000
	rows := make([]models.KnowledgeVector, 0, batch)
	for from := 0; from < d.len(); from += batch {
		rows = rows[:0]
		for i := from; i < min(from+batch, d.len()); i++ {
			rows = append(rows, models.KnowledgeVector{ID: id('v', i), BaseID: "vectors", FileID: "vectors-file", ChunkID: id('k', i), Embedding: d.row(i), CreatedAt: epoch})
		}
		if _, err := b.db.UpsertVectors(ctx, rows); err != nil {
			return nil, err
		}
	}
	stored := time.Since(start)
	start = time.Now()
	if _, err := b.db.CreateOptimalIndexes(ctx); err != nil {
		return nil, err
	}
	e.say("talkbase, %s: stored in %.1f s, indexed in %.1f s.", d.name, stored.Seconds(), time.Since(start).Seconds())
	return b, b.open(ctx) // the log of what was written is worked into the file
}

// say adds a line to the report.
func (e *Env) say(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	e.notes = append(e.notes, func() string { return line })
	_, _ = fmt.Fprintln(e.Log, line)
}

// open opens the database, or opens it anew.
func (b *base) open(ctx context.Context) error {
	if b.db != nil {
		if err := b.db.Close(); err != nil {
			return err
		}
	}
	db, err := talkbase.Open(ctx, b.cfg)
	if err == nil {
		b.db = db
	}
	return err
}

func (b *base) nearest(exact bool) nearest {
	return func(ctx context.Context, query []float32, k int) ([]int, error) {
		chunks, err := b.db.SimilarityQuery(ctx, repo.SimilarityQuery{BaseID: "vectors", Vector: query, Limit: k, Exact: exact})
		found := make([]int, len(chunks))
		for i, c := range chunks {
			if found[i], err = numberOf(c.VectorID); err != nil {
				return nil, err
			}
		}
		return found, err
	}
}

// numberOf is n of id(kind, n).
func numberOf(id string) (int, error) {
	b, err := hex.DecodeString(strings.ReplaceAll(id, "-", ""))
	if err != nil || len(b) != 16 {
		return 0, fmt.Errorf("%q is not an id of a made row", id)
	}
	return int(binary.BigEndian.Uint64(b)>>16) - epoch, nil
}

// recalled fails where a ratio would be one of different answers.
func recalled(p *peer, least float64) error {
	if p.recall < least {
		return fmt.Errorf("%s, %s: wanted at least %.2f", p.d.name, p.label(), least)
	}
	return nil
}

// similarity compares similarity queries on SQLite with sqlite-vec, chromem-go and PGlite over the same
// vectors, and with themselves on fewer vectors; on Postgres with the same SQL written by hand.
func (e *Env) similarity(ctx context.Context, engine string, s Sizes) ([]Comparison, error) {
	parts := []func(context.Context, Sizes) ([]Comparison, error){e.withPeers, e.asItGrows, e.ofOtherKinds}
	if engine == Postgres {
		parts = []func(context.Context, Sizes) ([]Comparison, error){e.withHand}
	}
	var out []Comparison
	for _, part := range parts {
		more, err := part(ctx, s)
		if err != nil {
			return nil, err
		}
		out = append(out, more...)
	}
	for i := range out {
		out[i].Group, out[i].Engine = GroupSimilarity, engine
	}
	return out, nil
}

// withPeers are the comparisons with other libraries.
func (e *Env) withPeers(ctx context.Context, s Sizes) ([]Comparison, error) {
	d := clusters(s.Similar, s.SimilarDimensions)
	d.findTruth(1000)
	b, err := e.newBase(ctx, talkbase.Config{DSN: filepath.Join(e.dir, "similar.db")}, d)
	if err != nil {
		return nil, err
	}
	v, err := newVec0(ctx, filepath.Join(e.dir, "vec0.db"), d)
	if err != nil {
		return nil, err
	}
	e.close = append(e.close, func() error { return v.close() })
	inMemory, err := inChromem(ctx, d)
	if err != nil {
		return nil, err
	}
	lite, version, err := startPGlite(ctx, s.PGlite, e.dir, d, similarK)
	switch {
	case errors.Is(err, errNoPGlite):
		e.say("%s.", err)
	case err != nil:
		return nil, err
	default:
		e.close = append(e.close, lite.close)
	}

	ours := oneByOne("talkbase", d, similarK, b.nearest(false))
	scan := oneByOne(vec0Label, d, similarK, v.nearest)
	memory := oneByOne("chromem-go", d, similarK, inMemory)
	peers := []*peer{ours, scan, memory}
	var hnsw *peer
	if lite != nil {
		hnsw = &peer{name: "PGlite HNSW", d: d, ask: func(_ context.Context, queries []int) ([][]int, []time.Duration, error) { return lite.ask(queries) }}
		peers = append(peers, hnsw)
	}
	for _, p := range peers[:3] {
		if err := p.measure(ctx, similarK); err != nil {
			return nil, err
		}
	}
	if err := recalled(ours, leastRecall); err != nil {
		return nil, err
	}
	if hnsw != nil {
		// The least effort with which it finds as much, at most 1 in 1,000 less.
		if err := leastEffort(func(ef int) (float64, error) {
			if err := lite.effort(ef); err != nil {
				return 0, err
			}
			hnsw.name = fmt.Sprintf("PGlite HNSW, pgvector %s, ef_search %d", version, ef)
			return hnsw.recall, hnsw.measure(ctx, similarK)
		}, ours.recall-0.001); err != nil {
			return nil, err
		}
	}
	what := fmt.Sprintf("%d nearest of %s x %d", similarK, count(s.Similar), s.SimilarDimensions)
	e.noted(what, peers...)
	out := []Comparison{
		{Name: what, Target: vec0Target, A: ours.side(), B: scan.side()},
		{Name: what, Target: chromemTarget, A: ours.side(), B: memory.side()},
	}
	if hnsw != nil {
		out = append(out, Comparison{Name: what, Target: pgliteTarget, A: ours.side(), B: hnsw.side()})
	}

	// Cold: the first query of a newly opened database, whose file the system has in memory.
	fresh := func(name string, p *peer, open func(ctx context.Context) error) (*peer, Side) {
		q := &peer{name: name, d: d, ask: p.ask, recall: p.recall}
		side := q.side()
		side.Prepare = open
		return q, side
	}
	oursFresh, oursSide := fresh("talkbase, newly opened", ours, b.open)
	scanFresh, scanSide := fresh(vec0Label+", newly opened", scan, v.open)
	first := "the first, " + what
	e.noted(first, oursFresh, scanFresh)
	out = append(out, Comparison{Name: first, Slow: true, A: oursSide, B: scanSide})
	if hnsw != nil {
		liteFresh, liteSide := fresh("PGlite HNSW, newly opened", hnsw, func(context.Context) error { return lite.reopen() })
		e.noted(first, liteFresh)
		out = append(out, Comparison{Name: first, Slow: true, A: oursSide, B: liteSide})
	}
	for _, k := range []int{100, 1000} {
		what := fmt.Sprintf("%s nearest of %s x %d", count(k), count(s.Similar), s.SimilarDimensions)
		a, b := oneByOne("talkbase", d, k, b.nearest(false)), oneByOne(vec0Label, d, k, v.nearest)
		if err := errors.Join(a.measure(ctx, k), b.measure(ctx, k)); err != nil {
			return nil, err
		}
		e.noted(what, a, b)
		out = append(out, Comparison{Name: what, A: a.side(), B: b.side()})
	}
	return out, nil
}

// leastEffort tries hnsw.ef_search until the recall is reached; the last that it tried stays set.
func leastEffort(try func(ef int) (recall float64, err error), wanted float64) error {
	for _, ef := range []int{10, 20, 40, 60, 80, 100, 120, 160, 200, 300, 400, 600, 800, 1000} {
		recall, err := try(ef)
		if err != nil || recall >= wanted {
			return err
		}
	}
	return nil
}

// asItGrows compares a base with one of a tenth and one of a hundredth of its vectors.
func (e *Env) asItGrows(ctx context.Context, s Sizes) ([]Comparison, error) {
	var peers [3]*peer
	for i, n := range []int{s.Grown / 100, s.Grown / 10, s.Grown} {
		d := clusters(n, s.GrownDimensions)
		d.findTruth(similarK)
		b, err := e.newBase(ctx, talkbase.Config{DSN: filepath.Join(e.dir, fmt.Sprintf("grown-%d.db", i))}, d)
		if err != nil {
			return nil, err
		}
		peers[i] = oneByOne(count(n), d, similarK, b.nearest(false))
		if err := peers[i].measure(ctx, similarK); err != nil {
			return nil, err
		}
		if err := recalled(peers[i], leastRecall); err != nil {
			return nil, err
		}
		d.rows = nil // a gigabyte
	}
	what := fmt.Sprintf("%d nearest, %d dimensions, as the base grows", similarK, s.GrownDimensions)
	e.noted(what, peers[:]...)
	return []Comparison{
		{Name: what, Target: growthTarget, A: peers[1].side(), B: peers[0].side()},
		{Name: what, Target: growthTarget, A: peers[2].side(), B: peers[0].side()},
	}, nil
}

// ofOtherKinds compares what the index finds with what comparing all finds, on vectors that are hard for
// it.
func (e *Env) ofOtherKinds(ctx context.Context, s Sizes) (out []Comparison, err error) {
	type kind struct {
		d     *made
		least float64
	}
	kinds := []kind{{noise(s.Similar, s.SimilarDimensions), leastNoiseRecall}}
	if d, err := sentences(s.Embeddings); err == nil {
		kinds = append(kinds, kind{d, leastRecall})
	} else {
		e.say("The real embeddings are left out: %s.", err)
	}
	for i, kind := range kinds {
		d := kind.d
		d.findTruth(similarK)
		b, err := e.newBase(ctx, talkbase.Config{DSN: filepath.Join(e.dir, fmt.Sprintf("kind-%d.db", i))}, d)
		if err != nil {
			return nil, err
		}
		index, all := oneByOne("talkbase", d, similarK, b.nearest(false)), oneByOne("talkbase, exact", d, similarK, b.nearest(true))
		if err := index.measure(ctx, similarK); err != nil {
			return nil, err
		}
		if err := recalled(index, kind.least); err != nil {
			e.say("Not reached: %s.", err)
		}
		all.recall = 1
		what := fmt.Sprintf("%d nearest of %s", similarK, d.name)
		e.noted(what, index, all)
		out = append(out, Comparison{Name: what, A: index.side(), B: all.side()})
	}
	return out, nil
}
