package repo

import (
	"context"
	"fmt"
	"strings"

	"gorm.io/gorm"

	"github.com/talkbase/talkbase/internal/engine"
	"github.com/talkbase/talkbase/internal/text"
)

// Size is how large a database is.
type Size = engine.Size

// OptimizeStep is one thing that Optimize did, or left.
type OptimizeStep = engine.Step

// repairBatch is how many rows one transaction of a repair changes.
const repairBatch = 500

// Place returns the path of an SQLite database, "" for one in memory, or that a server keeps it.
func (h *Health) Place(ctx context.Context) (file string, server bool, err error) {
	st, err := h.s.eng().State(ctx)
	return st.Path, st.Shared, wrap("the database's place", err)
}

// Snapshot writes a copy of an SQLite database to a new file that only its owner can read. On Postgres it
// is ErrUnsupported.
func (h *Health) Snapshot(ctx context.Context, path string) error {
	return wrap("copy the database", h.s.eng().Snapshot(ctx, path))
}

// Reindex builds an index anew.
func (h *Health) Reindex(ctx context.Context, index string) error {
	return wrap("reindex "+index, h.s.eng().Reindex(ctx, index))
}

// RecountMessages sets the message counts that are wrong, and returns how many were. Each batch waits for
// those who write to its conversations, and they for it.
func (h *Health) RecountMessages(ctx context.Context) (total int64, err error) {
	const wrong = "message_count <> (SELECT count(*) FROM messages m WHERE m.conversation_id = conv_id)"
	for after := int64(0); ; {
		var ids []int64
		var changed int64
		err := h.s.write(ctx, "recount messages", func(ctx context.Context, db *gorm.DB) (err error) {
			changed = 0
			ids, err = engine.Collect(ctx, db, engine.Value[int64], "SELECT id FROM conversations WHERE id > ? AND "+wrong+" ORDER BY id LIMIT ?"+h.s.eng().LockSuffix(), after, repairBatch)
			if err != nil {
				return err
			}
			// Another statement sees what was committed before the rows were locked.
			for _, id := range ids {
				n, err := engine.Exec(ctx, db, "UPDATE conversations SET message_count = (SELECT count(*) FROM messages m WHERE m.conversation_id = conv_id) WHERE id = ? AND "+wrong, id)
				if err != nil {
					return err
				}
				changed += n
			}
			return nil
		})
		if err != nil || len(ids) == 0 {
			return total, err
		}
		after, total = ids[len(ids)-1], total+changed
	}
}

// SetSequences moves the integer keys whose next value is in use, and returns how many there were.
func (h *Health) SetSequences(ctx context.Context) (n int64, err error) {
	err = h.s.write(ctx, "set sequences", func(ctx context.Context, db *gorm.DB) error {
		late, err := h.s.eng().LateSequences(ctx, db)
		n = int64(len(late))
		for _, s := range late {
			if err := h.s.eng().SetSequence(ctx, db, s); err != nil {
				return err
			}
		}
		return err
	})
	return n, err
}

// EmptyText takes everything out of the text index of a table, damaged or not; IndexMissingText puts the
// rows in again.
func (h *Health) EmptyText(ctx context.Context, terms string) error {
	for _, t := range textSources {
		if t.terms == terms || t.table == terms {
			return h.s.write(ctx, "empty text index", func(ctx context.Context, db *gorm.DB) error { return h.s.eng().EmptyTerms(ctx, db, t.terms) })
		}
	}
	return wrap("empty text index", engine.Invalidf("no table %.60q", terms))
}

// IndexMissingText indexes the rows that are not in the text index, and returns how many there were.
func (h *Health) IndexMissingText(ctx context.Context) (total int64, err error) {
	for _, t := range textSources {
		key := h.s.eng().MatchTerms(t.terms, text.Query{}).Key
		query := strings.Replace(t.query, " ORDER BY", fmt.Sprintf(" AND NOT EXISTS (SELECT 1 FROM %s t WHERE t.%s = %s.%s) ORDER BY", t.terms, key, t.table, keysOf[t.table].number), 1)
		n, err := h.s.indexAll(ctx, "index text", t.terms, query)
		if total += n; err != nil {
			return total, err
		}
	}
	return total, nil
}

