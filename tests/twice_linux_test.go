package tests_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/talkbase/talkbase"
	"github.com/talkbase/talkbase/models"
)

func init() { childTasks["locked"] = taskOf(beLockProbe) }

// The bytes that SQLite locks on a file, as its documentation of file locking says.
const (
	sharedFirst = 0x40000000 + 2
	sharedSize  = 510
)

var errUnlocked = errors.New("no other process holds a lock on the file")

// beLockProbe fails unless another process holds SQLite's lock on a file.
func beLockProbe(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	l := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart, Start: sharedFirst, Len: sharedSize}
	if err := unix.FcntlFlock(f.Fd(), unix.F_GETLK, &l); err != nil {
		return fmt.Errorf("F_GETLK: %w", err)
	}
	if l.Type == unix.F_UNLCK {
		return errUnlocked
	}
	return nil
}

// Opening a file that is open in this process already must not end the lock on it.
func TestSQLiteOpeningAgainKeepsTheLock(t *testing.T) {
	t.Parallel()
	for _, state := range []string{"in the log only", "checkpointed"} {
		t.Run(state, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "talk.db")
			first := open(t, talkbase.Config{DSN: path})
			if state == "checkpointed" {
				if err := first.Close(); err != nil {
					t.Fatal(err)
				}
				first = open(t, talkbase.Config{DSN: path})
			}
			if _, err := first.CreateConversation(t.Context(), models.Conversation{ConvID: "c"}); err != nil {
				t.Fatal(err)
			}
			locked := func(when string) {
				t.Helper()
				if out, err := child(t, "locked", path).CombinedOutput(); err != nil {
					t.Errorf("%s: %v: %s", when, err, out)
				}
			}
			locked("opened once")
			second, err := talkbase.Open(t.Context(), talkbase.Config{DSN: path})
			if err != nil {
				t.Fatal(err)
			}
			locked("opened twice")
			if err := second.Close(); err != nil {
				t.Fatal(err)
			}
			locked("closed once")
		})
	}
}
