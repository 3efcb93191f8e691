package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/talkbase/talkbase"
	"github.com/talkbase/talkbase/repo"
)

func (a *app) benchCommand() *cobra.Command {
	bench := &cobra.Command{
		Use: "bench", Short: "Measure how good and how fast answers are",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("%s needs a subcommand: recall", cmd.CommandPath())
			}
			return usagef("%s has no subcommand %q: use recall", cmd.CommandPath(), args[0])
		},
		// Without a function of its own cobra would take any word and print its help as a success.
		RunE: func(*cobra.Command, []string) error { return nil },
	}
	bench.AddCommand(a.recallCommand())
	return bench
}

func (a *app) recallCommand() *cobra.Command {
	var base string
	k, queries := limit(10), limit(100)
	cmd := a.work(&cobra.Command{
		Use:   "recall",
		Short: "Compare the answers of a knowledge base's vector index with the exact ones",
		Long: `recall asks a knowledge base for the vectors nearest to places between its own, by its index and by
comparing every vector, and says which part of the exact answers the index finds and how long both take.
Every exact answer reads all vectors of the base.`,
		Example: `  talkbase bench recall --base notes
  talkbase bench recall --base notes --k 100 --queries 20 --json`,
		Args: noArgs,
	}, func(cmd *cobra.Command, _ []string) error {
		return a.withDB(cmd, func(ctx context.Context, db *talkbase.DB) error {
			if base == "" {
				only, err := onlyBase(ctx, db)
				if err != nil {
					return err
				}
				base = only.ID
			} else if _, err := baseOf(ctx, db, base); err != nil {
				return err
			}
			r, err := db.MeasureRecall(ctx, repo.RecallQuery{BaseID: base, K: k.int(), Queries: queries.int()})
			if err != nil {
				return err
			}
			return a.answer(r, func(w *page) { w.recall(r) })
		})
	})
	f := cmd.Flags()
	f.StringVar(&base, "base", "", "the knowledge base with this ID (default: the only one there is)")
	f.Var(k, "k", "how many of the nearest are asked for")
	f.Var(queries, "queries", "how many times")
	return cmd
}

func (p *page) recall(r repo.RecallReport) {
	switch {
	case r.Queries == 0:
		p.line("Knowledge base %s has no vectors.", oneLine(r.BaseID))
		return
	case r.Indexed == 0:
		p.line("No index is used: the vectors of knowledge base %s are compared one by one, so that all answers are exact.", oneLine(r.BaseID))
	default:
		p.line("Index of knowledge base %s: %s", oneLine(r.BaseID), r.Index)
		if r.Indexed < r.Queries {
			p.line("%s of %s answered without it, exactly.", number(int64(r.Queries-r.Indexed)), plural(int64(r.Queries), "query was", "queries were"))
		}
	}
	p.line("recall@%d  %.4f on average, %.4f at worst, of %s", r.K, r.Recall, r.Worst, plural(int64(r.Queries), "query", "queries"))
	p.line("")
	row := func(name string, l repo.Latency) { p.line("%-8s  p50 %8.2f ms   p95 %8.2f ms", name, l.P50, l.P95) }
	if r.Indexed > 0 {
		row("by index", r.Answers)
	}
	row("exact", r.Exact)
}
