package main

import (
	"context"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/talkbase/talkbase"
)

func (a *app) indexesCommand() *cobra.Command {
	return a.work(&cobra.Command{
		Use:   "indexes",
		Short: "Create the indexes that speed up timelines, lists and vectors",
		Long: `indexes creates the indexes that speed up timelines, lists and, on Postgres, similarity queries, and
restores those of the schema that are missing. On Postgres they are built while others write. It can
be repeated; build vector indexes when the vectors are there, and again when there are many more. How good
their answers are says talkbase bench recall.`,
		Args: noArgs,
	}, func(cmd *cobra.Command, _ []string) error {
		return a.withDB(cmd, func(ctx context.Context, db *talkbase.DB) error {
			r, err := db.CreateOptimalIndexes(ctx)
			if err != nil {
				return err
			}
			r.Created, r.Present = list(r.Created), list(r.Present)
			return a.answer(r, func(w *page) {
				for _, name := range r.Created {
					w.line("created  %s", oneLine(name))
				}
				w.line("%s created, %d were there.", plural(int64(len(r.Created)), "index", "indexes"), len(r.Present))
				for _, base := range slices.Sorted(maps.Keys(r.Skipped)) {
					w.line("Knowledge base %s has no vector index: %s", oneLine(base), oneLine(r.Skipped[base]))
				}
			})
		})
	})
}
