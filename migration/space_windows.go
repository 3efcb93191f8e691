package migration

import (
	"errors"
	"path/filepath"

	"golang.org/x/sys/windows"
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

// noSpace reports whether an error means a full disk.
func noSpace(err error) bool {
	return errors.Is(err, windows.ERROR_DISK_FULL) || errors.Is(err, windows.ERROR_HANDLE_DISK_FULL)
}
