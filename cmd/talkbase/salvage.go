package main

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/talkbase/talkbase"
	"github.com/talkbase/talkbase/migration"
)

func (a *app) salvageCommand() *cobra.Command {
	var opts migration.SalvageOptions
	var quiet bool
	cmd := a.work(&cobra.Command{
		Use:   "salvage FILE OUT",
		Short: "Rescue what can be read of a damaged SQLite file",
		Long: `salvage reads a damaged SQLite file of talkbase's page by page, goes around what cannot be read, and
stores the rest in a new file. It says for every table how many rows were rescued and which are lost. The
damaged file and its log are only read. Close the application that has it open first.

Messages whose conversation is lost come into one named Recovered. Rows that are damaged, or that have
lost what they belong to, are kept whole in OUT.rejects.jsonl.

Where there is a backup, compare: talkbase restore BACKUP --db other.db.`,
		Example: "  talkbase salvage chats.db rescued.db",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return usagef("salvage needs the damaged file and the new one")
			}
			return nil
		},
	}, func(cmd *cobra.Command, args []string) error {
		return a.salvage(cmd.Context(), args[0], args[1], opts, quiet)
	})
	f := cmd.Flags()
	f.StringVar(&opts.RejectFile, "rejects", "", "file for rows that have no place, which holds contents of chats (default: OUT.rejects.jsonl)")
	f.BoolVarP(&quiet, "quiet", "q", false, "no progress")
	return cmd
}

func (a *app) salvage(ctx context.Context, path, out string, opts migration.SalvageOptions, quiet bool) error {
	p := a.progress(quiet)
	opts.Progress = p.update
	report, err := talkbase.Salvage(ctx, path, out, opts)
	p.end(err == nil)
	if err != nil {
		return backupFailure(ctx, err, "no new file was made")
	}
	return a.answer(report, func(w *page) { w.salvaged(report, out) })
}

func (p *page) salvaged(r *migration.SalvageReport, out string) {
	p.line("%s of %s pages cannot be read at all or in part.", number(int64(r.Unreadable)), number(int64(r.Pages)))
	for _, warning := range r.Warnings {
		p.line("%s", oneLine(warning))
	}
	p.line("")
	var rows [][]string
	for _, t := range r.Tables {
		if t.Rescued+t.Rejected+t.Made+t.Lost == 0 && !t.AtLeast {
			continue
		}
		lost := number(t.Lost)
		if t.AtLeast {
			lost += " or more"
		}
		rows = append(rows, []string{number(t.Rescued), number(t.Rejected), number(t.Made), lost, t.Table})
	}
	p.table([]column{{name: "Rescued", right: true}, {name: "Rejected", right: true}, {name: "Made anew", right: true}, {name: "Lost", right: true}, {name: "Table"}}, rows)
	for _, t := range r.Tables {
		for _, why := range slices.Sorted(maps.Keys(t.Reasons)) {
			p.line("%s %s: %s", t.Table, why, number(t.Reasons[why]))
		}
		for _, id := range t.LostIDs {
			p.line("  %s %s: lost", t.Table, oneLine(id))
		}
		if more := t.Lost - int64(len(t.LostIDs)); more > 0 {
			p.line("  %s: %s more", t.Table, number(more))
		}
	}
	for _, x := range r.Rejects {
		p.line("  %s", cut(oneLine(fmt.Sprintf("%s %s: %s, %s", x.Table, x.ID, x.Reason, x.Detail)), 200))
	}
	if r.RejectFile != "" {
		p.line("The rejected rows are in %s.", oneLine(r.RejectFile))
	}
	if r.Whole {
		p.line("\nEverything was rescued into %s.", oneLine(out))
		return
	}
	p.line("\nWhat could be read is in %s. The damaged file was left as it is.", oneLine(out))
}
