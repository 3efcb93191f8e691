package migration

import (
	"context"
	"crypto/sha256"

	"github.com/talkbase/talkbase/models"
	"github.com/talkbase/talkbase/repo"
)

// Migrator imports legacy files into one database, verifies what was imported, and takes it out again.
type Migrator interface {
	// Import is migration.Import.
	Import(ctx context.Context, opts ImportOptions) (*ImportReport, error)
	// ImportRuns returns the imports of this database, the newest first.
	ImportRuns(ctx context.Context) ([]models.ImportRun, error)
	// VerifyImport is migration.Verify.
	VerifyImport(ctx context.Context, run string, opts VerifyOptions) (*Verification, error)
	// RollbackImport is migration.Rollback.
	RollbackImport(ctx context.Context, run string, opts RollbackOptions) (*RollbackReport, error)
	// Digests is migration.Digests.
	Digests(ctx context.Context) (map[string]Digest, error)
}

// Digests returns a digest of the rows of every table that holds a host's rows. Two databases with the
// same rows have the same digests, whichever engines they are on. The keys that a database assigns,
// indexes and counts are not part of it.
func Digests(ctx context.Context, b *repo.Bulk) (map[string]Digest, error) {
	out := map[string]Digest{}
	for _, table := range tableOrder {
		var d Digest
		err := b.EachCanonical(ctx, table, func(_ string, canonical []byte) error {
			d.add(sha256.Sum256(canonical))
			return nil
		})
		if err != nil {
			return nil, err
		}
		out[table] = d
	}
	return out, nil
}
