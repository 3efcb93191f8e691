package main

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/talkbase/talkbase"
	"github.com/talkbase/talkbase/repo"
)

// statsAnswer is what stats prints with --json.
type statsAnswer struct {
	repo.Stats
	// Vectors says whether knowledge bases work here.
	Vectors bool `json:"vectors"`
	// Bases are the knowledge bases.
	Bases []baseAnswer `json:"knowledge_bases"`
}

// baseAnswer is a knowledge base without its settings.
type baseAnswer struct {
	ID             string `json:"id"`
	Name           string `json:"name"`
	Dimensions     int64  `json:"dimensions"`
	Metric         string `json:"metric"`
	EmbeddingModel string `json:"embedding_model"`
}

func (a *app) statsCommand() *cobra.Command {
	return a.work(&cobra.Command{
		Use: "stats", Short: "Say what the database holds", Args: noArgs,
	}, func(cmd *cobra.Command, _ []string) error {
		return a.withDB(cmd, func(ctx context.Context, db *talkbase.DB) error {
			st, err := db.Stats(ctx)
			if err != nil {
				return err
			}
			unsupported := db.VectorsSupported()
			out := statsAnswer{Stats: st, Vectors: unsupported == nil, Bases: []baseAnswer{}}
			bases, err := db.ListBases(ctx)
			if err != nil && !errors.Is(err, repo.ErrUnsupported) {
				return err
			}
			for _, b := range bases {
				out.Bases = append(out.Bases, baseAnswer{b.ID, b.Name, b.Dimensions, string(b.Metric), b.EmbeddingModel})
			}
			return a.answer(out, func(w *page) { w.stats(a.shown(), out, unsupported) })
		})
	})
}

func (p *page) stats(name string, st statsAnswer, unsupported error) {
	p.line("%s: %s, schema version %d", name, st.Engine, st.SchemaVersion)
	if unsupported != nil {
		p.line("No knowledge bases: %s", oneLine(unsupported.Error()))
	}
	p.line("")
	rows := make([][]string, 0, len(st.Tables))
	for _, t := range slices.Sorted(maps.Keys(st.Tables)) {
		rows = append(rows, []string{number(st.Tables[t]), t})
	}
	p.table([]column{{name: "Rows", right: true}, {name: "Table"}}, rows)
	if len(st.Bases) == 0 {
		return
	}
	p.line("")
	rows = rows[:0]
	for _, b := range st.Bases {
		rows = append(rows, []string{b.ID, number(b.Dimensions), b.Metric, b.EmbeddingModel, b.Name})
	}
	p.table([]column{{name: "Knowledge base"}, {name: "Dimensions", right: true}, {name: "Metric"}, {name: "Model"}, {name: "Name"}}, rows)
}

// number writes a count with separators.
func number(n int64) string { return humanize.Comma(n) }
