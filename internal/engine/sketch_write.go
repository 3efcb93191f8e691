package engine

import (
	"context"
	"database/sql"
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"
	"slices"

	"gorm.io/gorm"

	"github.com/talkbase/talkbase/internal/sketch"
	"github.com/talkbase/talkbase/models"
)

// maxRebuild bounds how many vectors a writer gives new codes to get rid of those that are stale.
const maxRebuild = 20000

// raw is a vector as it is stored, or as it was given.
type raw struct {
	seq  int64
	blob []byte
	vec  []float32
}

// encoder makes codes of vectors relative to the centre of list 0.
type encoder struct {
	set *sketchSet
	vec []float32
	rot []float32
}

func newEncoder(set *sketchSet) *encoder {
	return &encoder{set: set, vec: make([]float32, set.dimensions), rot: make([]float32, set.rotation.Padded())}
}

// state says what became of a vector.
type state int

const (
	coded   state = iota
	ignored       // never an answer: it has another length, or no cosine
	kept          // compared one by one for ever: its numbers are beyond estimates
)

// rotate leaves the rotated vector in e.rot. Vectors of a base with the cosine metric get length 1
// first, so that the nearest by angle are the nearest by distance.
func (e *encoder) rotate(r raw) state {
	switch {
	case r.vec == nil && len(r.blob) == 4*len(e.vec):
		for i := range e.vec {
			e.vec[i] = math.Float32frombits(binary.LittleEndian.Uint32(r.blob[4*i:]))
		}
	case len(r.vec) == len(e.vec):
		copy(e.vec, r.vec)
	default:
		return ignored
	}
	norm2 := squares(e.vec)
	if math.IsNaN(norm2) || e.set.metric == models.MetricCosine && (norm2 == 0 || math.IsInf(norm2, 0)) {
		return ignored
	}
	if e.set.metric == models.MetricCosine {
		unit(e.vec, norm2)
	}
	if norm2 > math.MaxFloat32/1e6 {
		return kept
	}
	e.set.rotation.Rotate(e.rot, e.vec)
	return coded
}

// squares is the squared length of v.
func squares(v []float32) float64 {
	var a, b float64 // two sums, which do not wait for each other
	for ; len(v) >= 2; v = v[2:] {
		a += float64(v[0]) * float64(v[0])
		b += float64(v[1]) * float64(v[1])
	}
	for _, x := range v {
		a += float64(x) * float64(x)
	}
	return a + b
}

func unit(v []float32, norm2 float64) {
	scale := 1 / math.Sqrt(norm2)
	for i, x := range v {
		v[i] = float32(float64(x) * scale)
	}
}

func collectRaw(ctx context.Context, db *gorm.DB, query string, args ...any) ([]raw, error) {
	return Collect(ctx, db, func(s Scanner, v *raw) error { return s.Scan(&v.seq, &v.blob) }, query, args...)
}

// foldAll gives codes to the vectors of the bases that were written to, where there are enough
// without.
func (s *sketches) foldAll(ctx context.Context, tx *gorm.DB, rows []models.KnowledgeVector) error {
	seen := map[string]bool{}
	for i := range rows {
		if base := rows[i].BaseID; !seen[base] {
			seen[base] = true
			if err := s.fold(ctx, tx, base, rows); err != nil {
				return err
			}
		}
	}
	return nil
}

// fold gives codes to vectors that have none, if there are enough of them and at most maxFold, in the
// writer's own transaction. The rows are what was just written.
func (s *sketches) fold(ctx context.Context, tx *gorm.DB, base string, rows []models.KnowledgeVector) error {
	var upto sql.NullInt64
	waiting, err := One(ctx, tx, func(sc Scanner, n *int64) error { return sc.Scan(&upto, n) },
		`SELECT upto, (SELECT count(*) FROM (SELECT 1 FROM knowledge_vectors WHERE base_id = s.id AND seq > coalesce(upto, 0) LIMIT ?)) +
			(SELECT count(*) FROM (SELECT 1 FROM knowledge_sketch_pending WHERE base_id = s.id AND kept = 0 LIMIT ?))
		FROM (SELECT ? AS id) s LEFT JOIN knowledge_sketches k ON k.base_id = s.id`, s.tuning.foldAt, s.tuning.foldAt, base)
	if err != nil || waiting < s.tuning.foldAt {
		return err
	}
	set, err := s.load(ctx, tx, base)
	if errors.Is(err, sketch.ErrDamaged) {
		return nil // queries compare one by one until the sketches are made anew
	}
	if err != nil {
		return err
	}
	shape, err := One(ctx, tx, func(sc Scanner, b *models.KnowledgeBase) error { return sc.Scan(&b.ID, &b.Dimensions, &b.Metric) },
		"SELECT id, dimensions, metric FROM knowledge_bases WHERE id = ?", base)
	if err != nil {
		return err
	}
	if set == nil || !set.fits(shape) {
		return s.restart(ctx, tx, shape)
	}
	if err := s.append(ctx, tx, set, rows); err != nil && !errors.Is(err, sketch.ErrDamaged) {
		return err
	}
	return nil
}

