package tests_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/talkbase/talkbase"
	"github.com/talkbase/talkbase/migration"
	"github.com/talkbase/talkbase/models"
	"github.com/talkbase/talkbase/repo"
)

func init() {
	childTasks["readonly"] = taskOf(beReadOnly)
	childTasks["diskfull"] = taskOf(beDiskFull)
}

// beReadOnly opens a database that its user cannot write to.
func beReadOnly(path string) error {
	ctx := context.Background()
	db, err := talkbase.Open(ctx, killedConfig(path, ""))
	named := err == nil || strings.Contains(err.Error(), path)
	if err == nil { // it can be read
		_, err = db.CreateConversation(ctx, models.Conversation{ConvID: "new"})
		err = errors.Join(err, db.Close())
	}
	if !errors.Is(err, repo.ErrReadOnly) || !named {
		return fmt.Errorf("got error %w (%s), want ErrReadOnly that names %s", err, repo.ErrorCode(err), path)
	}
	return nil
}

// asUser runs a child as an ordinary user, even where the tests are run by root.
func asUser(t *testing.T, name string, task any) ([]byte, error) {
	t.Helper()
	cmd := child(t, name, task)
	cmd.SysProcAttr = namespaces(syscall.CLONE_NEWUSER, 1000)
	return cmd.CombinedOutput()
}

// ownMounts are for a child that mounts disks of its own.
func ownMounts() *syscall.SysProcAttr {
	return namespaces(syscall.CLONE_NEWNS|syscall.CLONE_NEWUSER, 0)
}

// namespaces are new ones, in which the tests' user has another number.
func namespaces(flags uintptr, user int) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{
		Cloneflags:  flags,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: user, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: user, HostID: os.Getgid(), Size: 1}},
	}
}

func TestSQLiteFilesThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name         string
		missing      bool
		folder, file os.FileMode
	}{
		{"the folder", false, 0o500, 0o600},
		{"the file", false, 0o700, 0o400},
		{"both", false, 0o500, 0o400},
		{"a file that may not be read", false, 0o700, 0},
		{"a folder without the file", true, 0o500, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			path := filepath.Join(dir, "talk.db")
			var before map[string]string
			if !c.missing {
				db, err := talkbase.Open(t.Context(), talkbase.Config{DSN: path})
				if err == nil {
					_, err = db.CreateConversation(t.Context(), models.Conversation{ConvID: "old"})
					err = errors.Join(err, db.Close())
				}
				if err != nil {
					t.Fatal(err)
				}
				if err := os.Chmod(path, c.file); err != nil {
					t.Fatal(err)
				}
			}
			before = folder(t, dir)
			if err := os.Chmod(dir, c.folder); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.Chmod(dir, 0o700) })
			if out, err := asUser(t, "readonly", path); err != nil {
				t.Errorf("the child: %v: %s", err, out)
			}
			if after := folder(t, dir); after["talk.db"] != before["talk.db"] {
				t.Error("the file: got other bytes, want it unchanged")
			}
		})
	}
}

// diskTask is what a child does while its disk becomes full.
type diskTask struct {
	Dir string
	// Limit bounds the size of files instead.
	Limit bool
}

