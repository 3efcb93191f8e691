package main

import (
	"context"
	"errors"
	"strings"

	"github.com/dustin/go-humanize"

	"github.com/talkbase/talkbase"
	"github.com/talkbase/talkbase/repo"
)

// The ways to search.
const (
	modeText   = "text"
	modeVector = "vector"
	modeHybrid = "hybrid"
)

// vectorAnswer is what search --mode vector prints with --json.
type vectorAnswer struct {
	Query string              `json:"query"`
	Mode  string              `json:"mode"`
	Base  string              `json:"base"`
	Model string              `json:"model"`
	Hits  []repo.SimilarChunk `json:"hits"`
}

// hybridAnswer is what search --mode hybrid prints with --json.
type hybridAnswer struct {
	Query string           `json:"query"`
	Mode  string           `json:"mode"`
	Base  string           `json:"base"`
	Model string           `json:"model"`
	Hits  []repo.HybridHit `json:"hits"`
}

// searchKnowledge searches the chunks of one knowledge base by their vectors, or by both.
func (a *app) searchKnowledge(ctx context.Context, db *talkbase.DB, mode string, q repo.TextQuery, e *embedFlags) error {
	base, err := onlyBase(ctx, db, strings.Join(q.BaseIDs, ""))
	if err != nil {
		return err
	}
	embedder, err := e.embedder(base)
	if err != nil {
		return err
	}
	search := db.WithEmbedder(embedder)
	if mode == modeVector {
		hits, err := search.SearchSimilar(ctx, q.Query, repo.SimilarityQuery{BaseID: base.ID, Limit: q.Limit})
		if err != nil {
			return embedFailure(err)
		}
		return a.answer(vectorAnswer{q.Query, mode, base.ID, embedder.Model(), list(hits)}, func(w *page) {
			w.nothing(len(hits))
			for i, h := range hits {
				w.between(i)
				w.line("%.3f    %s", h.Similarity, cut(oneLine(h.Content), 160))
				w.line("         file %s, part %d", oneLine(h.FileName), h.ChunkIndex+1)
			}
		})
	}
	hits, err := search.SearchHybrid(ctx, repo.HybridQuery{Text: q.Query, BaseID: base.ID, Limit: q.Limit})
	if err != nil {
		return embedFailure(err)
	}
	return a.answer(hybridAnswer{q.Query, mode, base.ID, embedder.Model(), list(hits)}, func(w *page) {
		w.nothing(len(hits))
		for i, h := range hits {
			w.between(i)
			w.line("%.4f   %s", h.Score, w.mark(h.Snippet, h.Highlights))
			w.line("         file %s, part %d; %s", oneLine(h.FileName), h.ChunkIndex+1, places(h))
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
