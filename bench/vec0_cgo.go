//go:build sqlite_vec

package bench

import (
	vec "github.com/asg017/sqlite-vec-go-bindings/cgo"
	_ "github.com/mattn/go-sqlite3" // the driver that the bindings belong to
)

func init() { vec.Auto() }

const (
	vec0Driver = "sqlite3"
	vec0Label  = "sqlite-vec, cgo"
)
