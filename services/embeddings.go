package services

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/talkbase/talkbase/embedding"
	"github.com/talkbase/talkbase/internal/engine"
	"github.com/talkbase/talkbase/models"
	"github.com/talkbase/talkbase/repo"
)

// Embeddings makes vectors of texts with the embedder that the database was opened with, or with that of
// several whose model is the base's. Without one its calls return ErrUnsupported, apart from SearchHybrid
// with a vector of its own. A base remembers the model that embeds it; one of another model or dimensions is
// ErrInvalid. Errors of the embedder wrap those of package embedding.
type Embeddings interface {
	// EmbedPending embeds the chunks of a base that are pending or processing, and stores each batch of
	// vectors with its chunks' new status, processed, in one transaction. A chunk that the model does not
	// take, such as one that is too long, gets status error and why; the rest goes on. It can be repeated
	// after an error. The report counts what was stored before one.
	EmbedPending(ctx context.Context, baseID string) (EmbedReport, error)
	// SearchSimilar is SimilarityQuery with the vector of a text.
	SearchSimilar(ctx context.Context, text string, q repo.SimilarityQuery) ([]repo.SimilarChunk, error)
	// SearchSimilarAll is SimilarityQueryAll with the vectors of a text, each made by the embedder of its
	// base.
	SearchSimilarAll(ctx context.Context, text string, qs []repo.SimilarityQuery, limit int) ([]repo.SimilarChunk, error)
	// SearchHybrid is repo.Search's. Where a base has no vector and the weight of vectors is not 0, the
	// vector is made of the query's text.
	SearchHybrid(ctx context.Context, q repo.HybridQuery) ([]repo.HybridHit, error)
}

// EmbedReport counts what EmbedPending did.
type EmbedReport struct {
	// Embedded chunks have a vector now, Failed ones status error.
	Embedded int64 `json:"embedded"`
	Failed   int64 `json:"failed"`
}

// embedBatch is how many chunks are embedded and stored at a time.
const embedBatch = 256

// embedderOf returns a base and the embedder for it, or why there is none that fits.
func (p *presenter) embedderOf(ctx context.Context, baseID string) (models.KnowledgeBase, embedding.Embedder, error) {
	if len(p.embedders) == 0 {
		return models.KnowledgeBase{}, nil, fmt.Errorf("%w: there is no embedder: set Config.Embedder, or give a vector", repo.ErrUnsupported)
	}
	if baseID == "" {
		baseID = models.DefaultBase
	}
	b, err := p.GetBase(ctx, baseID)
	if err != nil {
		return b, nil, err
	}
	var ofModel embedding.Embedder
	for _, e := range p.embedders {
		if b.EmbeddingModel != "" && b.EmbeddingModel != e.Model() {
			continue
		}
		if int64(e.Dimensions()) == b.Dimensions {
			return b, e, nil
		}
		ofModel = e
	}
	if ofModel == nil {
		return b, nil, engine.Invalidf("knowledge base %q is embedded with the model %q, and the embedder is %q: use one of the base's model", b.ID, b.EmbeddingModel, p.embedders[0].Model())
	}
	return b, nil, fmt.Errorf("%w: knowledge base %q has %d, the embedder %q makes %d", repo.ErrDimension, b.ID, b.Dimensions, ofModel.Model(), ofModel.Dimensions())
}

// embed calls an embedder and checks what it returns.
func embed(ctx context.Context, e embedding.Embedder, texts []string) ([][]float32, error) {
	vs, err := e.Embed(ctx, texts)
	if err == nil {
		err = embedding.Check(vs, len(texts), e.Dimensions())
	}
	if err != nil {
		return nil, fmt.Errorf("embed %d texts: %w", len(texts), err)
	}
	return vs, nil
}

// oneText makes the vectors of a query's text, one for each embedder.
type oneText struct {
	*presenter
	op, text string
	made     map[string][]float32
}

func (p *presenter) ofText(op, text string) *oneText {
	return &oneText{p, op, text, map[string][]float32{}}
}

func (t *oneText) vector(ctx context.Context, baseID string) ([]float32, error) {
	_, e, err := t.embedderOf(ctx, baseID)
	if err != nil {
		return nil, engine.Wrap(t.op, err)
	}
	if strings.TrimSpace(t.text) == "" {
		return nil, engine.Wrap(t.op, engine.Invalidf("there is no text to search for"))
	}
	key := fmt.Sprint(e.Dimensions(), e.Model())
	if v := t.made[key]; v != nil {
		return v, nil
	}
	vs, err := embed(ctx, e, []string{t.text})
	if err != nil {
		return nil, err
	}
	t.made[key] = vs[0]
	return vs[0], nil
}

func (p *presenter) SearchSimilar(ctx context.Context, text string, q repo.SimilarityQuery) (_ []repo.SimilarChunk, err error) {
	if q.Vector, err = p.ofText("search similar chunks", text).vector(ctx, q.BaseID); err != nil {
		return nil, err
	}
	return p.SimilarityQuery(ctx, q)
}

