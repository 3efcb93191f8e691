package repo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"gorm.io/gorm"

	"github.com/talkbase/talkbase/internal/engine"
	"github.com/talkbase/talkbase/models"
)

// vectorBatch bounds how many vectors one statement of a bulk upsert takes, so that the memory it
// needs does not grow with the number given.
const vectorBatch = 5000

// UpsertVectors stores vectors in one transaction, all or none; one whose ID is known replaces what
// was there. An empty ID becomes the ChunkID, an empty BaseID that of the file, which is the only one it may be,
// a CreatedAt of 0 the present. A vector of another length than its base's dimensions is ErrDimension, one with NaN or
// infinity, or of zeros in a base with the cosine metric, ErrInvalid, an unknown file or chunk
// ErrReference. It returns how many vectors it stored.
func (r *Knowledge) UpsertVectors(ctx context.Context, vectors []models.KnowledgeVector) (int64, error) {
	return r.upsert(ctx, "upsert vectors", vectors, true)
}

// upsert is UpsertVectors; own says whether the vectors are the application's: dated where they are not, and noted as
// edited where they replace others. Those of an import are stored as they are given.
func (r *Knowledge) upsert(ctx context.Context, op string, vectors []models.KnowledgeVector, own bool) (int64, error) {
	if err := r.s.eng().Vectors(); err != nil {
		return 0, wrap(op, err)
	}
	if len(vectors) == 0 {
		return 0, nil
	}
	keep, one := vectorsMemory(vectors)
	ctx, room, err := r.s.room(ctx, keep+one*int64(min(len(vectors), vectorBatch)))
	if err != nil {
		return 0, wrap(op, err)
	}
	defer room.Release()
	batch := int(max(1, min(vectorBatch, (room.bytes-keep)/one)))
	rows, err := r.uniqueVectors(vectors, own)
	if err != nil {
		return 0, wrap(op, err)
	}
	err = r.s.write(ctx, op, func(ctx context.Context, db *gorm.DB) error {
		if err := r.completeVectors(ctx, db, rows); err != nil {
			return err
		}
		if own {
			if err := r.noteVectors(ctx, db, rows); err != nil {
				return err
			}
		}
		for part := range slices.Chunk(rows, batch) {
			if err := r.s.eng().UpsertVectors(ctx, db, part); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return int64(len(rows)), nil
}

// noteVectors notes the vectors that are about to be replaced.
func (r *Knowledge) noteVectors(ctx context.Context, db *gorm.DB, rows []models.KnowledgeVector) error {
	for part := range slices.Chunk(rows, keysPerQuery) {
		ids := make([]any, len(part))
		for i := range part {
			ids[i] = part[i].ID
		}
		where := "id IN (?" + strings.Repeat(",?", len(ids)-1) + ")"
		if err := r.s.noteEdit(ctx, db, "knowledge_vectors", where, ids...); err != nil {
			return err
		}
	}
	return nil
}

// uniqueVectors copies the vectors' rows, keeping the last of those that share an id. Those without a time get
// the present if dated is set.
func (r *Knowledge) uniqueVectors(vectors []models.KnowledgeVector, dated bool) ([]models.KnowledgeVector, error) {
	rows := make([]models.KnowledgeVector, 0, len(vectors))
	at := make(map[string]int, len(vectors))
	now := r.s.nowMS()
	for i := range vectors {
		v := vectors[i]
		if v.ID == "" {
			v.ID = v.ChunkID
		}
		if dated && v.CreatedAt == 0 {
			v.CreatedAt = now
		}
		for _, k := range []field{{"vector id", v.ID}, {"chunk_id", v.ChunkID}, {"file_id", v.FileID}} {
			if err := checkKey(k.name, k.value); err != nil {
				return nil, err
			}
		}
		if err := checkText(field{"base_id", v.BaseID}); err != nil {
			return nil, err
		}
		if j, ok := at[v.ID]; ok {
			rows[j] = v
			continue
		}
		at[v.ID] = len(rows)
		rows = append(rows, v)
	}
	return rows, nil
}

// completeVectors fills in the base of each vector, which is its file's, and checks the vector
// against it.
func (r *Knowledge) completeVectors(ctx context.Context, db *gorm.DB, rows []models.KnowledgeVector) error {
	files := map[string]models.KnowledgeBase{}
	for i := range rows {
		v := &rows[i]
		base, ok := files[v.FileID]
		if !ok {
			var err error
			base, err = engine.One(ctx, db, scanBase, "SELECT "+baseColumns+" FROM knowledge_bases WHERE id = (SELECT base_id FROM knowledge_files WHERE id = ?)", v.FileID)
			if err != nil {
				if errors.Is(err, ErrNotFound) {
					err = ErrReference
				}
				return fmt.Errorf("file %q of vector %q: %w", v.FileID, v.ID, err)
			}
			files[v.FileID] = base
		}
		if v.BaseID != "" && v.BaseID != base.ID {
			return engine.Invalidf("vector %q names knowledge base %q, its file is in %q", v.ID, v.BaseID, base.ID)
		}
		v.BaseID = base.ID
		if err := checkVector(v.Embedding, base.Dimensions, base.Metric); err != nil {
			return fmt.Errorf("vector %q: %w", v.ID, err)
		}
	}
	return nil
}

// DeleteVectorsByFile deletes a file's vectors; its chunks stay. It returns how many there were.
func (r *Knowledge) DeleteVectorsByFile(ctx context.Context, fileID string) (int64, error) {
	const op = "delete vectors of file"
	if err := r.s.eng().Vectors(); err != nil {
		return 0, wrap(op, err)
	}
	return r.s.deleteMany(ctx, op, "knowledge_vectors", "file_id = ?", fileID)
}

// SimilarityQuery asks for the chunks whose vectors are nearest to a vector.
type SimilarityQuery struct {
	// BaseID is the knowledge base to search, models.DefaultBase when empty.
	BaseID string
	// Vector has the base's number of dimensions.
	Vector []float32
	// Limit is how many to return, 10 when 0, at most 1,000.
	Limit int
	// Threshold drops what is less similar, by more than the 1e-6 that the engines may differ by.
	// Similarity is 1-distance for cosine, 1/(1+distance) for l2, the inner product for ip.
	Threshold *float64
	// Metric compares by another metric than the base's own, without the help of an index.
	Metric models.Metric
	// Files limits the answer to chunks of some files.
	Files FileFilter
	// Exact compares every vector that passes the filter. Without it an index may miss one in a hundred of
	// the nearest; see MeasureRecall. An index on Postgres of more than 2,000 dimensions by l2 or ip, whose
	// numbers are halved in precision, holds no vector longer than 65,504.
	Exact bool
}

// SimilarChunk is one answer to a SimilarityQuery.
type SimilarChunk struct {
	VectorID   string            `json:"id"`
	ChunkID    string            `json:"chunk_id"`
	FileID     string            `json:"file_id"`
	BaseID     string            `json:"base_id"`
	Content    string            `json:"content"`
	ChunkIndex int64             `json:"chunk_index"`
	FileName   string            `json:"file_name"`
	FilePath   string            `json:"file_path"`
	FileStatus models.TaskStatus `json:"file_status"`
	// Distance is by the query's metric: 1-cos, Euclidean, or the negative inner product.
	Distance float64 `json:"distance"`
	// Similarity is larger for what is nearer.
	Similarity float64 `json:"similarity"`
}

// SimilarityQuery returns the chunks nearest to q.Vector, nearest first, ties by vector id. Only
// chunks whose status is processed are found. It returns fewer than q.Limit only where no more pass the
// filter and the threshold. An unknown base is ErrNotFound; a vector of another length than the base's
// dimensions is ErrDimension.
func (r *Knowledge) SimilarityQuery(ctx context.Context, q SimilarityQuery) ([]SimilarChunk, error) {
	out, err := r.similar(ctx, q)
	return out, wrap("similarity query", err)
}

// SimilarityQueryAll makes several queries, usually of bases with dimensions of their own, and returns
// the limit most similar of all their answers: the most similar first, ties by vector id, then by base. A
// limit of 0 is 10; at most it is 1,000. An answer that several queries give comes once. The queries' own
// limits say how much each may contribute, limit where they are 0. Similarities of different models or
// metrics compare only as well as these do.
func (r *Knowledge) SimilarityQueryAll(ctx context.Context, qs []SimilarityQuery, limit int) ([]SimilarChunk, error) {
	out, err := r.similarAll(ctx, qs, limit)
	return out, wrap("similarity query", err)
}

func (r *Knowledge) similarAll(ctx context.Context, qs []SimilarityQuery, limit int) ([]SimilarChunk, error) {
	limit, err := limitOf(limit, 10)
	if err != nil {
		return nil, err
	}
	var all []SimilarChunk
	for _, q := range qs {
		if q.Limit == 0 {
			q.Limit = limit
		}
		found, err := r.similar(ctx, q)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	slices.SortStableFunc(all, func(a, b SimilarChunk) int {
		return cmp.Or(cmp.Compare(b.Similarity, a.Similarity), strings.Compare(a.VectorID, b.VectorID), strings.Compare(a.BaseID, b.BaseID))
	})
	seen := make(map[string]bool, len(all))
	all = slices.DeleteFunc(all, func(c SimilarChunk) bool {
		known := seen[c.VectorID]
		seen[c.VectorID] = true
		return known
	})
	return all[:min(limit, len(all))], nil
}

// nearestQuery checks q and fills in what it leaves open.
func (r *Knowledge) nearestQuery(ctx context.Context, db *gorm.DB, q SimilarityQuery) (n engine.NearestQuery, err error) {
	n = engine.NearestQuery{Vector: q.Vector, Metric: q.Metric, Exact: q.Exact}
	if n.K, err = limitOf(q.Limit, 10); err != nil {
		return n, err
	}
	if n.Base, err = r.shape(ctx, db, q.BaseID, false); err != nil {
		return n, err
	}
	if n.Metric == "" {
		n.Metric = n.Base.Metric
	}
	if !n.Metric.Valid() {
		return n, engine.Invalidf("metric %.40q: use cosine, l2 or ip", string(q.Metric))
	}
	if n.Files, err = q.Files.check(); err != nil {
		return n, err
	}
	if err := checkVector(q.Vector, n.Base.Dimensions, n.Metric); err != nil {
		return n, err
	}
	if q.Threshold != nil {
		if math.IsNaN(*q.Threshold) {
			return n, engine.Invalidf("the threshold is no number")
		}
		if d, ok := engine.MaxDistance(n.Metric, *q.Threshold); ok {
			n.MaxDistance = &d
		}
	}
	return n, nil
}

func (r *Knowledge) similar(ctx context.Context, q SimilarityQuery) ([]SimilarChunk, error) {
	db, err := r.reader(ctx)
	if err != nil {
		return nil, err
	}
	n, err := r.nearestQuery(ctx, db, q)
	if err != nil {
		return nil, err
	}
	found, err := r.s.eng().Nearest(ctx, db, n)
	if err != nil {
		return nil, err
	}
	out := make([]SimilarChunk, len(found))
	for i, f := range found {
		out[i] = SimilarChunk{
			VectorID: f.VectorID, ChunkID: f.ChunkID, FileID: f.FileID, BaseID: n.Base.ID,
			Content: f.Content, ChunkIndex: f.ChunkIndex, FileName: f.FileName, FilePath: f.FilePath, FileStatus: f.FileStatus,
			Distance: f.Distance, Similarity: engine.Similarity(n.Metric, f.Distance),
		}
	}
	return out, nil
}
