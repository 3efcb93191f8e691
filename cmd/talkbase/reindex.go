package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/talkbase/talkbase"
)

// reindexAnswer is what reindex prints with --json.
type reindexAnswer struct {
	Rows int64 `json:"rows"`
}

func (a *app) reindexCommand() *cobra.Command {
	return a.work(&cobra.Command{
		Use:   "reindex",
		Short: "Make the text index anew",
		Long: `reindex makes the text index of titles, messages and knowledge anew. It is needed after plain SQL
wrote rows, and when opening the database warns that another version made the index. Others can read
and write meanwhile; interrupted, it can be repeated.`,
		Args: noArgs,
	}, func(cmd *cobra.Command, _ []string) error {
		return a.withDB(cmd, func(ctx context.Context, db *talkbase.DB) error {
			n, err := db.RebuildTextIndex(ctx)
			if err != nil {
				return err
			}
			return a.answer(reindexAnswer{n}, func(w *page) { w.line("%s indexed.", plural(n, "row", "rows")) })
		})
	})
}
