package talkbase

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/talkbase/talkbase/internal/engine"
	"github.com/talkbase/talkbase/migration"
	"github.com/talkbase/talkbase/models"
)

var _ migration.Migrator = (*DB)(nil)

// Import copies DeepChat's older files into the database; migration.Import documents what it
// guarantees. Reading knowledge files needs the DuckDB reader: import _
// "github.com/talkbase/talkbase/migration/duckdb".
//
// Unless opts.NoBackup is set, a backup is made: in opts.BackupDir, or else in the folder
// FILE.imports beside an SQLite file, or in talkbase/imports in the user's configuration folder.
func (db *DB) Import(ctx context.Context, opts migration.ImportOptions) (*migration.ImportReport, error) {
	if opts.BackupDir == "" && !opts.NoBackup && !opts.DryRun {
		dir, err := db.backupDir(ctx)
		if err != nil {
			return nil, err
		}
		opts.BackupDir = dir
	}
	ctx, finish := db.work(ctx, "import", "Import", &opts.Progress)
	r, err := migration.Import(ctx, db.Bulk(), opts)
	finish(err, slog.Bool("dry_run", opts.DryRun))
	return r, err
}

// work has a long piece of work logged and traced, by way of the Progress of its options. Finish takes
// what became of it.
func (db *DB) work(ctx context.Context, name, span string, progress *func(migration.Progress)) (spanned context.Context, finish func(error, ...slog.Attr)) {
	ctx, end := db.late.Observer.Operation(ctx, span)
	told, ended := migration.LogProgress(ctx, db.resolved.options.Logger, name, *progress)
	*progress = told
	return ctx, func(err error, more ...slog.Attr) {
		ended(err, more...)
		end(err)
	}
}

func (db *DB) backupDir(ctx context.Context) (string, error) {
	const op = "import"
	file, err := db.Bulk().File(ctx)
	if err != nil {
		return "", err
	}
	if file != "" {
		abs, err := filepath.Abs(file)
		return abs + ".imports", err
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", engine.Wrap(op, fmt.Errorf("%w: no folder for the backup: set ImportOptions.BackupDir or NoBackup: %w", engine.ErrInvalid, err))
	}
	return filepath.Join(dir, "talkbase", "imports"), nil
}

// ImportRuns returns the imports of this database, the newest first.
func (db *DB) ImportRuns(ctx context.Context) ([]models.ImportRun, error) {
	return db.Bulk().ImportRuns(ctx)
}

// VerifyImport compares what is stored with what an import wrote; see migration.Verify.
func (db *DB) VerifyImport(ctx context.Context, run string, opts migration.VerifyOptions) (*migration.Verification, error) {
	ctx, finish := db.work(ctx, "verification", "VerifyImport", &opts.Progress)
	v, err := migration.Verify(ctx, db.Bulk(), run, opts)
	if err != nil {
		finish(err)
		return v, err
	}
	finish(nil, slog.Bool("ok", v.OK))
	return v, nil
}

// RollbackImport takes an import out again; see migration.Rollback.
func (db *DB) RollbackImport(ctx context.Context, run string, opts migration.RollbackOptions) (*migration.RollbackReport, error) {
	ctx, finish := db.work(ctx, "rollback", "RollbackImport", &opts.Progress)
	r, err := migration.Rollback(ctx, db.Bulk(), run, opts)
	finish(err)
	return r, err
}

// Digests returns a digest of the rows of every table; see migration.Digests.
func (db *DB) Digests(ctx context.Context) (map[string]migration.Digest, error) {
	return migration.Digests(ctx, db.Bulk())
}
