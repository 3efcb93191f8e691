package main

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"slices"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/talkbase/talkbase"
	"github.com/talkbase/talkbase/internal/engine"
	"github.com/talkbase/talkbase/migration"
)

// snapshotAnswer is what backup --raw prints with --json.
type snapshotAnswer struct {
	Path  string `json:"path"`
	Bytes int64  `json:"bytes"`
}

// dumpAnswer is what backup prints with --json.
type dumpAnswer struct {
	Path string `json:"path"`
	*migration.DumpInfo
}

func (a *app) backupCommand() *cobra.Command {
	var raw, check, compare, quiet bool
	keep := &count{least: 1, most: 100_000}
	cmd := a.work(&cobra.Command{
		Use:   "backup FILE",
		Short: "Write a backup of the database while it is used",
		Long: `backup writes everything that the database holds, as of one moment, to a new file, while others go on
writing. The file is compressed, has checksums, is read back before it gets its name, and is restored into
an SQLite file or a Postgres alike. It holds the contents of chats; only its owner can read it.

With --raw it is a copy of the SQLite file itself.

With --rolling N the argument is a folder. A backup named by the time is written into it, and the oldest
of this database are removed until N are left. What else is in the folder stays.

--check reads a backup and checks all of it; --compare compares the database with it as well, and says
which rows differ. Both exit with 1 when something is wrong.`,
		Example: `  talkbase backup chats.dump
  talkbase backup --rolling 7 ~/backups
  talkbase backup --raw copy.db
  talkbase backup --check chats.dump
  talkbase backup --compare chats.dump`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("backup needs the file to write, or with --rolling the folder")
			}
			given := 0
			for _, is := range []bool{raw, check, compare, keep.set} {
				if is {
					given++
				}
			}
			if given > 1 {
				return usagef("--raw, --rolling, --check and --compare do not go together")
			}
			return nil
		},
	}, func(cmd *cobra.Command, args []string) error {
		ctx, path := cmd.Context(), args[0]
		p := a.progress(quiet)
		if check {
			return a.checkBackup(ctx, path, p)
		}
		return a.withDB(cmd, func(ctx context.Context, db *talkbase.DB) error {
			switch {
			case raw:
				return a.snapshot(ctx, db, path)
			case compare:
				return a.compareBackup(ctx, db, path, p)
			case keep.set:
				return a.rollingBackup(ctx, db, path, keep.int(), p)
			}
			info, err := db.Backup(ctx, path, migration.DumpOptions{Progress: p.update})
			p.end(err == nil)
			if err != nil {
				return backupFailure(ctx, err, "no backup was made")
			}
			return a.answer(dumpAnswer{path, info}, func(w *page) {
				w.dump(info)
				w.line("\nWritten to %s, %s, and read back.", oneLine(path), humanize.Bytes(uint64(max(info.Bytes, 0))))
			})
		})
	})
	f := cmd.Flags()
	f.BoolVar(&raw, "raw", false, "copy the SQLite file itself")
	f.Var(keep, "rolling", "write into a folder and keep so many backups there")
	f.BoolVar(&check, "check", false, "read a backup and check all of it")
	f.BoolVar(&compare, "compare", false, "compare the database with a backup")
	f.BoolVarP(&quiet, "quiet", "q", false, "no progress")
	return cmd
}

