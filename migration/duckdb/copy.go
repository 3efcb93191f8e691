package duckdb

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/talkbase/talkbase/migration"
)

// copyName is what the private copy is called; DuckDB finds its log as copyName.wal.
const copyName = "knowledge.duckdb"

// copyStep is how much is copied between two looks at the context.
const copyStep = 32 << 20

// copyPrivate copies the file at path, and its log if there is one, into dir. It reports the copy's
// path and whether it has a log. Files that another process has open for writing, or that changed
// meanwhile, give migration.ErrSourceLocked: a copy of a database that is being written is none.
func copyPrivate(ctx context.Context, path, dir string) (copied string, wal bool, err error) {
	// DuckDB keeps the log beside the file itself, not beside a link to it.
	origin, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", false, err
	}
	copied = filepath.Join(dir, copyName)
	before, err := stats(origin)
	if err != nil {
		return "", false, err
	}
	if before[0] == nil {
		return "", false, fmt.Errorf("%s: %w", origin, fs.ErrNotExist)
	}
	if err := copyFile(ctx, copied, origin); err != nil {
		return "", false, err
	}
	wal = before[1] != nil
	if wal {
		if err := copyFile(ctx, copied+".wal", origin+".wal"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", false, err
		}
	}
	after, err := stats(origin)
	if err != nil {
		return "", false, err
	}
	for i := range before {
		if !unchanged(before[i], after[i]) {
			return "", false, fmt.Errorf("%w: it changed while it was being copied; close the application that uses it and try again", migration.ErrSourceLocked)
		}
	}
	return copied, wal, nil
}

// stats looks at the file and its log. What is missing is nil.
func stats(path string) (infos [2]fs.FileInfo, err error) {
	for i, name := range []string{path, path + ".wal"} {
		info, err := os.Stat(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return infos, err
		case !info.Mode().IsRegular():
			return infos, fmt.Errorf("%w: %s is not a regular file", migration.ErrNotLegacy, name)
		default:
			infos[i] = info
		}
	}
	return infos, nil
}

func unchanged(a, b fs.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

func copyFile(ctx context.Context, dst, src string) (err error) {
	in, err := os.Open(src)
	if isSharingViolation(err) {
		return fmt.Errorf("%w: close the application that uses it and try again", migration.ErrSourceLocked)
	}
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	if pid, locked := lockHolder(in); locked {
		return fmt.Errorf("%w by process %d: close the application that uses it and try again", migration.ErrSourceLocked, pid)
	}
	out, err := os.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, err := io.CopyN(out, in, copyStep); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}
