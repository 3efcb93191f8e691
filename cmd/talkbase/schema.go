package main

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/talkbase/talkbase/internal/engine"
	"github.com/talkbase/talkbase/migration"
	"github.com/talkbase/talkbase/repo"
)

// schemaAnswer is what schema status, up and down print with --json.
type schemaAnswer struct {
	Engine string `json:"engine"`
	// Version is the database's, Latest the one this program needs.
	Version int64 `json:"version"`
	Latest  int64 `json:"latest"`
	// State is current, outdated, newer or empty.
	State string `json:"state"`
	// Before is the version before up or down.
	Before *int64 `json:"before,omitempty"`
}

func (a *app) schemaCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "schema",
		Short: "Look at the schema, bring it up to date or back",
	}
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return usagef("%s needs a subcommand: status, up, down or validate", cmd.CommandPath())
		}
		return usagef("%s has no subcommand %q: use status, up, down or validate", cmd.CommandPath(), args[0])
	}
	// Without a function of its own cobra would take any word and print its help as a success.
	cmd.RunE = func(*cobra.Command, []string) error { return nil }
	cmd.AddCommand(a.schemaStatus(), a.schemaUp(), a.schemaDown(), a.schemaValidate())
	return cmd
}

// withSchema runs f on the schema as it is. Opening the whole database would bring an SQLite file
// up to date and refuse an older Postgres, which is what these commands are there for.
func (a *app) withSchema(ctx context.Context, f func(s *migration.Schema, answer schemaAnswer) error) (err error) {
	log := a.logger()
	e, err := engine.Open(ctx, engine.Options{DSN: a.dsn(), Schema: a.schema, Logger: log})
	if err != nil {
		return engine.Wrap("open database", err)
	}
	defer closing(e, &err)
	st, err := e.State(ctx)
	if err != nil {
		return err
	}
	if st.Foreign != "" {
		return fmt.Errorf("%w: it has a table %s that talkbase did not create; if this is DeepChat's chat.db, import it into another file: talkbase import", repo.ErrForeignSchema, oneLine(st.Foreign))
	}
	late := &engine.Late{}
	late.Set(e)
	s := migration.NewSchema(late, "", log)
	answer, err := schemaState(ctx, s, e.Name())
	if err != nil {
		return err
	}
	return f(s, answer)
}

func schemaState(ctx context.Context, s *migration.Schema, name string) (schemaAnswer, error) {
	v, err := s.SchemaVersion(ctx)
	answer := schemaAnswer{Engine: name, Version: v, Latest: s.LatestSchemaVersion(), State: "current"}
	switch {
	case v == 0:
		answer.State = "empty"
	case v < answer.Latest:
		answer.State = "outdated"
	case v > answer.Latest:
		answer.State = "newer"
	}
	return answer, err
}

func (a *app) schemaStatus() *cobra.Command {
	return a.work(&cobra.Command{
		Use: "status", Short: "Say which version the schema has", Args: noArgs,
	}, func(cmd *cobra.Command, _ []string) error {
		if err := a.mustExist(cmd.Context()); err != nil {
			return err
		}
		return a.withSchema(cmd.Context(), func(_ *migration.Schema, s schemaAnswer) error {
			return a.answer(s, func(w *page) {
				w.line("%s: %s, schema version %d of %d", a.shown(), s.Engine, s.Version, s.Latest)
				switch s.State {
				case "empty":
					w.line("There is no schema yet; talkbase schema up makes it.")
				case "outdated":
					w.line("It is older than this program; talkbase schema up brings it up to date.")
				case "newer":
					w.line("It is newer than this program; update the program.")
				default:
					w.line("It is up to date.")
				}
			})
		})
	})
}

// version is the flag --to.
func version() *count { return &count{least: 0, most: 1 << 31} }

func (a *app) schemaUp() *cobra.Command {
	to := version()
	cmd := a.work(&cobra.Command{
		Use:   "up",
		Short: "Create the schema or bring it up to date",
		Long: `up creates the schema in an empty database, or brings an older one up to date. Of an SQLite file a
copy is written beside it first.`,
		Args: noArgs,
	}, func(cmd *cobra.Command, _ []string) error {
		if _, err := a.target(); err != nil {
			return err
		}
		return a.withSchema(cmd.Context(), func(s *migration.Schema, before schemaAnswer) error {
			ctx := cmd.Context()
			if !to.set {
				to.value = before.Latest
			}
			var err error
			switch {
			case to.value > before.Latest:
				return usagef("there is no schema version %d: this program knows 0 to %d", to.value, before.Latest)
			case to.value < before.Version:
				return usagef("the schema has version %d already: to go back to %d use talkbase schema down", before.Version, to.value)
			case to.value == before.Latest:
				err = s.Prepare(ctx, true)
			default:
				err = s.MigrateSchema(ctx, to.value)
			}
			if err != nil {
				return err
			}
			return a.moved(ctx, s, before)
		})
	})
	cmd.Flags().Var(to, "to", "version to go to (default: the latest)")
	return cmd
}

