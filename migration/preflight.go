package migration

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/dustin/go-humanize"
	"modernc.org/sqlite"

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
	var total int64
	for _, f := range found {
		check, err := preflightSource(f)
		errs = append(errs, err)
		i.report.Preflight = append(i.report.Preflight, check)
		total += check.Bytes + check.LogBytes
		if check.OpenBy != "" {
			i.warn("%s is open in %s; what it writes from now on is not imported", f.Path, check.OpenBy)
		}
	}
	needs, err := i.preflightTarget(ctx, total)
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	return errors.Join(append(errs, room(needs))...)
}

// preflightTarget looks at the target and says how much room the import will need where.
func (i *importer) preflightTarget(ctx context.Context, total int64) ([]need, error) {
	empty, err := i.real.IsEmpty(ctx)
	if err != nil {
		return nil, err
	}
	i.report.Target = &TargetCheck{Empty: empty}
	if !empty {
		i.report.Warnings = append(i.report.Warnings, "The database has data already: it stays, and rows that are there with the same content count as merged.")
	}
	file, err := i.real.File(ctx)
	if err != nil {
		return nil, err
	}
	// The private copies, and beside each what the importer notes of it.
	needs := []need{{i.work, total + total/8, "the private copies"}}
	if i.opts.DryRun {
		return needs, nil
	}
	var there int64
	if file != "" {
		needs = append(needs, need{filepath.Dir(file), total, "the database"})
		if info, err := os.Stat(file); err == nil && !empty {
			there = info.Size()
		}
	}
	if i.opts.BackupDir != "" && !i.opts.NoBackup {
		needs = append(needs, need{i.opts.BackupDir, total + there, "the backup"})
	}
	return needs, nil
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

// need is how many bytes of room something needs in a folder.
type need struct {
	dir   string
	bytes int64
	what  string
}

// room checks that the folders, which may not exist yet, have room for all that is needed in their
// file systems together. What cannot be told is left to the writing.
func room(needs []need) error {
	sums := map[string]*need{}
	free := map[string]uint64{}
	var order []string
	for _, n := range needs {
		dir := existing(n.dir)
		volume, left, err := freeBytes(dir)
		if err != nil {
			continue
		}
		if sums[volume] == nil {
			sums[volume] = &need{dir: dir}
			order = append(order, volume)
		} else {
			sums[volume].what += ", "
		}
		sums[volume].bytes += n.bytes
		sums[volume].what += n.what
		free[volume] = left
	}
	var errs []error
	for _, volume := range order {
		n := sums[volume]
		if want := uint64(max(n.bytes, 0)); free[volume] < want { //nolint:gosec // it is not negative
			errs = append(errs, fmt.Errorf("migration: %s: %w: %s are free and about %s are needed for %s; make room or name other folders",
				n.dir, repo.ErrDiskFull, humanize.Bytes(free[volume]), humanize.Bytes(want), n.what))
		}
	}
	return errors.Join(errs...)
}

// existing is the nearest folder above dir that exists.
func existing(dir string) string {
	for {
		if _, err := os.Stat(dir); err == nil {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			return dir
		}
		dir = up
	}
}

// full marks errors that mean a full disk, of files and of private databases.
func full(err error) error {
	var e *sqlite.Error
	if errors.Is(err, repo.ErrDiskFull) {
		return err
	}
	if noSpace(err) || errors.As(err, &e) && e.Code()&0xff == codeFull {
		return fmt.Errorf("%w: make room: %w", repo.ErrDiskFull, err)
	}
	return err
}
