package engine

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"

	"gorm.io/gorm"

	"github.com/talkbase/talkbase/internal/sketch"
	"github.com/talkbase/talkbase/models"
)

// coverWindow is how many seqs are checked against the codes at a time: one bit of memory each.
const coverWindow = 1 << 26

// VectorIndexState reads every code of the base, and the seq of every vector.
func (e *sqliteEngine) VectorIndexState(ctx context.Context, db *gorm.DB, base models.KnowledgeBase, rows int64) (VectorIndexState, error) {
	st := VectorIndexState{Name: "sketches of " + base.ID}
	err := inReadTx(ctx, e, db, func(db *gorm.DB) error {
		set, err := e.sketches.load(ctx, db, base.ID)
		if err == nil && set != nil {
			st.Kind = sketchMethod
			if set.fits(base) {
				err = e.sketches.uncovered(ctx, db, set, &st)
			}
		}
		switch {
		case errors.Is(err, sketch.ErrDamaged):
			st.Kind, st.Problem, st.Why = sketchMethod, VectorIndexDamaged, err.Error()
			return nil
		case err != nil:
			return err
		case st.Count > 0:
			st.Problem, st.Why = VectorIndexIncomplete, "it has no code of some vectors"
			return nil
		case set == nil && rows >= e.sketches.tuning.foldAt:
			st.Problem, st.Why = VectorIndexMissing, plural(rows, "vector is", "vectors are")+" compared one by one"
			return nil
		case set == nil:
			return nil
		case !set.fits(base):
			st.Problem, st.Why = VectorIndexStale, fmt.Sprintf("it was made for %d dimensions and the metric %s", set.dimensions, set.metric)
			return nil
		}
		fresh, err := (&builder{e: e}).isFresh(ctx, db, base, rows)
		if err == nil && !fresh {
			st.Problem, st.Why = VectorIndexStale, "many vectors came or went since it was made"
		}
		return err
	})
	if st.Kind == "" {
		st.Name = ""
	}
	return st, err
}

// uncovered counts the vectors of a base that queries by its sketches cannot find: their seq is at most
// upto, and they neither have a code nor are pending. Those that can never be an answer do not count.
func (s *sketches) uncovered(ctx context.Context, db *gorm.DB, set *sketchSet, st *VectorIndexState) error {
	first, err := One(ctx, db, Value[sql.NullInt64], "SELECT min(seq) FROM knowledge_vectors WHERE base_id = ? AND seq <= ?", set.base, set.upto)
	if err != nil || !first.Valid {
		return err
	}
	enc := newEncoder(set)
	bits := make([]uint64, (min(set.upto-first.Int64, coverWindow-1)+64)/64)
	for low := first.Int64; low <= set.upto; low += coverWindow {
		high := min(set.upto, low+coverWindow-1)
		clear(bits)
		if err := eachCode(ctx, db, set, func(seq int64) {
			if seq >= low && seq <= high {
				bits[(seq-low)/64] |= 1 << ((seq - low) % 64)
			}
		}); err != nil {
			return err
		}
		if err := eachUncoded(ctx, db, set, low, high, bits, enc, st); err != nil {
			return err
		}
		if low > math.MaxInt64-coverWindow {
			return nil
		}
	}
	return nil
}

// eachCode calls f with the seq of every code of a base, a block in memory at a time.
func eachCode(ctx context.Context, db *gorm.DB, set *sketchSet, f func(seq int64)) error {
	var damaged error
	err := Each(ctx, db, func(s Scanner, data *sql.RawBytes) error { return s.Scan(data) }, func(data *sql.RawBytes) bool {
		b, err := sketch.DecodeBlock(*data, set.rotation.Padded())
		if err != nil {
			damaged = damagedSketches(set.base, err)
			return false
		}
		for _, seq := range b.Seqs {
			f(seq)
		}
		return true
	}, "SELECT data FROM knowledge_sketch_blocks WHERE base_id = ? AND list >= 0", set.base)
	return cmp.Or(damaged, err)
}

// eachUncoded adds to st the vectors between two seqs that have no bit.
func eachUncoded(ctx context.Context, db *gorm.DB, set *sketchSet, low, high int64, bits []uint64, enc *encoder, st *VectorIndexState) error {
	type row struct {
		seq int64
		id  string
	}
	const page = 4096
	for after := low - 1; ; {
		rows, err := Collect(ctx, db, func(s Scanner, r *row) error { return s.Scan(&r.seq, &r.id) },
			`SELECT seq, id FROM knowledge_vectors v WHERE base_id = ? AND seq > ? AND seq <= ?
			AND NOT EXISTS (SELECT 1 FROM knowledge_sketch_pending p WHERE p.seq = v.seq AND p.base_id = v.base_id) ORDER BY seq LIMIT ?`,
			set.base, after, high, page)
		if err != nil || len(rows) == 0 {
			return err
		}
		after = rows[len(rows)-1].seq
		for _, r := range rows {
			if bits[(r.seq-low)/64]&(1<<((r.seq-low)%64)) != 0 {
				continue
			}
			blob, err := One(ctx, db, Value[[]byte], "SELECT embedding FROM knowledge_vectors WHERE seq = ?", r.seq)
			if err != nil {
				return err
			}
			if enc.rotate(raw{blob: blob}) == ignored {
				continue
			}
			if st.Count++; len(st.Examples) < keptExamples {
				st.Examples = append(st.Examples, r.id)
			}
		}
	}
}

// RebuildVectorIndex makes the sketches anew. Until they are there queries compare every vector.
func (e *sqliteEngine) RebuildVectorIndex(ctx context.Context, base models.KnowledgeBase, _ string, rows int64) error {
	tx, err := e.Begin(ctx)
	if err != nil {
		return err
	}
	// Without its row they are none, and not fresh.
	_, err = Exec(ctx, tx.DB, "DELETE FROM knowledge_sketches WHERE base_id = ?", base.ID)
	if err == nil && rows == 0 {
		_, err = Exec(ctx, tx.DB, "DELETE FROM knowledge_sketch_blocks WHERE base_id = ?", base.ID)
	}
	if err != nil {
		return errors.Join(err, tx.Rollback())
	}
	if err := tx.Commit(); err != nil || rows == 0 {
		return err
	}
	_, err = e.buildSketches(ctx, base.ID)
	return err
}

// VectorIndexKind asks for the sketches' row only.
func (e *sqliteEngine) VectorIndexKind(ctx context.Context, db *gorm.DB, base models.KnowledgeBase) (string, error) {
	n, err := One(ctx, db, Value[int64], "SELECT count(*) FROM knowledge_sketches WHERE base_id = ? AND dimensions = ? AND metric = ?", base.ID, base.Dimensions, string(base.Metric))
	if err != nil || n == 0 {
		return "", err
	}
	return sketchMethod, nil
}
