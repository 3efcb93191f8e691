package migration

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

// copyAttempts bounds how often a database that is being written to is copied.
const copyAttempts = 5

// copyDatabase copies the file at from, and those beside it with the given suffixes, to the file at
// to. When one of them changes meanwhile it copies all of them again; a database that does not come
// to rest is ErrSourceLocked. The originals are opened for reading only.
func copyDatabase(ctx context.Context, from, to string, suffixes ...string) error {
	suffixes = append([]string{""}, suffixes...)
	for range copyAttempts {
		before, err := stamps(from, suffixes)
		if err != nil {
			return err
		}
		for _, suffix := range suffixes {
			if err := copyFile(ctx, from+suffix, to+suffix); err != nil {
				if suffix != "" && errors.Is(err, fs.ErrNotExist) {
					if err := os.Remove(to + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
						return fmt.Errorf("migration: %w", err)
					}
					continue
				}
				return copyError(from+suffix, err)
			}
		}
		after, err := stamps(from, suffixes)
		if err != nil {
			return err
		}
		if before == after {
			return nil
		}
	}
	return fmt.Errorf("migration: %s: %w: it keeps changing; close the application that is writing to it", from, ErrSourceLocked)
}

// copyError says what to do about a file that cannot be copied.
func copyError(path string, err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("migration: %s: no permission to read it; run as the user it belongs to: %w", path, err)
	}
	return fmt.Errorf("migration: copying %s: %w", path, err)
}

type stamp struct {
	size int64
	mod  time.Time
}

// stamps tells whether files changed. The last suffixes may be missing.
func stamps(path string, suffixes []string) (out [4]stamp, err error) {
	for i, suffix := range suffixes {
		info, err := os.Stat(path + suffix)
		switch {
		case err == nil && info.IsDir() && suffix == "":
			return out, fmt.Errorf("migration: %s: %w: it is a folder", path, ErrNotLegacy)
		case err == nil:
			out[i] = stamp{info.Size(), info.ModTime()}
		case suffix == "" || !errors.Is(err, fs.ErrNotExist):
			return out, copyError(path+suffix, err)
		}
	}
	return out, nil
}

// copyFile copies one file; the copy is for its owner only.
func copyFile(ctx context.Context, from, to string) (err error) {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = src.Close() }()
	dst, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dst.Close()) }()
	const step = 16 << 20
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		switch _, err := io.CopyN(dst, src, step); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}