func (p *presenter) SearchSimilarAll(ctx context.Context, text string, qs []repo.SimilarityQuery, limit int) (_ []repo.SimilarChunk, err error) {
	t, qs := p.ofText("search similar chunks", text), slices.Clone(qs)
	for i := range qs {
		if qs[i].Vector, err = t.vector(ctx, qs[i].BaseID); err != nil {
			return nil, err
		}
	}
	return p.SimilarityQueryAll(ctx, qs, limit)
}

func (p *presenter) SearchHybrid(ctx context.Context, q repo.HybridQuery) (_ []repo.HybridHit, err error) {
	if q.VectorWeight == 0 && q.TextWeight != 0 {
		return p.search.SearchHybrid(ctx, q)
	}
	t := p.ofText("hybrid search", q.Text)
	if q.Vector == nil {
		if q.Vector, err = t.vector(ctx, q.BaseID); err != nil {
			return nil, err
		}
	}
	q.Also = slices.Clone(q.Also)
	for i := range q.Also {
		if b := &q.Also[i]; b.Vector == nil {
			if b.Vector, err = t.vector(ctx, b.BaseID); err != nil {
				return nil, err
			}
		}
	}
	return p.search.SearchHybrid(ctx, q)
}

func (p *presenter) EmbedPending(ctx context.Context, baseID string) (r EmbedReport, err error) {
	const op = "embed pending chunks"
	base, e, err := p.embedderOf(ctx, baseID)
	if err != nil {
		return r, engine.Wrap(op, err)
	}
	if model := e.Model(); base.EmbeddingModel == "" {
		if _, err := p.UpdateBase(ctx, base.ID, repo.BaseUpdate{EmbeddingModel: &model}); err != nil {
			return r, err
		}
	}
	gone := 0
	for _, status := range []models.TaskStatus{models.TaskProcessing, models.TaskPending} {
		for {
			chunks, err := p.QueryChunks(ctx, repo.ChunkQuery{BaseID: base.ID, Status: status, Limit: embedBatch})
			if err != nil || len(chunks) == 0 {
				if err != nil {
					return r, err
				}
				break
			}
			err = p.embedChunks(ctx, base, e, chunks, &r)
			if errors.Is(err, repo.ErrNotFound) && gone < 10 {
				gone++ // a chunk was deleted meanwhile; the next query does not see it
				continue
			}
			if err != nil {
				return r, err
			}
		}
	}
	return r, nil
}

// embedChunks embeds chunks, setting aside those that the model does not take.
func (p *presenter) embedChunks(ctx context.Context, base models.KnowledgeBase, e embedding.Embedder, chunks []models.KnowledgeChunk, r *EmbedReport) error {
	for len(chunks) > 0 {
		texts := make([]string, len(chunks))
		for i := range chunks {
			texts[i] = chunks[i].Content
		}
		vs, err := embed(ctx, e, texts)
		if base.Metric == models.MetricCosine && err == nil {
			if i := slices.IndexFunc(vs, isZero); i >= 0 {
				err = &embedding.TextError{Index: i, Err: errors.New("its vector is zero, which has no direction to compare")}
			}
		}
		var bad *embedding.TextError
		if errors.As(err, &bad) && bad.Index >= 0 && bad.Index < len(chunks) {
			why := strings.ToValidUTF8(strings.ReplaceAll(bad.Err.Error(), "\x00", ""), "")
			if err := p.UpdateChunkStatus(ctx, chunks[bad.Index].ID, models.TaskError, why); err != nil {
				return err
			}
			r.Failed++
			chunks = append(chunks[:bad.Index:bad.Index], chunks[bad.Index+1:]...)
			continue
		}
		if err == nil {
			err = p.storeVectors(ctx, chunks, vs)
		}
		if err == nil {
			r.Embedded += int64(len(chunks))
		}
		return err
	}
	return nil
}

func isZero(v []float32) bool {
	return !slices.ContainsFunc(v, func(x float32) bool { return x != 0 })
}

func (p *presenter) storeVectors(ctx context.Context, chunks []models.KnowledgeChunk, vs [][]float32) error {
	rows := make([]models.KnowledgeVector, len(chunks))
	for i, c := range chunks {
		rows[i] = models.KnowledgeVector{FileID: c.FileID, ChunkID: c.ID, Embedding: vs[i]}
	}
	return p.WithTransaction(ctx, func(ctx context.Context, _ *repo.Tx) error {
		if _, err := p.UpsertVectors(ctx, rows); err != nil {
			return err
		}
		for _, c := range chunks {
			if err := p.UpdateChunkStatus(ctx, c.ID, models.TaskProcessed, ""); err != nil {
				return err
			}
		}
		return nil
	})
}