// DropStaleText takes out of the text index what belongs to no row, and returns how many there were.
func (h *Health) DropStaleText(ctx context.Context) (total int64, err error) {
	for _, t := range textSources {
		key := h.s.eng().MatchTerms(t.terms, text.Query{}).Key
		query := fmt.Sprintf("SELECT t.%s FROM %s t WHERE t.%s > ? AND NOT EXISTS (SELECT 1 FROM %s r WHERE r.%s = t.%s) ORDER BY t.%s LIMIT ?", key, t.terms, key, t.table, keysOf[t.table].number, key, key)
		for after := int64(-1 << 62); ; {
			var ids []int64
			err := h.s.write(ctx, "clean text index", func(ctx context.Context, db *gorm.DB) (err error) {
				if ids, err = engine.Collect(ctx, db, engine.Value[int64], query, after, repairBatch); err != nil || len(ids) == 0 {
					return err
				}
				return h.s.eng().DeleteTerms(ctx, db, t.terms, ids)
			})
			if err != nil {
				return total, err
			}
			if len(ids) == 0 {
				break
			}
			after, total = ids[len(ids)-1], total+int64(len(ids))
		}
	}
	return total, nil
}

// DeleteOrphans deletes the rows of a table that belong to one that is not there, with what belongs to
// them, and returns how many there were.
func (h *Health) DeleteOrphans(ctx context.Context, table string) (total int64, err error) {
	for _, b := range belongs {
		if b.table != table {
			continue
		}
		n, err := h.s.deleteMany(ctx, "delete orphans", table, orphans(b.table, b.column, b.parent, b.key))
		if total += n; err != nil {
			return total, err
		}
	}
	return total, nil
}

// RebuildVectorIndex makes the index of a base's vectors anew; kind is for a base that has none.
func (h *Health) RebuildVectorIndex(ctx context.Context, baseID, kind string) error {
	const op = "rebuild index of vectors"
	db, err := h.outside(ctx)
	if err != nil {
		return wrap(op, err)
	}
	bases, err := sizedBases(ctx, db)
	if err != nil {
		return wrap(op, err)
	}
	for _, b := range bases {
		if b.ID == baseID {
			return wrap(op, h.s.eng().RebuildVectorIndex(ctx, b.KnowledgeBase, kind, b.rows))
		}
	}
	return wrap(op, named(ErrNotFound, "knowledge base", baseID))
}

// UnfitIndexes returns the indexes that queries cannot use, and the knowledge bases whose index of
// vectors is not fit for the vectors there are, with what is wrong.
func (h *Health) UnfitIndexes(ctx context.Context) (indexes []string, bases map[string]string, err error) {
	const op = "check indexes"
	db, err := h.outside(ctx)
	if err != nil {
		return nil, nil, wrap(op, err)
	}
	if indexes, err = h.s.eng().InvalidIndexes(ctx, db); err != nil || h.s.eng().Vectors() != nil {
		return indexes, nil, wrap(op, err)
	}
	all, err := sizedBases(ctx, db)
	if err != nil {
		return indexes, nil, wrap(op, err)
	}
	bases = map[string]string{}
	for _, b := range all {
		st, err := h.s.eng().VectorIndexState(ctx, db, b.KnowledgeBase, b.rows)
		if err != nil {
			return indexes, nil, wrap(op, err)
		}
		if st.Problem > engine.VectorIndexMissing {
			bases[b.ID] = st.Why
		}
	}
	return indexes, bases, nil
}

// Size measures the database, at little cost.
func (h *Health) Size(ctx context.Context) (Size, error) {
	db, err := h.s.reader(ctx)
	if err != nil {
		return Size{}, wrap("size", err)
	}
	s, err := h.s.eng().Size(ctx, db)
	return s, wrap("size", err)
}

// Maintain refreshes the planner's statistics and gives back space; full allows what makes writers wait
// for long.
func (h *Health) Maintain(ctx context.Context, full bool) ([]OptimizeStep, error) {
	if _, err := h.outside(ctx); err != nil {
		return nil, wrap("optimize", err)
	}
	steps, err := h.s.eng().Optimize(ctx, full)
	return steps, wrap("optimize", err)
}
