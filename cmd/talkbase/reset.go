package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/talkbase/talkbase/fixtures"
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
	fixture := oneOf("", fixtures.Sets()...)
	cmd := a.work(&cobra.Command{
		Use:   "reset --yes",
		Short: "Drop everything and begin anew (development)",
		Long: `reset drops everything talkbase created in the database, with all rows, and makes the schema anew.
It is for development. Tables of other programs stay.

With --fixture it then loads one of the data sets that tests use:

` + fixtureList(),
		Example: `  talkbase reset --yes --db dev.db
  talkbase reset --yes --fixture chats --db dev.db`,
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
		if fixture.value != "" {
			load = func(ctx context.Context) error { return fixtures.Load(ctx, db, fixture.value) }
		}
		if err := db.Reset(ctx, load); err != nil {
			return err
		}
		v, err := db.SchemaVersion(ctx)
		if err != nil {
			return err
		}
		return a.answer(resetAnswer{OK: true, SchemaVersion: v, Fixture: fixture.value}, func(w *page) {
			w.line("%s: everything was dropped and made anew, schema version %d.", a.shown(), v)
			if fixture.value != "" {
				w.line("The data set %s was loaded: %s.", fixture.value, fixtures.About(fixture.value))
			}
		})
	})
	cmd.Flags().BoolVar(&yes, "yes", false, "yes, drop everything")
	cmd.Flags().Var(fixture, "fixture", "data set to load then: "+fixture.list())
	return cmd
}

func fixtureList() string {
	var b strings.Builder
	for _, name := range fixtures.Sets() {
		fmt.Fprintf(&b, "  %-10s %s\n", name, fixtures.About(name))
	}
	return strings.TrimRight(b.String(), "\n")
}