// moved prints where the schema is now.
func (a *app) moved(ctx context.Context, s *migration.Schema, before schemaAnswer) error {
	after, err := schemaState(ctx, s, before.Engine)
	if err != nil {
		return err
	}
	after.Before = &before.Version
	return a.answer(after, func(w *page) {
		if after.Version == before.Version {
			w.line("%s: the schema has version %d; there was nothing to do.", a.shown(), after.Version)
			return
		}
		w.line("%s: the schema went from version %d to %d.", a.shown(), before.Version, after.Version)
	})
}

func (a *app) schemaDown() *cobra.Command {
	to := version()
	var yes bool
	cmd := a.work(&cobra.Command{
		Use:   "down --to VERSION --yes",
		Short: "Take the schema back to an older version, dropping what it did not have",
		Long: `down takes the schema back. What the older version did not have is dropped with its rows; version 0
drops everything. Only this program's own tables are touched.

A later command that opens an SQLite file brings it up to date again, after writing a copy beside it.`,
		Args: noArgs,
	}, func(cmd *cobra.Command, _ []string) error {
		switch {
		case !to.set:
			return usagef("say how far to go back: --to VERSION, 0 for nothing left")
		case !yes:
			return usagef("going back to version %d drops data: repeat it with --yes", to.value)
		}
		if err := a.mustExist(cmd.Context()); err != nil {
			return err
		}
		return a.withSchema(cmd.Context(), func(s *migration.Schema, before schemaAnswer) error {
			ctx := cmd.Context()
			if to.value > before.Version {
				return usagef("the schema has version %d: to go up to %d use talkbase schema up", before.Version, to.value)
			}
			if to.value < before.Version {
				a.logger().LogAttrs(ctx, slog.LevelInfo, "dropping what the older schema did not have", slog.Int64("from", before.Version), slog.Int64("to", to.value))
				if err := s.MigrateSchema(ctx, to.value); err != nil {
					return err
				}
			}
			return a.moved(ctx, s, before)
		})
	})
	cmd.Flags().Var(to, "to", "version to go back to")
	cmd.Flags().BoolVar(&yes, "yes", false, "yes, drop the data")
	return cmd
}

func (a *app) schemaValidate() *cobra.Command {
	return a.work(&cobra.Command{
		Use:   "validate",
		Short: "Compare the schema with what this program expects",
		Long: `validate compares talkbase's own tables, columns, indexes, constraints and triggers with what this
program expects. It exits with 1 when something differs. Tables of other programs are not looked at.`,
		Args: noArgs,
	}, func(cmd *cobra.Command, _ []string) error {
		if err := a.mustExist(cmd.Context()); err != nil {
			return err
		}
		return a.withSchema(cmd.Context(), func(s *migration.Schema, _ schemaAnswer) error {
			r, err := s.ValidateSchema(cmd.Context())
			if err != nil {
				return err
			}
			r.Drift = list(r.Drift)
			if err := a.answer(r, func(w *page) { w.drift(a.shown(), r) }); err != nil || r.OK {
				return err
			}
			return errAnswered
		})
	})
}

// drift writes what validate found.
func (p *page) drift(name string, r migration.SchemaReport) {
	p.line("%s: schema version %d of %d", name, r.Version, r.Latest)
	switch {
	case r.OK:
		p.line("Everything is as it should be.")
		return
	case r.Version < r.Latest:
		p.line("It is older than this program; talkbase schema up brings it up to date.")
	case r.Version > r.Latest:
		p.line("It is newer than this program; update the program.")
	}
	if len(r.Drift) == 0 {
		return
	}
	p.line("")
	rows := make([][]string, len(r.Drift))
	for i, d := range r.Drift {
		what := ""
		switch d.Problem {
		case "different":
			what = "is " + d.Have + ", should be " + d.Want
		case "missing":
			what = d.Want
		case "extra":
			what = d.Have
		}
		rows[i] = []string{d.Table, d.Kind, d.Name, d.Problem, what}
	}
	p.table([]column{{name: "Table"}, {name: "Kind"}, {name: "Name"}, {name: "Problem"}, {name: "Definition"}}, rows)
}
