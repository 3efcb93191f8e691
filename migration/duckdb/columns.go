//go:build cgo && ((linux && (amd64 || arm64)) || (darwin && (amd64 || arm64)) || (windows && amd64))

package duckdb

import (
	"regexp"
	"strconv"
	"strings"
)

// kind is how a column is fetched and what Go value it becomes.
type kind int

const (
	kindText    kind = iota // string: VARCHAR, and everything without a kind of its own, cast to it
	kindBool                // bool
	kindInt                 // int64
	kindFloat               // float64
	kindBlob                // []byte
	kindArray               // []float32: FLOAT[n]
	kindList                // []float32: FLOAT[]
	kindDoubles             // []float32: any other array or list of numbers, cast to DOUBLE[]
)

// column is one column of a table.
type column struct {
	name string
	kind kind
	size int    // elements of a kindArray
	cast string // the SQL type it is fetched as; empty for its own
}

// numbers matches a list or array of numbers and catches its element type and its size.
var numbers = regexp.MustCompile(`^(FLOAT|DOUBLE|U?(?:TINYINT|SMALLINT|INTEGER|BIGINT|HUGEINT)|DECIMAL\(\d+,\d+\))\[(\d*)\]$`)

// newColumn decides by the declared type, as DuckDB spells it. Nothing relies on a column having
// the type that the application gave it.
func newColumn(name, sqlType string) column {
	switch sqlType {
	case "BOOLEAN":
		return column{name: name, kind: kindBool}
	case "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER":
		return column{name: name, kind: kindInt, cast: "BIGINT"}
	case "FLOAT", "DOUBLE":
		return column{name: name, kind: kindFloat, cast: "DOUBLE"}
	case "BLOB":
		return column{name: name, kind: kindBlob}
	}
	if m := numbers.FindStringSubmatch(sqlType); m != nil {
		switch {
		case m[1] != "FLOAT":
			return column{name: name, kind: kindDoubles, cast: "DOUBLE[]"}
		case m[2] == "":
			return column{name: name, kind: kindList}
		default:
			if size, err := strconv.Atoi(m[2]); err == nil {
				return column{name: name, kind: kindArray, size: size}
			}
		}
	}
	// UBIGINT and HUGEINT may not fit an int64; as text they keep their digits. JSON must be fetched
	// as text, for it may hold what no JSON parser takes.
	return column{name: name, kind: kindText, cast: "VARCHAR"}
}

// expr is the SQL that fetches the column.
func (c column) expr() string {
	if c.cast == "" {
		return quote(c.name)
	}
	return "CAST(" + quote(c.name) + " AS " + c.cast + ")"
}

// quote makes a name an SQL identifier.
func quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }
