package engine

import (
	"cmp"
	"slices"
)

// Statistics is what an engine measures of the schema's tables and indexes.
type Statistics struct {
	Size
	// Version is the engine's.
	Version string
	// CacheHitRate is the part of all reads that found their page in memory, nil where the engine does not
	// tell.
	CacheHitRate *float64
	Tables       map[string]TableSize
	Indexes      []IndexSize
	// Queries are the shapes that took most of the time, the most first; NoQueries says why there are none.
	Queries   []QueryShape
	NoQueries string
}

// Size is how large a database is.
type Size struct {
	// Bytes are those of an SQLite file with its log, or of the schema's tables and their indexes on Postgres.
	Bytes int64 `json:"bytes"`
	// FreeBytes are in an SQLite file and hold nothing; WALBytes are its log.
	FreeBytes int64 `json:"free_bytes"`
	WALBytes  int64 `json:"wal_bytes"`
	// DeadRows take space on Postgres until the next vacuum.
	DeadRows int64 `json:"dead_rows"`
}

// TableSize is what an engine measures of a table.
type TableSize struct {
	// Bytes are the rows, without indexes.
	Bytes int64
	// DeadRows take space until the next vacuum. LastVacuum and LastAnalyze are in milliseconds since the
	// Unix epoch, by hand or automatic. Nil is not known, or never.
	DeadRows, LastVacuum, LastAnalyze *int64
	// FullScans and IndexScans count how queries read it, since Postgres' statistics were reset.
	FullScans, IndexScans *int64
}

// IndexSize is what an engine measures of an index.
type IndexSize struct {
	Table string `json:"table"`
	Index string `json:"index"`
	// Kind is btree, gin, hnsw …
	Kind  string `json:"kind"`
	Bytes int64  `json:"bytes"`
	// Scans counts the queries that used it, since Postgres' statistics were reset; nil is not known.
	Scans *int64 `json:"scans,omitempty"`
	// Valid is false for an index that no query uses, because building it was cut off.
	Valid bool `json:"valid"`
}

// QueryShape is a query without its values, and what it cost.
type QueryShape struct {
	// Query holds $1, $2 … or ? where there were values.
	Query string `json:"query"`
	Calls int64  `json:"calls"`
	Rows  int64  `json:"rows"`
	// TotalMS is the time of all calls, MeanMS of one, MaxMS of the slowest.
	TotalMS float64 `json:"total_ms"`
	MeanMS  float64 `json:"mean_ms"`
	MaxMS   float64 `json:"max_ms"`
}

// ColumnStatistics is what the planner knows of a column. It never holds a value of one.
type ColumnStatistics struct {
	Column string `json:"column"`
	// Distinct is how many different values are expected, NullFraction the part of rows without one, Width
	// the mean bytes of a value. Correlation tells how far the rows are in the column's order, from -1 to 1.
	// Nil is not known.
	Distinct     *float64 `json:"distinct,omitempty"`
	NullFraction *float64 `json:"null_fraction,omitempty"`
	Width        *int64   `json:"width,omitempty"`
	Correlation  *float64 `json:"correlation,omitempty"`
	// Index is the index that SQLite knows Distinct from.
	Index string `json:"index,omitempty"`
}

// slowestShapes is how many query shapes are reported.
const slowestShapes = 20

func sortIndexes(all []IndexSize) {
	slices.SortFunc(all, func(a, b IndexSize) int { return cmp.Or(cmp.Compare(a.Table, b.Table), cmp.Compare(a.Index, b.Index)) })
}