// beDiskFull writes until there is no room, and looks what is there then, and once there is room again.
func beDiskFull(c diskTask) error {
	ctx := context.Background()
	disk := filepath.Join(c.Dir, "disk")
	if err := os.Mkdir(disk, 0o700); err != nil {
		return err
	}
	if !c.Limit {
		if err := unix.Mount("tmpfs", disk, "tmpfs", 0, fmt.Sprintf("size=%d", smallDisk)); err != nil {
			return fmt.Errorf("mount: %w", err)
		}
	}
	db, err := talkbase.Open(ctx, killedConfig(filepath.Join(disk, "talk.db"), ""))
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	dump := filepath.Join(c.Dir, "outside.dump")
	add := func(i int) error {
		return db.WithTransaction(ctx, func(ctx context.Context, _ *repo.Tx) error {
			id := fmt.Sprint("c", i)
			if _, err := db.CreateConversation(ctx, models.Conversation{ConvID: id}); err != nil {
				return err
			}
			_, err := db.InsertMessages(ctx, []models.Message{
				{ConversationID: id, Role: models.RoleUser, Content: strings.Repeat("x", 100_000)}, {ConversationID: id, Role: models.RoleUser},
			})
			return err
		})
	}
	full := func(what string, err error) error {
		ok := errors.Is(err, repo.ErrDiskFull)
		if c.Limit { // SQLite's errors for a file that may not grow are many
			ok = err != nil && repo.ErrorCode(err) != "DATABASE"
		}
		if !ok {
			return fmt.Errorf("%s: got error %w (%s), want ErrDiskFull", what, err, repo.ErrorCode(err))
		}
		return nil
	}
	n := 0
	for ; n < 20; n++ {
		if err := add(n); err != nil {
			return err
		}
	}
	if _, err := db.Backup(ctx, dump, migration.DumpOptions{}); err != nil {
		return err
	}
	if c.Limit {
		signal.Ignore(syscall.SIGXFSZ)
		err = unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 5 << 20, Max: unix.RLIM_INFINITY})
	} else {
		err = fill(disk)
	}
	if err != nil {
		return err
	}
	for err = nil; err == nil && n < 500; n++ {
		err = add(n)
	}
	n-- // the last one failed
	if err := full("writing", err); err != nil {
		return err
	}
	there := func(when string) error {
		conversations, err := db.CountConversations(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", when, err)
		}
		st, err := db.GetStatistics(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", when, err)
		}
		if conversations != int64(n) || st.Tables["messages"].Rows != int64(2*n) {
			return fmt.Errorf("%s: got %d conversations and %d messages, want %d and twice as many", when, conversations, st.Tables["messages"].Rows, n)
		}
		return nil
	}
	if err := there("while there is no room"); err != nil {
		return err
	}
	if !c.Limit {
		// A backup and a restore onto the full disk leave nothing.
		_, err = db.Backup(ctx, filepath.Join(disk, "inside.dump"), migration.DumpOptions{})
		if err := full("backup", err); err != nil {
			return err
		}
		if err := full("snapshot", db.Snapshot(ctx, filepath.Join(disk, "copy.db"))); err != nil {
			return err
		}
		entries, rerr := os.ReadDir(disk)
		if rerr != nil {
			return rerr
		}
		for _, e := range entries {
			if !strings.HasPrefix(e.Name(), "talk.db") && e.Name() != "ballast" {
				return fmt.Errorf("the disk: got %s, want nothing left of what failed", e.Name())
			}
		}
		err = os.Remove(filepath.Join(disk, "ballast"))
	} else {
		err = unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY})
	}
	if err != nil {
		return err
	}
	if err := add(n); err != nil {
		return fmt.Errorf("when there is room: %w", err)
	}
	n++
	if err := there("when there is room"); err != nil {
		return err
	}
	if c.Limit {
		return nil
	}
	// A restore that does not fit leaves the database empty, and works once it fits.
	to, err := talkbase.Open(ctx, killedConfig(filepath.Join(disk, "restored.db"), ""))
	if err != nil {
		return err
	}
	defer func() { _ = to.Close() }()
	if err := fill(disk); err != nil {
		return err
	}
	_, err = to.Restore(ctx, dump, migration.RestoreOptions{})
	if err := full("restore", err); err != nil {
		return err
	}
	if table, err := to.Bulk().Occupied(ctx); err != nil || table != "" {
		return fmt.Errorf("after the restore failed: got rows in %q (%w), want none", table, err)
	}
	if err := os.Remove(filepath.Join(disk, "ballast")); err != nil {
		return err
	}
	_, err = to.Restore(ctx, dump, migration.RestoreOptions{})
	return err
}

func TestSQLiteDiskFull(t *testing.T) {
	t.Parallel()
	for name, limit := range map[string]bool{"a small disk": false, "files that may not grow": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := child(t, "diskfull", diskTask{Dir: t.TempDir(), Limit: limit})
			cmd.SysProcAttr = ownMounts()
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("the child: %v: %s", err, out)
			}
		})
	}
}
