//go:build linux || darwin || freebsd

package duckdb

import (
	"io"
	"os"
	"syscall"
)

// lockHolder reports the process that holds a write lock on f, as DuckDB does on a file that it has
// open for writing. It takes no lock itself.
func lockHolder(f *os.File) (pid int, locked bool) {
	lock := syscall.Flock_t{Type: syscall.F_RDLCK, Whence: io.SeekStart}
	// A file system that knows no locks cannot tell; the check for changes remains.
	if err := syscall.FcntlFlock(f.Fd(), syscall.F_GETLK, &lock); err != nil {
		return 0, false
	}
	return int(lock.Pid), lock.Type != syscall.F_UNLCK
}

// isSharingViolation is about Windows, where a lock keeps others from opening the file.
func isSharingViolation(error) bool { return false }
