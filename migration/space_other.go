//go:build !unix && !windows

package migration

import "errors"

// freeBytes is unknown here.
func freeBytes(string) (string, uint64, error) { return "", 0, errors.ErrUnsupported }

// noSpace cannot tell a full disk here.
func noSpace(error) bool { return false }
