package migration

import "context"

// Migrator imports legacy files into one database. Import documents what it guarantees.
type Migrator interface {
	Import(ctx context.Context, opts ImportOptions) (*ImportReport, error)
}