func (a *app) snapshot(ctx context.Context, db *talkbase.DB, path string) error {
	if err := db.Snapshot(ctx, path); err != nil {
		return backupFailure(ctx, err, "no backup was made")
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	return a.answer(snapshotAnswer{path, info.Size()}, func(w *page) {
		w.line("Copied to %s, %s.", oneLine(path), humanize.Bytes(uint64(max(info.Size(), 0))))
	})
}

func (a *app) rollingBackup(ctx context.Context, db *talkbase.DB, dir string, keep int, p progress) error {
	r, err := db.RollingBackup(ctx, dir, migration.RollingOptions{Keep: keep, Progress: p.update})
	p.end(err == nil)
	if err != nil {
		return backupFailure(ctx, err, "no backup was made")
	}
	r.Removed = list(r.Removed)
	return a.answer(r, func(w *page) {
		w.dump(r.Dump)
		w.line("\nWritten to %s, %s, and read back.", oneLine(r.Path), humanize.Bytes(uint64(max(r.Dump.Bytes, 0))))
		w.line("%d backups of this database are there; %d were removed.", len(r.Kept), len(r.Removed))
	})
}

func (a *app) checkBackup(ctx context.Context, path string, p progress) error {
	f, err := os.Open(path)
	if err != nil {
		return backupFailure(ctx, err, "")
	}
	defer func() { _ = f.Close() }()
	info, err := migration.CheckDump(ctx, f, migration.DumpOptions{Progress: p.update})
	p.end(err == nil)
	if err != nil {
		return backupFailure(ctx, err, "")
	}
	return a.answer(dumpAnswer{path, info}, func(w *page) {
		w.dump(info)
		w.line("\nThe backup is whole.")
	})
}

func (a *app) compareBackup(ctx context.Context, db *talkbase.DB, path string, p progress) error {
	c, err := db.CompareBackup(ctx, path, migration.DumpOptions{Progress: p.update})
	p.end(err == nil)
	if err != nil {
		return backupFailure(ctx, err, "")
	}
	if err := a.answer(c, func(w *page) { w.comparison(c) }); err != nil || c.Same {
		return err
	}
	return errAnswered
}

// dump writes what a dump holds.
func (p *page) dump(info *migration.DumpInfo) {
	p.line("%s, schema version %d, as of %s", info.Engine, info.SchemaVersion, when(info.CreatedAt))
	p.line("")
	p.digests(info.Tables)
	if info.FaultyRows > 0 {
		p.line("\n%s rows hold text that cannot be stored again; restoring leaves them out with --rejects:", number(info.FaultyRows))
		for _, f := range info.Faulty {
			p.line("  %s %s: %s", f.Table, oneLine(f.ID), f.Detail)
		}
	}
}

func (p *page) digests(tables map[string]migration.Digest) {
	var rows [][]string
	for _, t := range slices.Sorted(maps.Keys(tables)) {
		if tables[t].Rows > 0 {
			rows = append(rows, []string{number(tables[t].Rows), t})
		}
	}
	p.table([]column{{name: "Rows", right: true}, {name: "Table"}}, rows)
}

func (p *page) comparison(c *migration.DumpComparison) {
	if c.Same {
		p.line("The database holds what it held when the backup was made, %s.", when(c.Dump.CreatedAt))
		return
	}
	rows := make([][]string, len(c.Tables))
	for i, t := range c.Tables {
		rows[i] = []string{number(t.Differing), number(t.Missing), number(t.Added), t.Table}
	}
	p.table([]column{{name: "Differing", right: true}, {name: "Missing", right: true}, {name: "Added", right: true}, {name: "Table"}}, rows)
	for _, d := range c.Differences {
		p.line("  %s %s: %s", d.Table, oneLine(d.ID), d.Kind)
	}
	p.line("\nThe database is not as it was when the backup was made, %s. What nobody changed since is damaged.", when(c.Dump.CreatedAt))
}

// backupFailure says what became of the work. What is invalid came from files.
func backupFailure(ctx context.Context, err error, outcome string) error {
	var f *failure
	if errors.As(err, &f) {
		return err
	}
	p := explain(ctx, err)
	if ctx.Err() != nil && outcome != "" {
		p.Message = "interrupted; " + outcome
	}
	if path := (*fs.PathError)(nil); errors.As(err, &path) && errors.Is(err, fs.ErrNotExist) {
		p.Message = "there is no file or folder " + path.Path
	}
	return &failure{code: p.Code, message: p.Message, hint: p.Hint, err: err}
}

func (a *app) restoreCommand() *cobra.Command {
	var opts migration.RestoreOptions
	var quiet bool
	cmd := a.work(&cobra.Command{
		Use:   "restore FILE",
		Short: "Load a backup into an empty database",
		Long: `restore loads a backup that talkbase backup wrote, of either kind, into the database that --db names,
which must be empty or not there yet. The backup is checked before anything is written, everything is
stored in one transaction, and it is read back before that is committed: a restore that fails or is
interrupted leaves the database as empty as it was.`,
		Example: `  talkbase restore chats.dump --db restored.db
  talkbase restore chats.dump --db postgres://user@localhost/chat`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("restore needs the backup to load")
			}
			return nil
		},
	}, func(cmd *cobra.Command, args []string) (err error) {
		ctx := cmd.Context()
		// Looked for before the database is opened: a mistyped name makes no file.
		if _, err := os.Stat(args[0]); err != nil {
			return backupFailure(ctx, err, "")
		}
		db, err := a.open(ctx)
		if err != nil {
			return err
		}
		defer closing(db, &err)
		p := a.progress(quiet)
		opts.Progress = p.update
		report, err := db.Restore(ctx, args[0], opts)
		p.end(err == nil)
		if err != nil {
			return backupFailure(ctx, err, "the database is as empty as it was")
		}
		return a.answer(report, func(w *page) {
			w.restored(report)
			w.line("\nRestored into %s%s.", a.shown(), verified(report))
		})
	})
	restoreFlags(cmd, &opts, &quiet)
	return cmd
}

