package talkbase

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/talkbase/talkbase/internal/engine"
	"github.com/talkbase/talkbase/migration"
)

// BackupConfig has backups made by themselves while the database is open: when it was opened and the
// newest backup is older than Every, and then every Every. They are dumps, as Backup writes them,
// of either engine; see migration.RollingBackup. Whoever reads them reads all chats.
type BackupConfig struct {
	// Dir is the folder, which is made if need be; "" makes no backups.
	Dir string
	// Every is the time from one backup to the next, a day when 0. The folder decides, not how long the
	// database was open, and several processes make no more backups than one.
	Every time.Duration
	// Keep is how many backups of this database stay in the folder, migration.DefaultKeep when 0.
	Keep int
	// Done is called after each backup, or the attempt at one, from another goroutine than the caller's. It
	// must not close the database, which waits for it.
	// A failure is logged as well, and tried again after Every, or an hour if that is shorter.
	Done func(*migration.RollingReport, error)
}

func (c BackupConfig) resolve() (BackupConfig, error) {
	if c.Every < 0 || c.Keep < 0 {
		return c, engine.Invalidf("Backup.Every and Backup.Keep cannot be negative")
	}
	if c.Every == 0 {
		c.Every = 24 * time.Hour
	}
	return c, nil
}

var _ migration.Backups = (*DB)(nil)

// Backup writes a dump of the database to a new file, while others write; see migration.DumpFile. It
// can be restored into a database of either engine.
func (db *DB) Backup(ctx context.Context, path string, opts migration.DumpOptions) (*migration.DumpInfo, error) {
	return migration.DumpFile(ctx, db.Bulk(), path, opts)
}

// Dump writes a dump of the database; see migration.Dump.
func (db *DB) Dump(ctx context.Context, w io.Writer, opts migration.DumpOptions) (*migration.DumpInfo, error) {
	return migration.Dump(ctx, db.Bulk(), w, opts)
}

// RollingBackup writes a dump into a folder and removes the oldest; see migration.RollingBackup.
func (db *DB) RollingBackup(ctx context.Context, dir string, opts migration.RollingOptions) (*migration.RollingReport, error) {
	return migration.RollingBackup(ctx, db.Bulk(), dir, opts)
}

// Snapshot writes a copy of an SQLite database, as of one moment, to a new file that only its owner can
// read. Others write meanwhile. Elsewhere it is repo.ErrUnsupported.
func (db *DB) Snapshot(ctx context.Context, path string) error { return db.Bulk().Snapshot(ctx, path) }

// CompareBackup checks a dump and compares the database with it; see migration.CompareDump.
func (db *DB) CompareBackup(ctx context.Context, path string, opts migration.DumpOptions) (*migration.DumpComparison, error) {
	f, err := openBackup(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return migration.CompareDump(ctx, db.Bulk(), f, opts)
}

// Restore loads a backup into the database, which must be empty: a dump, see migration.Restore, or a
// copy that Snapshot made, which goes the way of migration.Copy.
func (db *DB) Restore(ctx context.Context, path string, opts migration.RestoreOptions) (_ *migration.RestoreReport, err error) {
	f, err := openBackup(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	head := make([]byte, 16)
	if n, _ := io.ReadFull(f, head); engine.BeginsSQLite(head[:n]) {
		return db.restoreSnapshot(ctx, path, opts)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, engine.Wrap("open backup", err)
	}
	return migration.Restore(ctx, db.Bulk(), f, opts)
}

// restoreSnapshot opens a copy of the copy: opening may bring it up to date.
func (db *DB) restoreSnapshot(ctx context.Context, path string, opts migration.RestoreOptions) (_ *migration.RestoreReport, err error) {
	file, remove, err := migration.PrivateCopy(ctx, path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, remove()) }()
	from, err := Open(ctx, Config{DSN: file, Logger: db.resolved.options.Logger})
	if err != nil {
		return nil, engine.Wrap("open backup", fmt.Errorf("%s: %w", path, err))
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	return Copy(ctx, from, db, opts)
}

func openBackup(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, engine.Wrap("open backup", fmt.Errorf("the backup: %w", err))
	}
	return f, nil
}

// Copy copies everything that a database holds into another, which must be empty, on the same engine or
// the other; see migration.Copy.
func Copy(ctx context.Context, from, to *DB, opts migration.RestoreOptions) (*migration.RestoreReport, error) {
	return migration.Copy(ctx, from.Bulk(), to.Bulk(), opts)
}

// backupLoop makes the backups that a BackupConfig asks for.
type backupLoop struct {
	stop context.CancelFunc
	done sync.WaitGroup
}

// retryBackup is how long a failed backup waits for the next attempt, if Every is not shorter.
const retryBackup = time.Hour

func (db *DB) startBackups() {
	cfg := db.resolved.backup
	db.mu.Lock()
	defer db.mu.Unlock()
	if cfg.Dir == "" || db.closed {
		return
	}
	// Not the ctx of opening, which ends when that is done.
	ctx, stop := context.WithCancel(context.Background())
	db.backups.stop = stop
	db.backups.done.Go(func() {
		for {
			t := time.NewTimer(db.backupNow(ctx, cfg))
			select {
			case <-ctx.Done():
				t.Stop()
				return
			case <-t.C:
			}
		}
	})
}

// backupNow makes a backup if one is due and returns how long it is to the next.
func (db *DB) backupNow(ctx context.Context, cfg BackupConfig) time.Duration {
	start := time.Now()
	log := db.resolved.options.Logger
	r, err := db.RollingBackup(ctx, cfg.Dir, migration.RollingOptions{Keep: cfg.Keep, Every: cfg.Every})
	if ctx.Err() != nil {
		return cfg.Every // closing
	}
	next := cfg.Every
	switch {
	case err != nil:
		log.ErrorContext(ctx, "the backup failed", slog.String("code", engine.Code(err)))
		next = min(cfg.Every, retryBackup)
	case r.Path == "":
		if next = time.Until(time.UnixMilli(r.Newest).Add(cfg.Every)); next <= 0 || r.Newest == 0 { // another process is at it
			next = min(cfg.Every, retryBackup)
		}
		return max(next, time.Millisecond)
	default:
		log.InfoContext(ctx, "backup made", slog.String("file", filepath.Base(r.Path)), slog.Int64("bytes", r.Dump.Bytes),
			slog.Int("removed", len(r.Removed)), slog.Duration("duration", time.Since(start)))
	}
	if cfg.Done != nil {
		cfg.Done(r, err)
	}
	return next
}

// end stops the backups and waits for the one under way to give up.
func (l *backupLoop) end() {
	if l.stop != nil {
		l.stop()
		l.done.Wait()
	}
}
