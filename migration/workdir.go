package migration

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/gofrs/flock"
)

const (
	workPrefix = "talkbase-work-"
	workLock   = "lock"
)

var errTaken = errors.New("other processes took it away")

// newWorkDir makes a private folder for copies in dir, the system's folder for temporary files when it
// is empty, and returns it with what removes it. What it holds are chats: folders of processes that were
// killed are removed, too. A lock tells them from those that are in use.
func newWorkDir(dir string) (work string, remove func() error, err error) {
	if dir == "" {
		dir = os.TempDir()
	}
	sweepWorkDirs(dir)
	for range 10 {
		if work, err = os.MkdirTemp(dir, workPrefix); err != nil {
			break
		}
		lock := flock.New(filepath.Join(work, workLock))
		var locked bool
		locked, err = lock.TryLock()
		// Another process may have taken the folder for a dead one, in the moment before the lock.
		if _, gone := os.Stat(lock.Path()); err == nil && locked && gone == nil {
			return work, func() error { return errors.Join(lock.Unlock(), os.RemoveAll(work)) }, nil
		}
		_ = lock.Unlock()
	}
	if err == nil {
		err = errTaken
	}
	return "", nil, fmt.Errorf("migration: a private folder for the copies: %w", err)
}

// sweepWorkDirs removes the folders that nobody holds. What cannot be removed stays.
func sweepWorkDirs(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if !e.IsDir() || !strings.HasPrefix(e.Name(), workPrefix) {
			continue
		}
		if _, err := os.Stat(filepath.Join(path, workLock)); err != nil {
			continue // being made, or no folder of an import
		}
		lock := flock.New(filepath.Join(path, workLock))
		if ok, err := lock.TryLock(); err == nil && ok {
			_ = os.RemoveAll(path)
			_ = lock.Unlock()
		}
	}
}

// PrivateCopy copies an SQLite file and its log, consistently, to where nobody else writes, and returns the
// copy and what removes it. The original is only read; it must not be open in this process, whose locks on
// it would be lost.
func PrivateCopy(ctx context.Context, path string) (file string, remove func() error, err error) {
	dir, remove, err := newWorkDir("")
	if err != nil {
		return "", nil, err
	}
	file = filepath.Join(dir, "copy.db")
	if err := copyDatabase(ctx, path, file, "-wal", "-journal"); err != nil {
		return "", nil, errors.Join(full(err), remove())
	}
	return file, remove, nil
}
