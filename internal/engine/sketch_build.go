package engine

import (
	"cmp"
	"context"
	"errors"
	"math"
	"slices"
	"time"

	"gorm.io/gorm"

	"github.com/talkbase/talkbase/internal/sketch"
	"github.com/talkbase/talkbase/models"
)

// sketchMethod is the IndexSpec.Method of sketches.
const sketchMethod = "sketches"

// Building reads this many vectors at a time, and trains centres with at most this many for each.
const (
	buildBatch     = 4096
	sampleOfCentre = 16
)

// listsPower says how many lists there are: the number of vectors to this power, 1,000 for 100,000 and
// 4,000 for 1,000,000. In lists as long as they are many (0.5), vectors of different clusters share
// one, and many more have to be read; more lists cost more to make and to choose from.
const listsPower = 0.6

// builder makes the sketches of a base anew from one snapshot, while writers go on.
type builder struct {
	e     *sqliteEngine
	set   *sketchSet
	codes []*sketch.Block // list 0 and the others
	keep  []int64
	// replaced are the blocks of the snapshot, pending the last id of what was pending in it.
	replaced []int64
	pending  int64
}

// buildSketches makes the sketches of a base anew, with lists where it is large, unless they are
// fresh. All codes are in memory until they are written at once.
func (e *sqliteEngine) buildSketches(ctx context.Context, base string) (bool, error) {
	b := &builder{e: e}
	fresh, err := b.read(ctx, base)
	if err != nil || fresh {
		return false, err
	}
	// What took minutes to make is not thrown away because somebody writes for longer than calls wait.
	var tx *Tx
	err = retryBusy(ctx, buildPatience, func() (err error) {
		tx, err = e.Begin(ctx)
		return err
	})
	if err != nil {
		return false, err
	}
	if err := b.write(ctx, tx.DB); err != nil {
		return false, errors.Join(err, tx.Rollback())
	}
	return true, tx.Commit()
}

// buildPatience is how long sketches that are made wait to be written.
const buildPatience = 10 * time.Minute

// read makes the codes of one snapshot in memory; fresh means that those there are will do.
func (b *builder) read(ctx context.Context, base string) (fresh bool, err error) {
	tx, err := b.e.BeginRead(ctx)
	if err != nil {
		return false, err
	}
	defer func() { _ = tx.Rollback() }()
	db := tx.DB
	type sized struct {
		models.KnowledgeBase
		rows, last int64
	}
	k, err := One(ctx, db, func(s Scanner, v *sized) error { return s.Scan(&v.ID, &v.Dimensions, &v.Metric, &v.rows, &v.last) },
		`SELECT b.id, b.dimensions, b.metric, count(v.seq), coalesce(max(v.seq), 0)
		FROM knowledge_bases b LEFT JOIN knowledge_vectors v ON v.base_id = b.id WHERE b.id = ? GROUP BY b.id`, base)
	if err != nil {
		return false, err
	}
	tuning := b.e.sketches.tuning
	if fresh, err = b.isFresh(ctx, db, k.KnowledgeBase, k.rows); err != nil || fresh {
		return fresh, err
	}
	if b.pending, err = One(ctx, db, Value[int64], "SELECT coalesce(max(id), 0) FROM knowledge_sketch_pending"); err != nil {
		return false, err
	}
	if b.replaced, err = Collect(ctx, db, Value[int64], "SELECT id FROM knowledge_sketch_blocks WHERE base_id = ?", base); err != nil {
		return false, err
	}
	set := &sketchSet{base: base, dimensions: k.Dimensions, metric: k.Metric, upto: k.last, trained: k.rows, rotation: rotationOf(base, k.Dimensions)}
	b.set = set
	lists := 0
	if k.rows >= tuning.listsFrom {
		lists = int(math.Pow(float64(k.rows), listsPower))
	}
	sample, err := b.sample(ctx, db, k.rows, max(2000, lists*sampleOfCentre))
	if err != nil {
		return false, err
	}
	set.flat = sketch.Mean(sample, set.rotation.Padded())
	set.lists = sketch.NewCentres(nil, set.rotation.Padded())
	if lists > 0 && len(sample) > 0 {
		set.lists = sketch.KMeans(sample, set.rotation.Padded(), lists, uint64(k.rows))
	}
	if err := b.encode(ctx, db); err != nil {
		return false, err
	}
	b.calibrate(sample)
	return false, nil
}

