package main

import (
	"context"
	"errors"

	"github.com/dustin/go-humanize"

	"github.com/talkbase/talkbase"
	"github.com/talkbase/talkbase/embedding"
	"github.com/talkbase/talkbase/repo"
)

// The ways to search.
const (
	modeText   = "text"
	modeVector = "vector"
	modeHybrid = "hybrid"
)

// searchedBase is a base that was searched, and the model that embedded the text for it.
type searchedBase struct {
	ID    string `json:"id"`
	Model string `json:"model"`
}

// vectorAnswer is what search --mode vector prints with --json.
type vectorAnswer struct {
	Query string              `json:"query"`
	Mode  string              `json:"mode"`
	Bases []searchedBase      `json:"bases"`
	Hits  []repo.SimilarChunk `json:"hits"`
}

// hybridAnswer is what search --mode hybrid prints with --json.
type hybridAnswer struct {
	Query string           `json:"query"`
	Mode  string           `json:"mode"`
	Bases []searchedBase   `json:"bases"`
	Hits  []repo.HybridHit `json:"hits"`
}

// searchKnowledge searches the chunks of knowledge bases by their vectors, or by words and vectors.
func (a *app) searchKnowledge(ctx context.Context, db *talkbase.DB, mode string, q repo.TextQuery, exact bool, e *embedFlags) error {
	bases, err := basesOf(ctx, db, q.BaseIDs)
	if err != nil {
		return err
	}
	var embedders []embedding.Embedder
	var searched []searchedBase
	for _, b := range bases {
		made, err := e.embedder(b)
		if err != nil {
			return err
		}
		embedders, searched = append(embedders, made), append(searched, searchedBase{b.ID, made.Model()})
	}
	search := db.WithEmbedder(embedders...)
	of := func(base string) string {
		if len(bases) == 1 {
			return ""
		}
		return " of " + oneLine(base)
	}
	if mode == modeVector {
		var qs []repo.SimilarityQuery
		for _, b := range bases {
			qs = append(qs, repo.SimilarityQuery{BaseID: b.ID, Files: q.Files, Exact: exact})
		}
		hits, err := search.SearchSimilarAll(ctx, q.Query, qs, q.Limit)
		if err != nil {
			return embedFailure(err)
		}
		return a.answer(vectorAnswer{q.Query, mode, searched, list(hits)}, func(w *page) {
			w.nothing(len(hits))
			for i, h := range hits {
				w.between(i)
				w.line("%.3f    %s", h.Similarity, cut(oneLine(h.Content), 160))
				w.line("         file %s%s, part %d", oneLine(h.FileName), of(h.BaseID), h.ChunkIndex+1)
			}
		})
	}
	hq := repo.HybridQuery{Text: q.Query, BaseID: bases[0].ID, Limit: q.Limit, Files: q.Files, Exact: exact}
	for _, b := range bases[1:] {
		hq.Also = append(hq.Also, repo.BaseVector{BaseID: b.ID})
	}
	hits, err := search.SearchHybrid(ctx, hq)
	if err != nil {
		return embedFailure(err)
	}
	return a.answer(hybridAnswer{q.Query, mode, searched, list(hits)}, func(w *page) {
		w.nothing(len(hits))
		for i, h := range hits {
			w.between(i)
			w.line("%.4f   %s", h.Score, w.mark(h.Snippet, h.Highlights))
			w.line("         file %s%s, part %d; %s", oneLine(h.FileName), of(h.BaseID), h.ChunkIndex+1, places(h))
		}
	})
}

// places says where a hit was in the two lists.
func places(h repo.HybridHit) string {
	switch {
	case h.Vector == nil:
		return "words: " + humanize.Ordinal(h.Text.Rank)
	case h.Text == nil:
		return "vectors: " + humanize.Ordinal(h.Vector.Rank)
	}
	return "words: " + humanize.Ordinal(h.Text.Rank) + ", vectors: " + humanize.Ordinal(h.Vector.Rank)
}

func (p *page) nothing(hits int) {
	if hits == 0 {
		p.line("Nothing found.")
	}
}

func (p *page) between(i int) {
	if i > 0 {
		p.line("")
	}
}

// embedFailure says what to do about an error of the embedding server.
func embedFailure(err error) error {
	for _, k := range embedFailures {
		if errors.Is(err, k.err) {
			return &failure{code: k.code, message: err.Error(), hint: k.hint, err: err}
		}
	}
	return err
}
