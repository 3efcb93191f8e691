package migration

import (
	"errors"
	"fmt"
	"path/filepath"

	"golang.org/x/sys/windows"

	"github.com/talkbase/talkbase/repo"
)

// freeBytes names a folder's volume and says how much room there is for this user.
func freeBytes(dir string) (volume string, free uint64, err error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", 0, err
	}
	name, err := windows.UTF16PtrFromString(abs)
	if err != nil {
		return "", 0, err
	}
	err = windows.GetDiskFreeSpaceEx(name, &free, nil, nil)
	return filepath.VolumeName(abs), free, err
}

// full marks errors that mean a full disk.
func full(err error) error {
	if errors.Is(err, windows.ERROR_DISK_FULL) || errors.Is(err, windows.ERROR_HANDLE_DISK_FULL) {
		return fmt.Errorf("%w: %w", repo.ErrDiskFull, err)
	}
	return err
}
