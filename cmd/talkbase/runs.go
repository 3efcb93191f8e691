package main

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/talkbase/talkbase"
	"github.com/talkbase/talkbase/migration"
	"github.com/talkbase/talkbase/models"
)

// runAnswer is an import as imports prints it with --json.
type runAnswer struct {
	models.ImportRun
	Report json.RawMessage `json:"report"`
}

func (a *app) importsCommand() *cobra.Command {
	return a.work(&cobra.Command{
		Use: "imports", Short: "List the imports of this database", Args: noArgs,
		Long: `imports lists the imports of this database, the newest first, with their ids, which verify and
rollback take.`,
	}, func(cmd *cobra.Command, _ []string) error {
		return a.withDB(cmd, func(ctx context.Context, db *talkbase.DB) error {
			runs, err := db.ImportRuns(ctx)
			if err != nil {
				return err
			}
			out := make([]runAnswer, len(runs))
			for i, r := range runs {
				out[i] = runAnswer{ImportRun: r, Report: json.RawMessage(r.Report.String())}
			}
			return a.answer(map[string]any{"imports": out}, func(w *page) { w.runs(runs) })
		})
	})
}

func (p *page) runs(runs []models.ImportRun) {
	if len(runs) == 0 {
		p.line("Nothing was imported yet.")
		return
	}
	rows := make([][]string, len(runs))
	for i, r := range runs {
		state := string(r.State)
		if r.State == models.ImportRunning {
			state = "unfinished (" + r.Phase + ")"
		}
		rows[i] = []string{r.ID, when(r.StartedAt), state, oneLine(r.Backup)}
	}
	p.table([]column{{name: "Run"}, {name: "Started"}, {name: "State"}, {name: "Backup"}}, rows)
}

// runOf is the run that is named, or the newest that passes.
func runOf(ctx context.Context, db *talkbase.DB, args []string, passes func(models.ImportState) bool) (string, error) {
	if len(args) > 0 {
		return args[0], nil
	}
	runs, err := db.ImportRuns(ctx)
	if err != nil {
		return "", err
	}
	for _, r := range runs {
		if passes(r.State) {
			return r.ID, nil
		}
	}
	return "", usagef("there is no import to work on; talkbase imports lists them")
}

func (a *app) verifyCommand() *cobra.Command {
	var opts migration.VerifyOptions
	var quiet bool
	cmd := a.work(&cobra.Command{
		Use:   "verify [RUN]",
		Short: "Compare what is stored with what an import wrote",
		Long: `verify reads back every row of an import, the newest unless one is named, and compares it with what was
read from the sources, and with the sources in the import's backup, where it still is. Rows that were
edited or deleted through talkbase since are told from rows that are damaged. It changes nothing.
It exits with 1 when something is damaged.`,
		Example: "  talkbase verify\n  talkbase verify 01985b6e-… --json",
		Args:    cobra.MaximumNArgs(1),
	}, func(cmd *cobra.Command, args []string) error {
		return a.withDB(cmd, func(ctx context.Context, db *talkbase.DB) error {
			run, err := runOf(ctx, db, args, func(s models.ImportState) bool { return s == models.ImportDone })
			if err != nil {
				return err
			}
			p := a.progress(quiet)
			opts.Progress = p.update
			v, err := db.VerifyImport(ctx, run, opts)
			p.end(err == nil)
			if err != nil {
				return importFailure(ctx, err)
			}
			if err := a.answer(v, func(w *page) { w.verification(v) }); err != nil {
				return err
			}
			if !v.OK {
				return errAnswered
			}
			return nil
		})
	})
	f := cmd.Flags()
	f.StringVar(&opts.WorkDir, "work-dir", "", "folder for private copies of the backup (default: the system's temporary folder)")
	f.BoolVarP(&quiet, "quiet", "q", false, "no progress")
	return cmd
}

// verification writes what a verification found.
func (p *page) verification(v *migration.Verification) {
	rows := make([][]string, 0, len(v.Tables))
	for _, t := range v.Tables {
		if t.Table == "" {
			continue
		}
		same := "yes"
		if t.Source != t.Target {
			same = "no"
		}
		rows = append(rows, []string{number(t.Rows), same, t.Table})
	}
	p.table([]column{{name: "Rows", right: true}, {name: "As imported"}, {name: "Table"}}, rows)
	for _, t := range v.Tables {
		for _, kind := range slices.Sorted(maps.Keys(t.Found)) {
			p.line("%s %s: %s", t.Table, kind, number(t.Found[kind]))
		}
	}
	for _, f := range v.Findings {
		p.line("  %s", cut(oneLine(f.Table+" "+f.ID+": "+string(f.Kind)+", "+f.Detail), 300))
	}
	switch {
	case !v.OK:
		p.line("\nNOT as imported. talkbase rollback takes the import out; the backup holds the sources.")
	case v.Backup:
		p.line("\nVerified, against the backup of the sources as well.")
	default:
		p.line("\nVerified.")
	}
}

func (a *app) rollbackCommand() *cobra.Command {
	var opts migration.RollbackOptions
	var quiet bool
	cmd := a.work(&cobra.Command{
		Use:   "rollback RUN",
		Short: "Take an import out again",
		Long: `rollback deletes every row that an import wrote and puts back those it replaced, so that the database
holds what it held before. Where imported rows were edited since, or others were added to them, it
changes nothing and lists them, unless --force is given. One that is interrupted goes on when it is
called again.`,
		Example: "  talkbase imports\n  talkbase rollback 01985b6e-…",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("rollback needs the id of an import; talkbase imports lists them")
			}
			return nil
		},
	}, func(cmd *cobra.Command, args []string) error {
		return a.withDB(cmd, func(ctx context.Context, db *talkbase.DB) error {
			p := a.progress(quiet)
			opts.Progress = p.update
			report, err := db.RollbackImport(ctx, args[0], opts)
			p.end(err == nil)
			if err != nil {
				err = importFailure(ctx, err)
				if len(report.Edited) == 0 {
					return err
				}
			}
			out := struct {
				*migration.RollbackReport
				Error *problem `json:"error,omitempty"`
			}{RollbackReport: report}
			if err != nil {
				p := explain(ctx, err)
				out.Error = &p
			}
			if perr := a.answer(out, func(w *page) { w.rollback(report, err) }); perr != nil {
				return perr
			}
			return err
		})
	})
	f := cmd.Flags()
	f.BoolVar(&opts.Force, "force", false, "lose edits of imported rows, and rows that were added to them")
	f.BoolVarP(&quiet, "quiet", "q", false, "no progress")
	return cmd
}

func (p *page) rollback(r *migration.RollbackReport, err error) {
	for _, f := range r.Edited {
		p.line("%s %s: %s", f.Table, oneLine(f.ID), oneLine(f.Detail))
	}
	switch {
	case errors.Is(err, migration.ErrEdited):
		p.line("\nNothing was changed.")
		return
	case err != nil:
		return
	}
	for _, table := range slices.Sorted(maps.Keys(r.Deleted)) {
		p.line("%s: %s deleted", table, number(r.Deleted[table]))
	}
	for _, table := range slices.Sorted(maps.Keys(r.Restored)) {
		p.line("%s: %s put back", table, number(r.Restored[table]))
	}
	p.line("\nRolled back. The database holds what it held before the import.")
}
