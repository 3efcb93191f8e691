//go:build !linux && !darwin && !freebsd

package duckdb

import (
	"errors"
	"os"
	"runtime"
	"syscall"
)

// lockHolder cannot tell here; isSharingViolation and the check for changes do.
func lockHolder(*os.File) (pid int, locked bool) { return 0, false }

// isSharingViolation reports whether opening a file failed because another process, as DuckDB does
// on Windows, shares it with nobody.
func isSharingViolation(err error) bool {
	const errorSharingViolation = syscall.Errno(32)
	return runtime.GOOS == "windows" && errors.Is(err, errorSharingViolation)
}
