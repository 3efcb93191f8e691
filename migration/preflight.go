package migration

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/dustin/go-humanize"

	"github.com/talkbase/talkbase/repo"
)

// SourceCheck is what is known of a source before it is copied.
type SourceCheck struct {
	// Bytes is the size of the file, LogBytes that of its logs, which hold what is not in the file yet.
	Bytes    int64 `json:"bytes"`
	LogBytes int64 `json:"log_bytes,omitempty"`
	// OpenBy names the process that has the file open, where that can be told.
	OpenBy string `json:"open_by,omitempty"`
	// Version is the version of the legacy schema, where the file tells it.
	Version int64 `json:"version,omitempty"`
	// Tables are the tables found and their rows.
	Tables map[string]int64 `json:"tables,omitempty"`
}

// TargetCheck is what is known of the target before anything is written.
type TargetCheck struct {
	// Empty says that it holds no conversation and no knowledge base: indexes come after the load.
	// Otherwise what is there stays, and rows of the same id are compared.
	Empty bool `json:"empty"`
}

// preflight looks at everything that is needed before anything is copied or written, and says all
// that is in the way at once.
func (i *importer) preflight(ctx context.Context, found []Found) error {
	var errs []error
	var total, largest int64
	for _, f := range found {
		check, err := preflightSource(f)
		errs = append(errs, err)
		i.report.Preflight = append(i.report.Preflight, check)
		size := check.Bytes + check.LogBytes
		total += size
		largest = max(largest, size)
		if check.OpenBy != "" {
			i.warn("%s is open in %s; what it writes from now on is not imported", f.Path, check.OpenBy)
		}
	}
	empty, err := i.real.IsEmpty(ctx)
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	i.report.Target = &TargetCheck{Empty: empty}
	if !empty {
		i.report.Warnings = append(i.report.Warnings, "The database has data already: it stays, and rows that are there with the same content count as merged.")
	}
	// The private copies, and beside each what the importer notes of it.
	errs = append(errs, room(i.work, total+total/8, "the private copies; name another folder for them"))
	if i.opts.BackupDir != "" && !i.opts.NoBackup && !i.opts.DryRun {
		errs = append(errs, room(i.opts.BackupDir, total, "the backup; name another folder for it"))
	}
	return errors.Join(errs...)
}

func preflightSource(f Found) (SourceCheck, error) {
	var c SourceCheck
	if f.Kind == "" {
		return c, nil
	}
	file, err := os.Open(f.Path)
	if err != nil {
		return c, copyError(f.Path, err)
	}
	info, err := file.Stat()
	if err = errors.Join(err, file.Close()); err != nil {
		return c, copyError(f.Path, err)
	}
	c.Bytes = info.Size()
	c.LogBytes = sizeOf(f) - c.Bytes
	c.OpenBy = holder(f.Path)
	return c, nil
}

// room checks that a folder, which may not exist yet, has room for so many bytes.
func room(dir string, need int64, what string) error {
	for {
		if _, err := os.Stat(dir); err == nil {
			break
		}
		up := filepath.Dir(dir)
		if up == dir {
			return nil
		}
		dir = up
	}
	free, err := freeBytes(dir)
	if err != nil || free >= uint64(max(need, 0)) {
		return nil //nolint:nilerr // writing will tell
	}
	return fmt.Errorf("migration: %s: %w: %s are free and %s are needed for %s", dir, repo.ErrDiskFull, humanize.Bytes(free), humanize.Bytes(uint64(need)), what) //nolint:gosec // need is positive here
}
