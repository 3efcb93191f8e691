package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/talkbase/talkbase"
	"github.com/talkbase/talkbase/internal/engine"
	"github.com/talkbase/talkbase/migration"
	"github.com/talkbase/talkbase/repo"
)

// importAnswer is what import prints with --json: the report, and why it is not ok.
type importAnswer struct {
	*migration.ImportReport
	Error *problem `json:"error,omitempty"`
}

func (a *app) importCommand() *cobra.Command {
	var opts migration.ImportOptions
	var quiet bool
	memory := &size{value: migration.DefaultMemoryLimit, least: 1 << 20}
	rows := &count{value: migration.DefaultBatchRows, least: 1, most: 100_000}
	cmd := a.work(&cobra.Command{
		Use:   "import PATH…",
		Short: "Take over DeepChat's conversations and knowledge bases",
		Long: `import copies the files of older DeepChat releases into the database. A path is a user-data folder, its
app_db or KnowledgeBase folder, a chat.db, or a knowledge file. User-data folders are

  Linux    ~/.config/DeepChat
  macOS    ~/Library/Application Support/DeepChat
  Windows  %APPDATA%\DeepChat

The files are only read. What is in their write-ahead logs comes along. Every row is counted: written,
merged (it was there already), or rejected, with the reason. Importing again changes nothing.

A backup of the files, and of an SQLite database that has data, is made first, and the rejected rows are
written into it. At the end every row is read back and compared. An import that is interrupted, or whose
machine dies, goes on with --resume. talkbase rollback takes an import out again.`,
		Example: `  talkbase import ~/.config/DeepChat
  talkbase import chat.db --db postgres://user@localhost/chat
  talkbase import app_db/KnowledgeBase/kb1 --json
  talkbase import --dry-run ~/.config/DeepChat
  talkbase import --resume
  talkbase import --replay talkbase.db.imports/01985b6e-…/rejects.jsonl`,
		Args: func(_ *cobra.Command, args []string) error {
			if opts.Resume && (opts.DryRun || opts.Restart || opts.Replay != "") {
				return usagef("--resume goes on as the import was begun: it does not go with --dry-run, --restart or --replay")
			}
			if opts.Resume || opts.Replay != "" {
				if len(args) > 0 {
					return usagef("with --resume and --replay, import takes no path")
				}
				return nil
			}
			if len(args) == 0 {
				return usagef("import needs a path: a DeepChat user-data folder, a chat.db, or knowledge files")
			}
			return nil
		},
	}, func(cmd *cobra.Command, args []string) (err error) {
		ctx := cmd.Context()
		opts.Paths, opts.BatchRows, opts.MemoryLimit = args, rows.int(), memory.value
		// Looked for before the database is opened: a mistyped path makes no file.
		if err := a.lookFor(ctx, opts); err != nil {
			return err
		}
		open := a.open
		switch {
		case opts.DryRun:
			open = a.openDry
		case opts.Resume:
			open = a.openExisting
		}
		db, err := open(ctx)
		if err != nil {
			return err
		}
		defer closing(db, &err)
		return a.importInto(ctx, db, opts, quiet)
	})
	f := cmd.Flags()
	f.BoolVar(&opts.MarkPendingAsError, "pending-as-error", false, "mark interrupted answers as errors")
	f.BoolVar(&opts.RecoverOrphans, "recover-orphans", false, "put messages whose conversation is gone into conversations named Recovered")
	f.BoolVar(&opts.PreferSource, "prefer-source", false, "replace rows of the database that have the same id and other content")
	f.BoolVar(&opts.DryRun, "dry-run", false, "do everything but write")
	f.BoolVar(&opts.Resume, "resume", false, "go on with an import that was interrupted")
	f.BoolVar(&opts.Restart, "restart", false, "roll an interrupted import back, and begin anew")
	f.StringVar(&opts.Replay, "replay", "", "import the rows of this reject file again")
	f.StringVar(&opts.BackupDir, "backup-dir", "", "folder for the backup (default: FILE.imports beside an SQLite database)")
	f.BoolVar(&opts.NoBackup, "no-backup", false, "make no backup")
	f.BoolVar(&opts.NoVerify, "no-verify", false, "do not compare what is stored with what was read")
	f.StringVar(&opts.RejectFile, "reject-file", "", "file for the rejected rows, which holds contents of chats (default: rejects.jsonl in the backup)")
	f.Var(memory, "memory", "bound of the rows in memory, such as 64MiB")
	f.StringVar(&opts.WorkDir, "work-dir", "", "folder for private copies of the files (default: the system's temporary folder)")
	f.Var(rows, "batch-rows", "rows of one transaction")
	f.BoolVarP(&quiet, "quiet", "q", false, "no progress")
	return cmd
}

