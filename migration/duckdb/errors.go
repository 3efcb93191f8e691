//go:build cgo && ((linux && (amd64 || arm64)) || (darwin && (amd64 || arm64)) || (windows && amd64))

package duckdb

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/talkbase/talkbase/migration"
)

// DuckDB's C interface tells errors apart by their text only; this is the one place that looks at it.
var messages = []struct {
	// any of these in the message
	has []string
	// wrapped by the error that is returned
	errs []error
	hint string
}{
	{
		has:  []string{"Conflicting lock is held", "Could not set lock", "used by another process"},
		errs: []error{migration.ErrSourceLocked}, hint: "close the application that uses it and try again",
	},
	{
		has:  []string{"Cannot open encrypted database"},
		errs: []error{migration.ErrNotLegacy}, hint: "it is encrypted, which the application never does",
	},
	{
		has:  []string{"with version number", "storage version greater than"},
		errs: []error{ErrVersion, migration.ErrNoReader}, hint: "a newer release of this program may read it",
	},
	{has: []string{"not a valid DuckDB database"}, errs: []error{migration.ErrNotLegacy}},
	// Neither the room nor the memory of this machine says anything about the file.
	{has: []string{"No space left", "not enough space", "Out of Memory Error", "Too many open files"}},
	{
		has:  []string{"replaying WAL", "Corrupt WAL", "This WAL was created"},
		errs: []error{ErrWAL, migration.ErrSourceDamaged}, hint: "without the .wal file beside it, the file can be read as of its last checkpoint",
	},
	{
		has:  []string{"IO Error", "Serialization Error", "INTERNAL Error", "FATAL Error", "Corrupt", "TransactionContext Error"},
		errs: []error{migration.ErrSourceDamaged},
	},
}

// wrap puts the user's path and a typed error around what went wrong with its copy.
func (s *Source) wrap(err error) error {
	var native nativeError
	if !errors.As(err, &native) {
		if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
			return err
		}
		return fmt.Errorf("migration/duckdb: %s: %w", s.path, err)
	}
	// The user knows nothing of the copy.
	text := strings.ReplaceAll(string(native), s.copied, s.path)
	for _, m := range messages {
		for _, part := range m.has {
			if !strings.Contains(text, part) {
				continue
			}
			err := errors.New(text)
			if m.hint != "" {
				err = fmt.Errorf("%s (%w)", m.hint, err)
			}
			for _, e := range m.errs {
				err = fmt.Errorf("%w: %w", e, err)
			}
			return fmt.Errorf("migration/duckdb: %s: %w", s.path, err)
		}
	}
	return fmt.Errorf("migration/duckdb: %s: %w", s.path, native)
}