// isFresh reports whether the sketches that are there need not be made anew: they are whole, and
// neither much came since, nor are many stale.
func (b *builder) isFresh(ctx context.Context, db *gorm.DB, base models.KnowledgeBase, rows int64) (bool, error) {
	s := b.e.sketches
	set, err := s.load(ctx, db, base.ID)
	if errors.Is(err, sketch.ErrDamaged) {
		return false, nil
	}
	if err != nil || !set.fits(base) {
		return false, err
	}
	waiting, err := One(ctx, db, Value[int64], `SELECT (SELECT count(*) FROM (SELECT 1 FROM knowledge_vectors WHERE base_id = ? AND seq > ? LIMIT ?)) +
		(SELECT count(*) FROM knowledge_sketch_pending WHERE base_id = ? AND kept = 0)`, base.ID, set.upto, s.tuning.foldAt, base.ID)
	if err != nil {
		return false, err
	}
	wanted, have := rows >= s.tuning.listsFrom, set.trained > 0
	grown := wanted && (!have || rows > set.trained+set.trained/4)
	if waiting >= s.tuning.foldAt || grown || set.codes > rows+rows/4+s.tuning.foldAt {
		return false, nil
	}
	for part := range slices.Chunk(set.ids(), 64) {
		ids := slices.DeleteFunc(part, func(id int64) bool { return slices.Contains(set.blocks[centresList], id) })
		if _, err := s.read(ctx, db, set, ids); errors.Is(err, sketch.ErrDamaged) {
			return false, nil
		} else if err != nil {
			return false, err
		}
	}
	return true, nil
}

// sample returns about n of the vectors, rotated. It picks them by a hash of their seq, because
// neighbours in seq are often alike.
func (b *builder) sample(ctx context.Context, db *gorm.DB, rows int64, n int) ([]float32, error) {
	every := max(1, rows/int64(n))
	found, err := collectRaw(ctx, db, `SELECT seq, embedding FROM knowledge_vectors
		WHERE base_id = ? AND seq <= ? AND (((seq % 1000000007) * 2654435761) >> 8) % ? = 0`, b.set.base, b.set.upto, every)
	if err != nil {
		return nil, err
	}
	e := newEncoder(b.set)
	out := make([]float32, 0, len(found)*len(e.rot))
	for _, r := range found {
		if e.rotate(r) == coded {
			out = append(out, e.rot...)
		}
	}
	return out, nil
}

// encode reads every vector of the snapshot and adds its code to the list of the nearest centre.
func (b *builder) encode(ctx context.Context, db *gorm.DB) error {
	set := b.set
	padded := set.rotation.Padded()
	b.codes = make([]*sketch.Block, 1+set.lists.Len())
	for i := range b.codes {
		b.codes[i] = sketch.NewBlock(padded)
	}
	rot := make([]float32, buildBatch*padded)
	list := make([]int64, buildBatch)
	for after := int64(math.MinInt64); ; {
		rows, err := collectRaw(ctx, db, "SELECT seq, embedding FROM knowledge_vectors WHERE base_id = ? AND seq > ? AND seq <= ? ORDER BY seq LIMIT ?",
			set.base, after, set.upto, buildBatch)
		if err != nil || len(rows) == 0 {
			return err
		}
		after = rows[len(rows)-1].seq
		sketch.Parallel(len(rows), 64, func(from, to int) {
			e, f := newEncoder(set), set.lists.Finder()
			for i := from; i < to; i++ {
				list[i] = -1
				switch e.rotate(rows[i]) {
				case coded:
					list[i] = 0
					if set.lists.Len() > 0 {
						list[i] = int64(f.Nearest(e.rot) + 1)
					}
					sketch.Subtract(rot[i*padded:(i+1)*padded], e.rot, set.centre(list[i]))
				case kept:
					list[i] = -2
				}
			}
		})
		for i, r := range rows {
			switch {
			case list[i] == -2, list[i] >= 0 && !b.codes[list[i]].Append(r.seq, rot[i*padded:(i+1)*padded]):
				b.keep = append(b.keep, r.seq)
			case list[i] >= 0:
				set.codes++
			}
		}
	}
}

// Calibration: how many of the sample are looked for, and the part of their nearest that the lists
// read first must hold.
const (
	calibrated   = 100
	calibratedTo = 0.99
)

// leastProbes is, times the root of their number, how many lists are read first at least. The sample is
// of the base, and what people ask is not: of 96,000 vectors in 953 lists (512 dimensions, 6,000 real
// sentences, each with 16 that differ by some noise) a few lists hold what the sample looks for, and 31 at
// first, with settledIn, what questions do.
const leastProbes = 1

// calibrate measures how many lists hold the 10 and the 100 nearest of some of the vectors, by their
// codes. In vectors without clusters that is nearly all.
func (b *builder) calibrate(sample []float32) {
	set := b.set
	lists, padded := set.lists.Len(), set.rotation.Padded()
	n := len(sample) / padded
	if lists == 0 || n == 0 {
		return
	}
	count := min(calibrated, n)
	ranks := make([][]int, count)
	columns := make([]*sketch.Columns, lists)
	for i := range columns {
		columns[i] = b.codes[i+1].Columns()
	}
	sketch.Parallel(count, 1, func(from, to int) {
		p := estimator{metric: set.metric, diff: make([]float32, padded)}
		f := set.lists.Finder()
		for i := from; i < to; i++ {
			at := i * (n / count)
			p.query = sample[at*padded : (at+1)*padded]
			p.score = sketch.Score{}
			ranks[i] = b.ranks(&p, f, columns)
		}
	})
	in10, in100 := make([]int, lists), make([]int, lists) // how many of the nearest are in the i-th list
	for _, r := range ranks {
		for rank, order := range r {
			if rank < 10 {
				in10[order]++
			}
			in100[order]++
		}
	}
	set.probes10, set.probes100 = enough(in10), enough(in100)
}

