package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/talkbase/talkbase"
	"github.com/talkbase/talkbase/services"
)

func (a *app) optimizeCommand() *cobra.Command {
	var opts services.OptimizeOptions
	cmd := a.work(&cobra.Command{
		Use:   "optimize",
		Short: "Refresh what the planner knows, mend unfit indexes and give back space",
		Long: `optimize makes indexes anew that are not fit any more: those whose building was cut off, and those of
vectors that were made for others than there are. Then it lets the database count what its planner goes
by, gives back space where much of it holds nothing, and works SQLite's log into the file. Applications
can go on meanwhile; what would be in their way is left, and said.`,
		Args: noArgs,
	}, func(cmd *cobra.Command, _ []string) error {
		return a.withDB(cmd, func(ctx context.Context, db *talkbase.DB) error {
			r, err := db.Optimize(ctx, opts)
			if err != nil {
				return err
			}
			r.Steps = list(r.Steps)
			return a.answer(r, func(w *page) { w.optimized(a.shown(), r) })
		})
	})
	cmd.Flags().BoolVar(&opts.Full, "full", false, "rewrite an SQLite file however large it is, while writers wait")
	return cmd
}

func (p *page) optimized(name string, r services.OptimizeReport) {
	for _, s := range r.Steps {
		switch {
		case s.Skipped != "":
			p.line("left     %s of %s: %s", s.Action, oneLine(s.Subject), oneLine(s.Skipped))
		case s.Why != "":
			p.line("done     %s of %s in %s ms: %s", s.Action, oneLine(s.Subject), number(s.Milliseconds), oneLine(s.Why))
		default:
			p.line("done     %s of %s in %s ms", s.Action, oneLine(s.Subject), number(s.Milliseconds))
		}
	}
	p.line("%s: %s before, %s now.", name, bytesOf(r.Before.Bytes), bytesOf(r.After.Bytes))
}
