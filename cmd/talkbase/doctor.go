package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/talkbase/talkbase"
	"github.com/talkbase/talkbase/migration"
	"github.com/talkbase/talkbase/repo"
	"github.com/talkbase/talkbase/services"
)

func (a *app) doctorCommand() *cobra.Command {
	var opts services.RepairOptions
	var repair bool
	var salvage string
	cmd := a.work(&cobra.Command{
		Use:   "doctor",
		Short: "Look for damage and for what is out of step, and repair what can be repaired",
		Long: `doctor checks the schema, the storage, every row that belongs to another, the text index, the indexes of
vectors, and more. It changes nothing, apart
from bringing a file of an older talkbase up to date, after a copy, as opening it always does. Each finding has a code, which docs/troubleshooting.md explains, and
says what to do. It exits with 1 when one of them is an error; warnings and notes are none.

With --repair it then puts right what can be put right without losing anything: indexes, the text index,
indexes of vectors, counts, sequences, and vectors that belong to nothing. Of an SQLite file it makes a
copy beside it first; of a Postgres database it makes none, and wants to hear --no-backup.

With --salvage OUT it rescues what can be read of a damaged SQLite file into a new one, as talkbase salvage
does, and looks no further.`,
		Example: "  talkbase doctor\n  talkbase doctor --repair\n  talkbase doctor --salvage rescued.db\n  talkbase doctor --json",
		Args:    noArgs,
	}, func(cmd *cobra.Command, _ []string) error {
		if f := cmd.Flags(); !repair && (f.Changed("backup") || f.Changed("no-backup") || f.Changed("delete-orphans")) {
			return usagef("--backup, --no-backup and --delete-orphans are for --repair")
		}
		if salvage != "" {
			return a.salvageOpen(cmd.Context(), salvage, repair)
		}
		return a.withDB(cmd, func(ctx context.Context, db *talkbase.DB) error {
			if repair {
				return a.repair(ctx, db, opts)
			}
			r, err := db.ValidateIntegrity(ctx)
			if err != nil {
				return err
			}
			return a.diagnosed(r, r, func(w *page) { w.integrity(a.shown(), r) })
		})
	})
	f := cmd.Flags()
	f.BoolVar(&repair, "repair", false, "put right what can be, after a copy of an SQLite file")
	f.StringVar(&opts.Backup, "backup", "", "file for the copy (default: one beside the database)")
	f.BoolVar(&opts.NoBackup, "no-backup", false, "make no copy first")
	f.StringVar(&salvage, "salvage", "", "rescue what can be read of a damaged SQLite file into this new one")
	f.BoolVar(&opts.DeleteOrphans, "delete-orphans", false, "also delete messages, attachments, files and chunks that belong to nothing")
	return cmd
}

// salvageOpen is talkbase salvage for the database that --db names.
func (a *app) salvageOpen(ctx context.Context, out string, repair bool) error {
	if repair {
		return usagef("--salvage leaves the damaged file as it is, --repair changes it: choose one")
	}
	t, err := a.target()
	if err != nil {
		return err
	}
	if t.Path == "" {
		return usagef("--salvage is for a damaged SQLite file")
	}
	return a.salvage(ctx, t.Path, out, migration.SalvageOptions{}, false)
}

func (a *app) repair(ctx context.Context, db *talkbase.DB, opts services.RepairOptions) error {
	r, err := db.Repair(ctx, opts)
	if err != nil {
		if r.Backup != "" {
			err = fmt.Errorf("%w; the database as it was is in %s", err, r.Backup)
		}
		return err
	}
	return a.diagnosed(r, r.After, func(w *page) {
		if r.Backup != "" {
			w.line("The database was copied to %s first.", oneLine(r.Backup))
		}
		for _, act := range r.Actions {
			if act.Error != "" {
				w.line("failed    %s %s: %s", act.Code, oneLine(act.Subject), oneLine(act.Error))
				continue
			}
			w.line("repaired  %s", strings.TrimSpace(act.Code+" "+oneLine(act.Subject))+": "+act.Done+times(act.Count))
		}
		if len(r.Actions) == 0 {
			w.line("There was nothing to repair.")
		}
		w.line("")
		w.integrity(a.shown(), r.After)
	})
}

func times(n int64) string {
	if n <= 1 {
		return ""
	}
	return ", " + number(n)
}

// diagnosed prints an answer and fails when an error is left.
func (a *app) diagnosed(answer any, r repo.IntegrityReport, human func(w *page)) error {
	if err := a.answer(answer, human); err != nil || r.OK {
		return err
	}
	return errAnswered
}

// integrity writes what a check found.
func (p *page) integrity(name string, r repo.IntegrityReport) {
	versions := make([]string, len(r.Versions))
	for i, v := range r.Versions {
		versions[i] = v.Name + " " + v.Version
	}
	p.line("%s: %s, checked in %s ms", name, strings.Join(versions, ", "), number(r.Milliseconds))
	for _, f := range r.Findings {
		p.finding(f)
	}
	if len(r.Findings) > 0 {
		p.line("")
	}
	for _, what := range slices.Sorted(maps.Keys(r.Skipped)) {
		p.line("Not checked: %s: %s", what, oneLine(r.Skipped[what]))
	}
	n := map[repo.Severity]int64{}
	for _, f := range r.Findings {
		n[f.Severity]++
	}
	if len(r.Findings) == 0 {
		p.line("Everything is in order.")
		return
	}
	p.line("%s, %s, %s.", plural(n[repo.SeverityError], "error", "errors"), plural(n[repo.SeverityWarning], "warning", "warnings"), plural(n[repo.SeverityInfo], "note", "notes"))
}

func (p *page) finding(f repo.Finding) {
	p.line("")
	where := f.Table
	if f.Column != "" {
		where += "." + f.Column
	}
	for _, s := range []string{f.Base, f.Index} {
		if s != "" {
			where += " " + oneLine(s)
		}
	}
	severity := map[repo.Severity]string{repo.SeverityError: "error", repo.SeverityWarning: "warning", repo.SeverityInfo: "note"}[f.Severity]
	head := fmt.Sprintf("%-8s %s", severity, f.Code)
	if where = strings.TrimSpace(where); where != "" {
		head += " in " + where
	}
	if f.Count > 1 {
		head += ": " + number(f.Count)
	}
	p.heading(head)
	p.line("         %s", oneLine(f.Message))
	if len(f.Examples) > 0 {
		shown := make([]string, len(f.Examples))
		for i, e := range f.Examples {
			shown[i] = cut(oneLine(e), 300)
		}
		more := ""
		if int64(len(shown)) < f.Count {
			more = ", …"
		}
		p.line("         such as: %s%s", strings.Join(shown, ", "), more)
	}
	p.line("         help: %s", oneLine(f.Action))
}
