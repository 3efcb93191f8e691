//go:build !unix

package migration

import "math"

// freeBytes is unknown here.
func freeBytes(string) (uint64, error) { return math.MaxUint64, nil }

// full cannot tell a full disk here.
func full(err error) error { return err }
