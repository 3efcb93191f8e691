//go:build !sqlite_vec

package bench

import _ "modernc.org/sqlite/vec" // sqlite-vec in pure Go

const (
	vec0Driver = "sqlite"
	vec0Label  = "sqlite-vec, pure Go"
)
