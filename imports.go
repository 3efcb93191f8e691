package talkbase

import (
	"context"
	"fmt"
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
	return migration.Import(ctx, db.Bulk(), opts)
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
	return migration.Verify(ctx, db.Bulk(), run, opts)
}

// RollbackImport takes an import out again; see migration.Rollback.
func (db *DB) RollbackImport(ctx context.Context, run string, opts migration.RollbackOptions) (*migration.RollbackReport, error) {
	return migration.Rollback(ctx, db.Bulk(), run, opts)
}

// Digests returns a digest of the rows of every table; see migration.Digests.
func (db *DB) Digests(ctx context.Context) (map[string]migration.Digest, error) {
	return migration.Digests(ctx, db.Bulk())
}
