package talkbase

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"

	"github.com/talkbase/talkbase/internal/engine"
	"github.com/talkbase/talkbase/migration"
)

// Salvage reads what can be read of the damaged SQLite file at path into a new one at out, and says what
// is lost; see migration.Salvage. Rows that cannot be placed go to opts.RejectFile, or else to
// OUT.rejects.jsonl. The damaged file is only read, and must not be open in this process. A file at out
// that exists is fs.ErrExist, what is no path of an SQLite file is ErrInvalid; nothing is left there after an
// error.
func Salvage(ctx context.Context, path, out string, opts migration.SalvageOptions) (_ *migration.SalvageReport, err error) {
	const op = "salvage"
	if _, err := os.Stat(path); err != nil {
		return nil, engine.Wrap(op, fmt.Errorf("the damaged file: %w", err))
	}
	t, err := engine.ParseDSN(out)
	if err != nil {
		return nil, engine.Wrap(op, err)
	}
	if t.Path == "" {
		return nil, engine.Wrap(op, engine.Invalidf("what is rescued goes to a new SQLite file: name one; talkbase copy takes it to Postgres from there"))
	}
	out = t.Path
	if _, err := os.Lstat(out); err == nil {
		return nil, engine.Wrap(op, fmt.Errorf("%s: %w: name a new file", out, fs.ErrExist))
	}
	if opts.RejectFile == "" {
		opts.RejectFile = out + ".rejects.jsonl"
	}
	var report *migration.SalvageReport
	db, err := Open(ctx, Config{DSN: out, Logger: slog.New(slog.DiscardHandler)})
	if err == nil {
		report, err = migration.Salvage(ctx, path, db.Bulk(), opts)
		if err = errors.Join(err, db.Close()); err == nil {
			return report, nil
		}
	}
	for _, suffix := range []string{"", "-wal", "-shm", ".schema-lock"} {
		if rerr := os.Remove(out + suffix); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
			err = errors.Join(err, rerr)
		}
	}
	return nil, err
}