// openDry opens the database, or an empty one in memory in place of a file that is not there yet.
func (a *app) openDry(ctx context.Context) (*talkbase.DB, error) {
	t, err := a.target()
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(t.Path); t.Path != "" && errors.Is(err, fs.ErrNotExist) {
		cfg := a.config()
		cfg.DSN = "sqlite::memory:"
		return talkbase.Open(ctx, cfg)
	}
	return a.open(ctx)
}

// lookFor finds out whether there is something to import, and that it is not the database itself.
func (a *app) lookFor(ctx context.Context, opts migration.ImportOptions) error {
	if opts.Resume || opts.Replay != "" {
		return nil
	}
	found, err := migration.Discover(ctx, opts.Paths...)
	if err != nil {
		return importFailure(ctx, err)
	}
	return a.notASource(found)
}

// importInto imports and prints the report.
func (a *app) importInto(ctx context.Context, db *talkbase.DB, opts migration.ImportOptions, quiet bool) error {
	report, err := a.importWithProgress(ctx, db, opts, quiet)
	if err != nil {
		err = importFailure(ctx, err)
	}
	if report == nil || !report.RollbackPossible && err != nil && !hasRows(report) {
		return err
	}
	out := importAnswer{ImportReport: report}
	if err != nil {
		p := explain(ctx, err)
		out.Error = &p
	}
	if perr := a.answer(out, func(w *page) { w.report(report) }); perr != nil {
		return perr
	}
	if err == nil && !report.OK {
		return errAnswered
	}
	return err
}

func (a *app) importWithProgress(ctx context.Context, db *talkbase.DB, opts migration.ImportOptions, quiet bool) (*migration.ImportReport, error) {
	p := a.progress(quiet)
	opts.Progress = p.update
	report, err := db.Import(ctx, opts)
	p.end(err == nil)
	if report != nil {
		complete(report)
	}
	return report, err
}

// hasRows reports whether a report tells of any row, or of a source that is at fault.
func hasRows(r *migration.ImportReport) bool {
	for _, s := range r.Sources {
		if len(s.Tables) > 0 || s.Error != "" {
			return true
		}
	}
	return false
}

// complete makes lists of a report empty where they are missing, for JSON's sake.
func complete(r *migration.ImportReport) {
	r.Sources = list(r.Sources)
	for _, s := range r.Sources {
		s.Tables = list(s.Tables)
	}
}

// importFailure keeps what went wrong from counting as wrong use: what is invalid came from files.
func importFailure(ctx context.Context, err error) error {
	var f *failure
	if errors.As(err, &f) {
		return err
	}
	p := explain(ctx, err)
	if path := (*fs.PathError)(nil); errors.As(err, &path) && errors.Is(err, fs.ErrNotExist) && path.Op == "stat" {
		p.Message, p.Hint = "there is no file or folder "+path.Path, "a DeepChat user-data folder holds app_db/chat.db; talkbase import --help says where it is"
	}
	return &failure{code: p.Code, message: p.Message, hint: p.Hint, err: err}
}

// notASource refuses to write into one of the files to import, under whatever name.
func (a *app) notASource(found *migration.Discovery) error {
	t, err := a.target()
	if err != nil || t.Engine != engine.SQLite || t.Path == "" {
		return err
	}
	target, err := os.Stat(t.Path)
	if err != nil {
		return nil //nolint:nilerr // a new file is no source; what else is wrong, opening says
	}
	for _, s := range found.Sources {
		if source, err := os.Stat(s.Path); err == nil && os.SameFile(source, target) {
			return &failure{
				code:    repo.ErrorCode(repo.ErrInvalid),
				message: fmt.Sprintf("%s is both a file to import and the database to import into", t.Path),
				hint:    "name another database with --db, or name the files to import one by one",
			}
		}
	}
	return nil
}
