package repo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/talkbase/talkbase/internal/engine"
	"github.com/talkbase/talkbase/internal/text"
	"github.com/talkbase/talkbase/models"
)

const (
	// DefaultRankConstant is the k of reciprocal rank fusion that its authors found best: Cormack, Clarke
	// and Buettcher, "Reciprocal Rank Fusion outperforms Condorcet and individual Rank Learning Methods",
	// SIGIR 2009.
	DefaultRankConstant = 60
	// defaultCandidates is how many of each list are fused.
	defaultCandidates = 100
)

// HybridQuery asks for knowledge chunks by their words and by their vectors at once.
type HybridQuery struct {
	// Text is what a person asks, as TextQuery's Query with AnyWord: its words need not all be there. A text
	// without a word to look for is left to the vectors.
	Text string
	// Vector is what is compared with the chunks' vectors. On a database with an embedder it is made of
	// Text where it is nil.
	Vector []float32
	// BaseID is the knowledge base to search, models.DefaultBase when empty.
	BaseID string
	// Also are more bases to search, each with its vector: of the words of all bases one list is made, and
	// of their vectors one by similarity, as SimilarityQueryAll does.
	Also []BaseVector
	// Limit is how many to return, 10 when 0, at most 1,000.
	Limit int
	// TextWeight and VectorWeight say how much each list counts: 1 each when both are 0. A list whose
	// weight alone is 0 is not made.
	TextWeight, VectorWeight float64
	// RankConstant is added to every rank: the larger, the less the first ranks stand out.
	// DefaultRankConstant when 0.
	RankConstant float64
	// Candidates is how many of each list are fused: 100, or Limit where that is more, when 0; at most 1,000.
	Candidates int
	// Threshold keeps what is less similar out of the list by vectors, as SimilarityQuery's.
	Threshold *float64
	// Files limits the answer to chunks of some files.
	Files FileFilter
	// Exact compares every vector, as SimilarityQuery's.
	Exact bool
}

// BaseVector is what is compared with the vectors of one more base of a HybridQuery; on a database with
// an embedder a nil Vector is made of its Text.
type BaseVector struct {
	BaseID string
	Vector []float32
}

// Component is a hit's place in one of the lists that were fused.
type Component struct {
	// Rank counts from 1.
	Rank int `json:"rank"`
	// Score is that of the list: a TextHit's score, or the similarity.
	Score float64 `json:"score"`
}

// HybridHit is one answer to a HybridQuery.
type HybridHit struct {
	ChunkID    string            `json:"chunk_id"`
	FileID     string            `json:"file_id"`
	BaseID     string            `json:"base_id"`
	Content    string            `json:"content"`
	ChunkIndex int64             `json:"chunk_index"`
	FileName   string            `json:"file_name"`
	FilePath   string            `json:"file_path"`
	FileStatus models.TaskStatus `json:"file_status"`
	// Snippet is a part of the content around the words of the query; Highlights are byte offsets into it.
	Snippet    string   `json:"snippet"`
	Highlights [][2]int `json:"highlights,omitempty"`
	// Score is the sum of weight/(RankConstant+rank) over the lists that hold the chunk.
	Score float64 `json:"score"`
	// Text and Vector are the chunk's places in the two lists, nil where it is not in one.
	Text   *Component `json:"text,omitempty"`
	Vector *Component `json:"vector,omitempty"`
}

// SearchHybrid returns the processed chunks of the bases that q finds by words, by vectors or both, fused
// by reciprocal rank: best first, ties by chunk id. A chunk with several vectors counts with its
// nearest. The errors are those of SearchText and SimilarityQuery; a query that has neither words nor a
// vector, or whose weights are not finite and positive, is ErrInvalid.
func (r *Search) SearchHybrid(ctx context.Context, q HybridQuery) ([]HybridHit, error) {
	out, err := r.hybrid(ctx, q)
	return out, wrap("hybrid search", err)
}

// fill sets q's defaults and checks it.
func (q *HybridQuery) fill() (err error) {
	if q.Limit, err = limitOf(q.Limit, 10); err != nil {
		return err
	}
	if q.Candidates, err = limitOf(q.Candidates, max(defaultCandidates, q.Limit)); err != nil {
		return err
	}
	if q.TextWeight == 0 && q.VectorWeight == 0 {
		q.TextWeight, q.VectorWeight = 1, 1
	}
	if q.RankConstant == 0 {
		q.RankConstant = DefaultRankConstant
	}
	for _, v := range []float64{q.TextWeight, q.VectorWeight, q.RankConstant} {
		if math.IsNaN(v) || math.IsInf(v, 0) || v < 0 {
			return engine.Invalidf("weights and RankConstant: use finite numbers that are not negative")
		}
	}
	return checkText(field{"text", q.Text})
}

// bases are all that are searched.
func (q *HybridQuery) bases() []BaseVector {
	all := append([]BaseVector{{q.BaseID, q.Vector}}, q.Also...)
	for i := range all {
		if all[i].BaseID == "" {
			all[i].BaseID = models.DefaultBase
		}
	}
	return all
}