// ranks returns, for the 100 nearest to p's query by their codes, the places of their lists in the
// order of distance.
func (b *builder) ranks(p *estimator, f *sketch.Finder, columns []*sketch.Columns) []int {
	type near struct {
		score float32
		order int
	}
	var all []near
	limit := newCut(200)
	for order, at := range f.Ranked(p.query, len(columns)) {
		p.at(b.set.lists.At(at))
		columns[at].Search(&p.rounded, p.score, 0, limit.value(), func(_ int, score, _ float32) float32 {
			if score < limit.value() {
				limit.add(score, order)
				all = append(all, near{score, order})
			}
			return limit.value()
		})
	}
	slices.SortFunc(all, func(a, b near) int { return cmp.Compare(a.score, b.score) })
	out := make([]int, 0, 100)
	for _, n := range all[:min(100, len(all))] {
		out = append(out, n.order)
	}
	return out
}

// enough is how many of the first lists hold the part asked for.
func enough(in []int) int64 {
	total, sum := 0, 0
	for _, n := range in {
		total += n
	}
	first := 0
	for float64(sum) < calibratedTo*float64(total) {
		sum += in[first]
		first++
	}
	return int64(min(len(in), max(first, int(leastProbes*math.Sqrt(float64(len(in)))))))
}

// write replaces what there is. What changed since the snapshot, or came to it, is pending or above upto.
// Where another process has built sketches meanwhile, those stay.
func (b *builder) write(ctx context.Context, tx *gorm.DB) error {
	set := b.set
	now, err := One(ctx, tx, func(s Scanner, v *sketchSet) error { return s.Scan(&v.trained, &v.dimensions, &v.metric) },
		"SELECT coalesce(k.trained, 0), b.dimensions, b.metric FROM knowledge_bases b LEFT JOIN knowledge_sketches k ON k.base_id = b.id WHERE b.id = ?", set.base)
	if errors.Is(err, ErrNotFound) {
		return nil // it was deleted meanwhile
	}
	if err != nil {
		return err
	}
	if now.dimensions != set.dimensions || now.metric != set.metric {
		return Invalidf("knowledge base %q changed its dimensions or metric while its index was made: do it again", set.base)
	}
	if now.trained > 0 {
		centres, err := Collect(ctx, tx, Value[int64], "SELECT id FROM knowledge_sketch_blocks WHERE base_id = ? AND list = ?", set.base, centresList)
		if err != nil || len(centres) > 0 && !slices.Contains(b.replaced, centres[0]) {
			return err
		}
	}
	if err := deleteBlocks(ctx, tx, b.replaced); err != nil {
		return err
	}
	// Blocks that writers made meanwhile are relative to a centre that is gone: what they hold is
	// compared one by one until the next writer.
	if err := b.release(ctx, tx); err != nil {
		return err
	}
	if _, err := Exec(ctx, tx, "DELETE FROM knowledge_sketch_pending WHERE base_id = ? AND id <= ?", set.base, b.pending); err != nil {
		return err
	}
	padded := set.rotation.Padded()
	if err := writeBlock(ctx, tx, set.base, centresList, sketch.EncodeCentres(b.centres(), padded)); err != nil {
		return err
	}
	for list, codes := range b.codes {
		if err := writeBlocks(ctx, tx, set.base, int64(list), codes); err != nil {
			return err
		}
	}
	if err := set.keep(ctx, tx, b.keep); err != nil {
		return err
	}
	set.nextCheck = b.e.sketches.tuning.checkAfter(set.codes)
	return set.save(ctx, tx)
}

// release deletes blocks that were made after the snapshot and notes their vectors up to upto as
// pending; later ones are above upto.
func (b *builder) release(ctx context.Context, tx *gorm.DB) error {
	set := b.set
	newer, err := Collect(ctx, tx, Value[int64], "SELECT id FROM knowledge_sketch_blocks WHERE base_id = ? AND list >= 0", set.base)
	if err != nil {
		return err
	}
	blocks, err := b.e.sketches.read(ctx, tx, set, newer)
	if err != nil {
		return err
	}
	for _, block := range blocks {
		for _, seq := range block.Seqs {
			if seq > set.upto {
				continue
			}
			if _, err := Exec(ctx, tx, `INSERT INTO knowledge_sketch_pending (base_id, seq) SELECT ?, ?
				WHERE NOT EXISTS (SELECT 1 FROM knowledge_sketch_pending WHERE seq = ?)`, set.base, seq, seq); err != nil {
				return err
			}
		}
	}
	_, err = Exec(ctx, tx, "DELETE FROM knowledge_sketch_blocks WHERE base_id = ?", set.base)
	return err
}

// centres are those of list 0 and the others, one after the other.
func (b *builder) centres() []float32 {
	out := slices.Clone(b.set.flat)
	for i := range b.set.lists.Len() {
		out = append(out, b.set.lists.At(i)...)
	}
	return out
}
