//go:build !cgo || !((linux && (amd64 || arm64)) || (darwin && (amd64 || arm64)) || (windows && amd64))

package duckdb

import (
	"context"
	"fmt"
	"runtime"

	"github.com/talkbase/talkbase/migration"
)

func init() { migration.Register(migration.KindDuckDB, Open) }

// Open stands in for the reader in a program that has none. It fails with migration.ErrNoReader.
func Open(_ context.Context, path, _ string) (migration.Source, error) {
	return nil, fmt.Errorf("migration/duckdb: %s: %w", path, errNoBindings())
}

func writeTables(_ context.Context, path string, _ LegacyKnowledge, _ []legacyTable) error {
	return fmt.Errorf("migration/duckdb: %s: %w", path, errNoBindings())
}

func errNoBindings() error {
	return fmt.Errorf("%w: this program was built without cgo, or for %s/%s, for which DuckDB has no library; "+
		"build it with CGO_ENABLED=1 and a C++ compiler for linux or darwin on amd64 or arm64, or for windows on amd64",
		migration.ErrNoReader, runtime.GOOS, runtime.GOARCH)
}
