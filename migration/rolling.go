package migration

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/gofrs/flock"

	"github.com/talkbase/talkbase/repo"
)

// DefaultKeep is how many rolling backups are kept.
const DefaultKeep = 7

// RollingOptions says how RollingBackup works.
type RollingOptions struct {
	// Keep is how many backups of this database stay in the folder; 0 is DefaultKeep.
	Keep int
	// Every is how old the newest backup must be before another is made; 0 makes one in any case.
	Every time.Duration
	// Progress is called now and then, from the goroutine that called.
	Progress func(Progress)
}

// RollingReport says what RollingBackup did.
type RollingReport struct {
	// Path is the new backup, "" when none was due.
	Path string `json:"path,omitempty"`
	// Dump is what it holds.
	Dump *DumpInfo `json:"dump,omitempty"`
	// Kept are all backups of this database in the folder, the newest first, Removed those that were too
	// many.
	Kept    []string `json:"kept"`
	Removed []string `json:"removed,omitempty"`
	// Newest is when the newest of Kept was made, in milliseconds since the Unix epoch; 0 without any.
	Newest int64 `json:"newest"`
}

const (
	rollingPrefix = "talkbase-"
	rollingSuffix = ".dump"
	// rollingTime makes names that sort by time.
	rollingTime = "20060102T150405.000Z"
)

var (
	rollingName = regexp.MustCompile(`^talkbase-\d{8}T\d{6}\.\d{3}Z\.dump$`)
	rollingPart = regexp.MustCompile(`^\.talkbase-\d{8}T\d{6}\.\d{3}Z\.dump\.part-\d+$`)
)

// RollingBackup writes a dump into a folder under a name made of the time, reads it back, and removes
// the oldest dumps of the same database there until Keep are left. The folder is made if need be.
// What else is in it stays, also dumps of other databases, and dumps that cannot be read: those of this
// database carry its id, which it is given with its first rolling backup. Nothing is removed unless the
// new backup is whole.
//
// One process at a time makes backups of a database in a folder; for another one this is repo.ErrBusy, or,
// with Every, none is due.
func RollingBackup(ctx context.Context, b *repo.Bulk, dir string, opts RollingOptions) (*RollingReport, error) {
	r, err := rollingBackup(ctx, b, dir, opts)
	if err != nil {
		return nil, fmt.Errorf("migration: the rolling backup in %s: %w", dir, full(err))
	}
	return r, nil
}

func rollingBackup(ctx context.Context, b *repo.Bulk, dir string, opts RollingOptions) (report *RollingReport, err error) {
	if opts.Keep <= 0 {
		opts.Keep = DefaultKeep
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	id, err := b.DatabaseID(ctx, true)
	if err != nil {
		return nil, err
	}
	lock := flock.New(filepath.Join(dir, ".talkbase-"+id+".lock"), flock.SetPermissions(0o600))
	locked, err := lock.TryLock()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()
	have, err := rollingBackups(dir, id, locked)
	if err != nil {
		return nil, err
	}
	report = &RollingReport{}
	now := time.Now().UTC()
	if len(have) > 0 {
		newest := timeOfName(have[0])
		if opts.Every > 0 && now.Sub(newest) < opts.Every && !now.Before(newest) {
			report.keep(have)
			return report, nil
		}
		if !now.After(newest) { // the clock was set back
			now = newest.Add(time.Millisecond)
		}
	}
	if !locked {
		if opts.Every > 0 {
			report.keep(have)
			return report, nil
		}
		return nil, fmt.Errorf("%w: another process is making a backup of this database there", repo.ErrBusy)
	}
	path := filepath.Join(dir, rollingPrefix+now.Format(rollingTime)+rollingSuffix)
	if report.Dump, err = dumpFile(ctx, b, path, DumpOptions{Progress: opts.Progress}); err != nil {
		return nil, err
	}
	report.Path = path
	have = slices.Insert(have, 0, path)
	for len(have) > opts.Keep {
		old := have[len(have)-1]
		if err := os.Remove(old); err != nil {
			return nil, fmt.Errorf("the backup was made, but an old one stays: %w", err)
		}
		report.Removed = append(report.Removed, old)
		have = have[:len(have)-1]
	}
	report.keep(have)
	return report, syncDir(dir)
}

func (r *RollingReport) keep(have []string) {
	r.Kept = append([]string{}, have...)
	if len(have) > 0 {
		r.Newest = timeOfName(have[0]).UnixMilli()
	}
}

func timeOfName(path string) time.Time {
	name := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(path), rollingPrefix), rollingSuffix)
	t, err := time.Parse(rollingTime, name)
	if err != nil {
		return time.Time{}
	}
	return t
}

// rollingBackups lists the dumps of a database in a folder, the newest first. With the lock, what a
// process left behind that was killed while it made one is removed.
func rollingBackups(dir, id string, locked bool) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		switch {
		case !e.Type().IsRegular():
		case rollingName.MatchString(e.Name()) && databaseOf(path) == id:
			out = append(out, path)
		case locked && rollingPart.MatchString(e.Name()) && databaseOf(path) == id:
			if err := removePart(path); err != nil {
				return nil, err
			}
		}
	}
	slices.Sort(out)
	slices.Reverse(out)
	return out, nil
}

// databaseOf is the id of the database that a dump is of, "" where that cannot be read.
func databaseOf(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	d, err := openDump(f)
	if err != nil {
		return ""
	}
	return d.info.Database
}

// Backups backs one database up, and restores it.
type Backups interface {
	// Backup is DumpFile.
	Backup(ctx context.Context, path string, opts DumpOptions) (*DumpInfo, error)
	// RollingBackup is migration.RollingBackup.
	RollingBackup(ctx context.Context, dir string, opts RollingOptions) (*RollingReport, error)
	// Snapshot writes a copy of an SQLite database, as of one moment, to a new file that only its owner
	// can read; elsewhere it is repo.ErrUnsupported.
	Snapshot(ctx context.Context, path string) error
	// CompareBackup is CompareDump of a file.
	CompareBackup(ctx context.Context, path string, opts DumpOptions) (*DumpComparison, error)
	// Restore is migration.Restore of a file.
	Restore(ctx context.Context, path string, opts RestoreOptions) (*RestoreReport, error)
}