// restart makes the codes of a base anew, in list 0, from its first maxRebuild vectors; the next
// writers take the rest.
func (s *sketches) restart(ctx context.Context, tx *gorm.DB, base models.KnowledgeBase) error {
	rows, err := collectRaw(ctx, tx, "SELECT seq, embedding FROM knowledge_vectors WHERE base_id = ? ORDER BY seq LIMIT ?", base.ID, maxRebuild)
	if err != nil {
		return err
	}
	if len(rows) == 0 {
		return nil
	}
	set := &sketchSet{base: base.ID, dimensions: base.Dimensions, metric: base.Metric, rotation: rotationOf(base.ID, base.Dimensions)}
	set.upto = rows[len(rows)-1].seq
	set.flat = set.mean(rows)
	if _, err := Exec(ctx, tx, "DELETE FROM knowledge_sketch_blocks WHERE base_id = ?", base.ID); err != nil {
		return err
	}
	if _, err := Exec(ctx, tx, "DELETE FROM knowledge_sketch_pending WHERE base_id = ? AND seq <= ?", base.ID, set.upto); err != nil {
		return err
	}
	if err := writeBlock(ctx, tx, base.ID, centresList, sketch.EncodeCentres(set.flat, set.rotation.Padded())); err != nil {
		return err
	}
	b, keep := set.encode(rows)
	set.codes = int64(b.Len())
	set.nextCheck = s.tuning.checkAfter(set.codes)
	if err := writeBlocks(ctx, tx, base.ID, 0, b); err != nil {
		return err
	}
	if err := set.keep(ctx, tx, keep); err != nil {
		return err
	}
	return set.save(ctx, tx)
}

// mean is the centre of list 0: of at most 2,000 of the vectors, spread evenly.
func (s *sketchSet) mean(rows []raw) []float32 {
	e := newEncoder(s)
	var all []float32
	for i := 0; i < len(rows); i += 1 + len(rows)/2000 {
		if e.rotate(rows[i]) == coded {
			all = append(all, e.rot...)
		}
	}
	return sketch.Mean(all, s.rotation.Padded())
}

// encode makes codes relative to the centre of list 0, and returns the seqs of vectors beyond them.
func (s *sketchSet) encode(rows []raw) (*sketch.Block, []int64) {
	const part = 256
	n := (len(rows) + part - 1) / part
	blocks, keeps := make([]*sketch.Block, n), make([][]int64, n)
	sketch.Parallel(n, 1, func(from, to int) {
		e := newEncoder(s)
		for i := from; i < to; i++ {
			b := sketch.NewBlock(s.rotation.Padded())
			for _, r := range rows[i*part : min((i+1)*part, len(rows))] {
				st := e.rotate(r)
				if st == coded {
					sketch.Subtract(e.rot, e.rot, s.flat)
					if !b.Append(r.seq, e.rot) {
						st = kept
					}
				}
				if st == kept {
					keeps[i] = append(keeps[i], r.seq)
				}
			}
			blocks[i] = b
		}
	})
	out := sketch.NewBlock(s.rotation.Padded())
	var keep []int64
	for i, b := range blocks {
		out.AppendAll(b)
		keep = append(keep, keeps[i]...)
	}
	return out, keep
}

// keep notes vectors that are compared one by one for ever.
func (s *sketchSet) keep(ctx context.Context, tx *gorm.DB, seqs []int64) error {
	for _, seq := range seqs {
		if _, err := Exec(ctx, tx, "INSERT INTO knowledge_sketch_pending (base_id, seq, kept) VALUES (?, ?, 1) ON CONFLICT (seq) DO UPDATE SET base_id = excluded.base_id, kept = 1", s.base, seq); err != nil {
			return err
		}
	}
	return nil
}

// foldMemory is what giving codes to vectors takes, in bytes.
func foldMemory(vectors, dimensions int64) int64 { return vectors * (4*dimensions + 128) }

