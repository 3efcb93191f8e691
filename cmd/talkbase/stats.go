package main

import (
	"context"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/talkbase/talkbase"
	"github.com/talkbase/talkbase/internal/engine"
	"github.com/talkbase/talkbase/repo"
)

// statsAnswer is what stats prints with --json.
type statsAnswer struct {
	repo.Statistics
	// Vectors says whether knowledge bases work here.
	Vectors bool `json:"vectors"`
}

func (a *app) statsCommand() *cobra.Command {
	var indexes, queries, recall bool
	cmd := a.work(&cobra.Command{
		Use: "stats", Short: "Say what the database holds, how large it is and how it grows",
		Long: `stats counts the rows of every table, and those of the last day, week and 30 days, and measures tables,
indexes and knowledge bases. Its cost grows with the size of the database; --recall also reads every vector some twenty times. With --json it prints all of
it. --queries needs Postgres' extension pg_stat_statements; queries are shown without their values.`,
		Args: noArgs,
	}, func(cmd *cobra.Command, _ []string) error {
		return a.withDB(cmd, func(ctx context.Context, db *talkbase.DB) error {
			st, err := db.GetStatistics(ctx)
			if err != nil {
				return err
			}
			if recall {
				if err := measureRecalls(ctx, db, st.Bases); err != nil {
					return err
				}
			}
			unsupported := db.VectorsSupported()
			st.Indexes, st.Bases, st.Queries = list(st.Indexes), list(st.Bases), list(st.Queries)
			return a.answer(statsAnswer{st, unsupported == nil}, func(w *page) {
				w.stats(a.shown(), st, unsupported)
				if indexes {
					w.indexSizes(st.Indexes)
				}
				if queries {
					w.shapes(st)
				}
			})
		})
	})
	cmd.Flags().BoolVar(&indexes, "indexes", false, "show every index, too")
	cmd.Flags().BoolVar(&recall, "recall", false, "measure how many of the nearest vectors each knowledge base's index finds, too")
	cmd.Flags().BoolVar(&queries, "queries", false, "show the queries that took most of the time, too")
	return cmd
}

// recallQueries is how many queries stats measures a base's recall by; talkbase bench recall makes more.
const recallQueries = 20

func measureRecalls(ctx context.Context, db *talkbase.DB, bases []repo.BaseStatistics) error {
	for i := range bases {
		r, err := db.MeasureRecall(ctx, repo.RecallQuery{BaseID: bases[i].ID, Queries: recallQueries})
		if err != nil {
			return err
		}
		bases[i].Recall = &r
	}
	return nil
}

func (p *page) stats(name string, st repo.Statistics, unsupported error) {
	p.line("%s: %s %s, schema version %d, %s", name, st.Engine, st.EngineVersion, st.SchemaVersion, bytesOf(st.Bytes))
	if st.FreeBytes > 0 {
		p.line("%s of it hold nothing.", bytesOf(st.FreeBytes))
	}
	if st.CacheHitRate != nil {
		p.line("%.1f %% of all reads were answered from memory.", 100**st.CacheHitRate)
	}
	if unsupported != nil {
		p.line("No knowledge bases: %s", oneLine(unsupported.Error()))
	}
	p.line("")
	rows := make([][]string, 0, len(st.Tables))
	for _, name := range engine.Tables() {
		t, ok := st.Tables[name]
		if !ok {
			continue
		}
		var g repo.Growth
		if t.Growth != nil {
			g = *t.Growth
		}
		rows = append(rows, []string{number(t.Rows), number(g.Day), number(g.Week), number(g.Month), maybe(t.DeadRows), bytesOf(t.Bytes), bytesOf(t.IndexBytes), name})
	}
	p.table([]column{
		{name: "Rows", right: true},
		{name: "Day", right: true},
		{name: "Week", right: true},
		{name: "Month", right: true},
		{name: "Dead", right: true},
		{name: "Size", right: true},
		{name: "Indexes", right: true},
		{name: "Table"},
	}, rows)
	if len(st.Bases) == 0 {
		return
	}
	p.line("")
	rows = rows[:0]
	for _, b := range st.Bases {
		index := b.Index
		if index == "" {
			index = "none"
		}
		recall := "-"
		if b.Recall != nil {
			recall = humanize.FtoaWithDigits(b.Recall.Recall, 3)
		}
		rows = append(rows, []string{b.ID, number(b.Dimensions), string(b.Metric), number(b.Files), number(b.Chunks), number(b.Vectors), index, recall, b.EmbeddingModel, b.Name})
	}
	p.table([]column{
		{name: "Knowledge base"},
		{name: "Dimensions", right: true},
		{name: "Metric"},
		{name: "Files", right: true},
		{name: "Chunks", right: true},
		{name: "Vectors", right: true},
		{name: "Index"},
		{name: "Recall", right: true},
		{name: "Model"},
		{name: "Name"},
	}, rows)
}

func (p *page) indexSizes(all []repo.IndexStatistics) {
	p.line("")
	rows := make([][]string, len(all))
	for i, x := range all {
		name := x.Index
		if !x.Valid {
			name += " (not valid)"
		}
		rows[i] = []string{bytesOf(x.Bytes), maybe(x.Scans), x.Kind, x.Table, name}
	}
	p.table([]column{{name: "Size", right: true}, {name: "Used", right: true}, {name: "Kind"}, {name: "Table"}, {name: "Index"}}, rows)
}

func (p *page) shapes(st repo.Statistics) {
	p.line("")
	if len(st.Queries) == 0 {
		p.line("No queries: %s", oneLine(st.NoQueries))
		return
	}
	rows := make([][]string, len(st.Queries))
	for i, q := range st.Queries {
		rows[i] = []string{ms(q.TotalMS), number(q.Calls), ms(q.MeanMS), ms(q.MaxMS), number(q.Rows), q.Query}
	}
	p.table([]column{
		{name: "Total ms", right: true}, {name: "Calls", right: true}, {name: "Mean", right: true}, {name: "Most", right: true}, {name: "Rows", right: true}, {name: "Query"},
	}, rows)
}

// number writes a count with separators.
func number(n int64) string { return humanize.Comma(n) }

// maybe writes a count that may not be known.
func maybe(n *int64) string {
	if n == nil {
		return "-"
	}
	return number(*n)
}

func bytesOf(n int64) string { return humanize.Bytes(uint64(max(n, 0))) }

// ms writes milliseconds.
func ms(v float64) string { return humanize.FtoaWithDigits(v, 2) }
