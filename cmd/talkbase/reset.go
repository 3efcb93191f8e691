package main

import (
	"context"

	"github.com/spf13/cobra"
)

// resetAnswer is what reset prints with --json.
type resetAnswer struct {
	OK            bool  `json:"ok"`
	SchemaVersion int64 `json:"schema_version"`
	// Fixture is the data set that was loaded.
	Fixture string `json:"fixture,omitempty"`
}

func (a *app) resetCommand() *cobra.Command {
	var yes bool
	cmd := a.work(&cobra.Command{
		Use:   "reset --yes",
		Short: "Drop everything and begin anew (development)",
		Long: `reset drops everything talkbase created in the database, with all rows, and makes the schema anew.
It is for development. Tables of other programs stay.`,
		Args: noArgs,
	}, func(cmd *cobra.Command, _ []string) (err error) {
		if !yes {
			return usagef("this drops every conversation and all knowledge in %s: repeat it with --yes", a.shown())
		}
		ctx := cmd.Context()
		db, err := a.open(ctx)
		if err != nil {
			return err
		}
		defer closing(db, &err)
		var load func(ctx context.Context) error
		if err := db.Reset(ctx, load); err != nil {
			return err
		}
		v, err := db.SchemaVersion(ctx)
		if err != nil {
			return err
		}
		return a.answer(resetAnswer{OK: true, SchemaVersion: v}, func(w *page) {
			w.line("%s: everything was dropped and made anew, schema version %d.", a.shown(), v)
		})
	})
	cmd.Flags().BoolVar(&yes, "yes", false, "yes, drop everything")
	return cmd
}
