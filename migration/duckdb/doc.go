// Package duckdb reads the knowledge bases of DeepChat, one DuckDB file each, for the import of
// package migration. Importing it is enough:
//
//	import _ "github.com/talkbase/talkbase/migration/duckdb"
//
// It registers [Open] for [migration.KindDuckDB]. It links DuckDB itself, which needs cgo and adds
// some 57 MB to a program; that is why it is a package of its own that nothing else imports. In a
// program built without cgo, or for a platform that DuckDB's Go bindings have no library for (they
// have one for linux and darwin on amd64 and arm64, and for windows on amd64), the same import
// builds, and Open fails with an error that says so and wraps [migration.ErrNoReader].
//
// The package also writes such files: [LegacyKnowledge] makes knowledge bases as the application
// leaves them behind, with their quirks, for tests, demonstrations and benchmarks.
package duckdb

import "errors"

// Errors of a knowledge base that package migration has no word of its own for. They come together
// with one of its errors, as said for each.
var (
	// ErrWAL means that the write-ahead log beside the file cannot be applied to it: it belongs to
	// another file, or is damaged before its end. It comes with migration.ErrSourceDamaged. A log
	// that merely breaks off gives what was committed before the break, and no error; see
	// Warnings of the source.
	ErrWAL = errors.New("the write-ahead log does not fit the file")
	// ErrVersion means that the file was written by a DuckDB whose storage format the linked one
	// cannot read, as a rule a newer one. It comes with migration.ErrNoReader.
	ErrVersion = errors.New("the file has a DuckDB storage version that this program cannot read")
)