// append gives codes to what is pending and to the next vectors, and joins them with the last block
// that is not full.
func (s *sketches) append(ctx context.Context, tx *gorm.DB, old *sketchSet, rows []models.KnowledgeVector) error {
	if old.codes >= old.nextCheck {
		live, err := One(ctx, tx, Value[int64], "SELECT count(*) FROM knowledge_vectors WHERE base_id = ?", old.base)
		if err != nil {
			return err
		}
		if old.codes > 2*live && live <= maxRebuild {
			if room, ok := s.memory.TryAcquire(foldMemory(live, old.dimensions)); ok { // else another time
				defer room.Release()
				return s.restart(ctx, tx, models.KnowledgeBase{ID: old.base, Dimensions: old.dimensions, Metric: old.metric})
			}
		}
		copied := *old
		copied.nextCheck = s.tuning.checkAfter(old.codes)
		old = &copied
	}
	most := s.tuning.maxFold
	if !s.memory.Reserved(ctx) {
		room, ok := s.memory.TryAcquire(foldMemory(most, old.dimensions))
		if !ok {
			most = s.tuning.foldAt // the next writers take the rest
		}
		defer room.Release()
	}
	changed, err := collectRaw(ctx, tx, `SELECT v.seq, v.embedding FROM knowledge_sketch_pending p CROSS JOIN knowledge_vectors v ON v.seq = p.seq AND v.base_id = p.base_id
		WHERE p.base_id = ? AND p.kept = 0 AND p.seq <= ? ORDER BY p.id LIMIT ?`, old.base, old.upto, most)
	if err != nil {
		return err
	}
	fresh, err := freshRaw(ctx, tx, old, max(1, most-int64(len(changed))), rows)
	if err != nil {
		return err
	}
	small, all, err := s.small(ctx, tx, old)
	if err != nil {
		return err
	}
	set := *old
	if len(fresh) > 0 {
		set.upto = fresh[len(fresh)-1].seq
	}
	if err := set.settle(ctx, tx, old.upto, changed); err != nil {
		return err
	}
	added, keep := set.encode(append(changed, fresh...))
	set.codes += int64(added.Len())
	all.AppendAll(added)
	if err := deleteBlocks(ctx, tx, small); err != nil {
		return err
	}
	if err := writeBlocks(ctx, tx, set.base, 0, all); err != nil {
		return err
	}
	if err := set.keep(ctx, tx, keep); err != nil {
		return err
	}
	return set.save(ctx, tx)
}

// freshRaw returns the next vectors that have no code. Of those that were just written only the seqs
// are read: reading a vector costs as much as making its code.
func freshRaw(ctx context.Context, tx *gorm.DB, set *sketchSet, most int64, written []models.KnowledgeVector) ([]raw, error) {
	given := make(map[string][]float32, len(written))
	for i := range written {
		given[written[i].ID] = written[i].Embedding
	}
	rows, err := Collect(ctx, tx, func(s Scanner, r *raw) error {
		var id string
		err := s.Scan(&r.seq, &id)
		r.vec = given[id]
		return err
	}, "SELECT seq, id FROM knowledge_vectors WHERE base_id = ? AND seq > ? ORDER BY seq LIMIT ?", set.base, set.upto, most)
	if err != nil || !slices.ContainsFunc(rows, func(r raw) bool { return r.vec == nil }) {
		return rows, err
	}
	return collectRaw(ctx, tx, "SELECT seq, embedding FROM knowledge_vectors WHERE base_id = ? AND seq > ? AND seq <= ? ORDER BY seq",
		set.base, set.upto, rows[len(rows)-1].seq)
}

// settle takes from the pending what gets codes now, and what was deleted.
func (s *sketchSet) settle(ctx context.Context, tx *gorm.DB, uptoBefore int64, changed []raw) error {
	seqs := make([]int64, len(changed))
	for i, r := range changed {
		seqs[i] = r.seq
	}
	list, err := json.Marshal(seqs)
	if err != nil {
		return err
	}
	_, err = Exec(ctx, tx, `DELETE FROM knowledge_sketch_pending WHERE base_id = ? AND (seq > ? AND seq <= ?
		OR seq IN (SELECT value FROM json_each(?))
		OR NOT EXISTS (SELECT 1 FROM knowledge_vectors v WHERE v.seq = knowledge_sketch_pending.seq AND v.base_id = knowledge_sketch_pending.base_id))`,
		s.base, uptoBefore, s.upto, string(list))
	return err
}

// small returns the blocks of list 0 that are not full, and their codes in one.
func (s *sketches) small(ctx context.Context, tx *gorm.DB, set *sketchSet) ([]int64, *sketch.Block, error) {
	out := sketch.NewBlock(set.rotation.Padded())
	ids, err := Collect(ctx, tx, Value[int64], "SELECT id FROM knowledge_sketch_blocks WHERE base_id = ? AND list = 0 AND length(data) < ?",
		set.base, out.FullSize())
	if err != nil {
		return nil, nil, err
	}
	blocks, err := s.read(ctx, tx, set, ids)
	if err != nil {
		return nil, nil, err
	}
	for _, b := range blocks {
		out.AppendAll(b.Block())
	}
	return ids, out, nil
}
