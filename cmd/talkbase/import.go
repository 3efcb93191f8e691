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
merged (it was there already), or rejected, with the reason. Importing again changes nothing.`,
		Example: `  talkbase import ~/.config/DeepChat
  talkbase import chat.db --db postgres://user@localhost/chat
  talkbase import app_db/KnowledgeBase/kb1 --json`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("import needs a path: a DeepChat user-data folder, a chat.db, or knowledge files")
			}
			return nil
		},
	}, func(cmd *cobra.Command, args []string) (err error) {
		ctx := cmd.Context()
		opts.Paths, opts.BatchRows = args, rows.int()
		// Looked for before the database is opened: a mistyped path makes no file.
		found, err := migration.Discover(ctx, opts.Paths...)
		if err != nil {
			return importFailure(ctx, err)
		}
		if err := a.notASource(found); err != nil {
			return err
		}
		db, err := a.open(ctx)
		if err != nil {
			return err
		}
		defer closing(db, &err)
		return a.importInto(ctx, db, opts, quiet)
	})
	f := cmd.Flags()
	f.BoolVar(&opts.MarkPendingAsError, "pending-as-error", false, "mark interrupted answers as errors")
	f.BoolVar(&opts.RecoverOrphans, "recover-orphans", false, "put messages whose conversation is gone into conversations named Recovered")
	f.StringVar(&opts.WorkDir, "work-dir", "", "folder for private copies of the files (default: the system's temporary folder)")
	f.Var(rows, "batch-rows", "rows of one transaction")
	f.BoolVarP(&quiet, "quiet", "q", false, "no progress")
	return cmd
}

// importInto imports and prints the report.
func (a *app) importInto(ctx context.Context, db *talkbase.DB, opts migration.ImportOptions, quiet bool) error {
	report, err := a.importWithProgress(ctx, db, opts, quiet)
	if err != nil {
		err = importFailure(ctx, err)
	}
	if report == nil || len(report.Sources) == 0 && err != nil {
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