func restoreFlags(cmd *cobra.Command, opts *migration.RestoreOptions, quiet *bool) {
	f := cmd.Flags()
	f.StringVar(&opts.RejectFile, "rejects", "", "file for rows that the database refuses, which holds contents of chats; without it none is refused")
	f.BoolVar(&opts.NoVerify, "no-verify", false, "do not read back what was stored")
	f.BoolVarP(quiet, "quiet", "q", false, "no progress")
}

func verified(r *migration.RestoreReport) string {
	if r.Verified {
		return ", read back and compared"
	}
	return ""
}

func (p *page) restored(r *migration.RestoreReport) {
	p.digests(r.Tables)
	for _, t := range slices.Sorted(maps.Keys(r.Rejected)) {
		p.line("%s: %s rejected", t, number(r.Rejected[t]))
	}
	for _, x := range r.Rejects {
		p.line("  %s %s: %s, %s", x.Table, oneLine(x.ID), x.Reason, cut(oneLine(x.Detail), 200))
	}
	if r.RejectFile != "" {
		p.line("The rejected rows are in %s.", oneLine(r.RejectFile))
	}
}

func (a *app) copyCommand() *cobra.Command {
	var opts migration.RestoreOptions
	var quiet bool
	var from, to, fromSchema, toSchema string
	cmd := a.work(&cobra.Command{
		Use:   "copy --from DATABASE --to DATABASE",
		Short: "Copy a whole database into an empty one, on either engine",
		Long: `copy copies everything that one database holds, as of one moment, into another, which must be empty
or not there yet: from an SQLite file to Postgres, for the day when a desktop becomes a server, or back.
Others may go on using the first one. All rows are read back from the second and compared before they
are committed: a copy that fails or is interrupted leaves it empty.`,
		Example: `  talkbase copy --from chats.db --to postgres://user@localhost/chat
  talkbase copy --from postgres://user@localhost/chat --from-schema app --to chats.db`,
		Args: func(cmd *cobra.Command, args []string) error {
			switch {
			case from == "" || to == "":
				return usagef("copy needs --from and --to")
			case a.dbGiven() || a.schema != "":
				return usagef("copy takes --from and --to, --from-schema and --to-schema, and no --db or --schema")
			}
			return noArgs(cmd, args)
		},
	}, func(cmd *cobra.Command, _ []string) (err error) {
		ctx := cmd.Context()
		source, target := *a, *a
		source.db, source.schema = from, fromSchema
		target.db, target.schema = to, toSchema
		if err := samePlace(from, to, fromSchema, toSchema); err != nil {
			return err
		}
		src, err := source.openExisting(ctx)
		if err != nil {
			return err
		}
		defer closing(src, &err)
		dst, err := target.open(ctx)
		if err != nil {
			return err
		}
		defer closing(dst, &err)
		p := a.progress(quiet)
		opts.Progress = p.update
		report, err := talkbase.Copy(ctx, src, dst, opts)
		p.end(err == nil)
		if err != nil {
			return backupFailure(ctx, err, "the database to copy to is as empty as it was")
		}
		return a.answer(report, func(w *page) {
			w.restored(report)
			w.line("\nCopied from %s to %s%s.", source.shown(), target.shown(), verified(report))
		})
	})
	f := cmd.Flags()
	f.StringVar(&from, "from", "", "database to copy: a file, sqlite:///path/file.db or postgres://…")
	f.StringVar(&to, "to", "", "empty database to copy to")
	f.StringVar(&fromSchema, "from-schema", "", "Postgres schema of the first")
	f.StringVar(&toSchema, "to-schema", "", "Postgres schema of the second")
	restoreFlags(cmd, &opts, &quiet)
	return cmd
}

// samePlace refuses to copy a database to itself, which would be refused for not being empty in words that
// help nobody.
func samePlace(from, to, fromSchema, toSchema string) error {
	same := from == to && fromSchema == toSchema
	if a, err := os.Stat(pathOf(from)); err == nil {
		if b, err := os.Stat(pathOf(to)); err == nil {
			same = same || os.SameFile(a, b)
		}
	}
	if same {
		return usagef("--from and --to are the same database")
	}
	return nil
}

// pathOf is the path of an SQLite database's file, "" for another database.
func pathOf(dsn string) string {
	t, err := engine.ParseDSN(dsn)
	if err != nil {
		return ""
	}
	return t.Path
}