func (r *Search) hybrid(ctx context.Context, q HybridQuery) ([]HybridHit, error) {
	if err := q.fill(); err != nil {
		return nil, err
	}
	words, err := text.ParseQuery(q.Text)
	if err != nil && !errors.Is(err, text.ErrEmptyQuery) {
		return nil, err
	}
	words = words.Any()
	files, err := q.Files.check()
	if err != nil {
		return nil, err
	}
	byWords := q.TextWeight > 0 && !words.IsZero()
	var ids []string
	var near []SimilarityQuery
	for _, b := range q.bases() {
		if err := checkText(field{"base id", b.BaseID}); err != nil {
			return nil, err
		}
		ids = append(ids, b.BaseID)
		if q.VectorWeight > 0 && b.Vector != nil {
			near = append(near, SimilarityQuery{BaseID: b.BaseID, Vector: b.Vector, Threshold: q.Threshold, Files: q.Files, Exact: q.Exact})
		}
	}
	if !byWords && len(near) == 0 {
		return nil, engine.Invalidf("nothing to search for: give a text with words, or a vector, with a weight that is not 0")
	}
	for _, id := range ids {
		if _, err := NewKnowledge(r.s).GetBase(ctx, id); err != nil {
			return nil, err
		}
	}
	f := fusion{constant: q.RankConstant, hits: map[string]*HybridHit{}}
	if byWords {
		rows, err := r.find(ctx, HitChunk, words, checkedTextQuery{TextQuery{BaseIDs: ids, Processed: true}, files}, q.Candidates)
		if err != nil {
			return nil, err
		}
		for i, h := range rows {
			f.add(h.ID, q.TextWeight, Component{i + 1, h.Score}, func(hit *HybridHit) **Component { return &hit.Text })
		}
	}
	similar, err := NewKnowledge(r.s).similarAll(ctx, near, q.Candidates)
	if err != nil {
		return nil, err
	}
	rank := 0
	for _, c := range similar {
		if h := f.hits[c.ChunkID]; h != nil && h.Vector != nil {
			continue // a farther vector of the same chunk
		}
		rank++
		f.add(c.ChunkID, q.VectorWeight, Component{rank, c.Similarity}, func(hit *HybridHit) **Component { return &hit.Vector })
	}
	return r.describe(ctx, f.best(q.Limit), words)
}

// fusion sums up what the lists say of each chunk.
type fusion struct {
	constant float64
	hits     map[string]*HybridHit
}

func (f *fusion) add(chunk string, weight float64, c Component, place func(*HybridHit) **Component) {
	h := f.hits[chunk]
	if h == nil {
		h = &HybridHit{ChunkID: chunk}
		f.hits[chunk] = h
	}
	*place(h) = &c
	h.Score += weight / (f.constant + float64(c.Rank))
}

func (f *fusion) best(limit int) []HybridHit {
	out := make([]HybridHit, 0, len(f.hits))
	for _, h := range f.hits {
		out = append(out, *h)
	}
	slices.SortFunc(out, func(a, b HybridHit) int {
		return cmp.Or(cmp.Compare(b.Score, a.Score), strings.Compare(a.ChunkID, b.ChunkID))
	})
	return out[:min(limit, len(out))]
}

// describe reads what a hit says of its chunk. One that was deleted meanwhile is left out.
func (r *Search) describe(ctx context.Context, hits []HybridHit, words text.Query) ([]HybridHit, error) {
	if len(hits) == 0 {
		return nil, nil
	}
	db, err := r.s.reader(ctx)
	if err != nil {
		return nil, err
	}
	ids := make([]any, len(hits))
	for i := range hits {
		ids[i] = hits[i].ChunkID
	}
	rows, err := engine.Collect(ctx, db, func(s engine.Scanner, h *HybridHit) error {
		return s.Scan(&h.ChunkID, &h.FileID, &h.BaseID, &h.Content, &h.ChunkIndex, &h.FileName, &h.FilePath, &h.FileStatus)
	}, fmt.Sprintf(`SELECT k.id, k.file_id, f.base_id, k.content, k.chunk_index, f.name, f.path, f.status
		FROM knowledge_chunks k JOIN knowledge_files f ON f.id = k.file_id WHERE k.id IN (?%s)`, strings.Repeat(",?", len(ids)-1)), ids...)
	if err != nil {
		return nil, err
	}
	found := make(map[string]HybridHit, len(rows))
	for _, h := range rows {
		found[h.ChunkID] = h
	}
	out := hits[:0]
	for _, h := range hits {
		full, ok := found[h.ChunkID]
		if !ok {
			continue
		}
		full.Score, full.Text, full.Vector = h.Score, h.Text, h.Vector
		snip := words.Snippet(full.Content, text.SnippetOptions{})
		full.Snippet, full.Highlights = snip.Text, snip.Highlights
		out = append(out, full)
	}
	return out, nil
}
