package engine

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"gorm.io/gorm"

	"github.com/talkbase/talkbase/models"
)

// Health is what an engine can tell of its own state, and put right. What only reads writes nothing, on
// no engine; db is where it reads.
type Health interface {
	// HealthSQL is what the checks of rows need in the engine's own words.
	HealthSQL() HealthSQL
	// Versions names the engine and what it is extended by, with their known faults.
	Versions(ctx context.Context, db *gorm.DB) ([]Version, error)
	// CheckStorage lets the engine's own checker read all tables and indexes. It reports what it finds
	// to found, and returns why it left something out, by what was left out.
	CheckStorage(ctx context.Context, db *gorm.DB, found func(Damage)) (skipped map[string]string, err error)
	// InvalidIndexes returns the indexes that queries cannot use.
	InvalidIndexes(ctx context.Context, db *gorm.DB) ([]string, error)
	// LateSequences returns the integer keys whose next value is in use already.
	LateSequences(ctx context.Context, db *gorm.DB) ([]Sequence, error)
	// VectorIndexState compares the index of a base's vectors with the vectors. It begins a read
	// transaction of its own unless db is in one.
	VectorIndexState(ctx context.Context, db *gorm.DB, base models.KnowledgeBase, rows int64) (VectorIndexState, error)
	// VectorIndexKind is the kind of the index that helps a base's queries, "" for none. It is quick.
	VectorIndexKind(ctx context.Context, db *gorm.DB, base models.KnowledgeBase) (string, error)

	// Reindex builds an index anew, without blocking writers where the engine can. What a build that was
	// cut off left behind is dropped.
	Reindex(ctx context.Context, index string) error
	// EmptyTerms takes everything out of a terms table, damaged or not, inside tx.
	EmptyTerms(ctx context.Context, tx *gorm.DB, table string) error
	// SetSequence moves an integer key's next value beyond those in use, inside tx.
	SetSequence(ctx context.Context, tx *gorm.DB, s Sequence) error
	// RebuildVectorIndex makes the index of a base's vectors anew, of the kind it has, or of kind. Queries
	// and writers go on meanwhile.
	RebuildVectorIndex(ctx context.Context, base models.KnowledgeBase, kind string, rows int64) error

	// Size measures the database, at little cost.
	Size(ctx context.Context, db *gorm.DB) (Size, error)
	// Statistics measures the tables and indexes.
	Statistics(ctx context.Context, db *gorm.DB) (Statistics, error)
	// ColumnStatistics returns what the planner knows of a table's columns, never a value of them.
	ColumnStatistics(ctx context.Context, db *gorm.DB, table string) ([]ColumnStatistics, error)
	// BeginAnalysis starts a read transaction in which nothing can be written, not even by a function
	// that a query calls, on a connection of its own. The limit bounds each statement.
	BeginAnalysis(ctx context.Context, limit time.Duration) (*Tx, error)
	// Explain runs a query in the transaction of BeginAnalysis and says how.
	Explain(ctx context.Context, db *gorm.DB, query string, args []any) (Plan, error)
	// Optimize refreshes the planner's statistics and gives back space, and says what it did. Full
	// allows what makes writers wait for long.
	Optimize(ctx context.Context, full bool) ([]Step, error)
}

// HealthSQL is what the checks of rows need in the engine's own words.
type HealthSQL struct {
	// NotObject is true where a column does not hold a JSON object.
	NotObject func(column string) string
	// WrongDimensions is true where the column holds no vector of that many dimensions, which is SQL too.
	WrongDimensions func(column, dimensions string) string
}

// Version is a program the database depends on.
type Version struct {
	Name    string  `json:"name"`
	Version string  `json:"version"`
	Faults  []Fault `json:"faults,omitempty"`
}

// Fault is a known fault of a version.
type Fault struct {
	// What it is, FixedIn the version without it.
	What    string `json:"what"`
	FixedIn string `json:"fixed_in"`
	// Touches says that this database uses what is at fault.
	Touches bool `json:"touches"`
}

// Damage is what an engine's own checker found.
type Damage struct {
	// Kind says what is damaged.
	Kind DamageKind
	// Table or Index names it, where that is known.
	Table, Index string
	// Detail is the checker's own line. It holds no value of a row.
	Detail string
}

// DamageKind says what is damaged.
type DamageKind int

// What can be damaged.
const (
	DamagedStorage DamageKind = iota
	DamagedIndex
	DamagedTerms
	// DamagedRows hold what a constraint forbids.
	DamagedRows
)

// Sequence is an integer key that the engine counts up.
type Sequence struct {
	Table, Column string
	// Last is the value it gave last, Highest the highest in use.
	Last, Highest int64
}

// serials are the integer keys of the schema that the engine counts up.
var serials = []Sequence{
	{Table: "conversations", Column: "id"},
	{Table: "messages", Column: "id"},
	{Table: "message_attachments", Column: "id"},
	{Table: "knowledge_chunks", Column: "seq"},
	{Table: "knowledge_vectors", Column: "seq"},
}

// VectorIndexState says how the index of a base's vectors is.
type VectorIndexState struct {
	// Kind is sketches, hnsw, ivfflat …, "" where there is none; Name is the index's own.
	Kind, Name string
	// Problem is what is wrong with it; Why explains.
	Problem VectorIndexProblem
	Why     string
	// Count and Examples are the vectors that it misses.
	Count    int64
	Examples []string
}

// VectorIndexProblem is what can be wrong with an index of vectors.
type VectorIndexProblem int

// What can be wrong with an index of vectors.
const (
	VectorIndexGood VectorIndexProblem = iota
	// VectorIndexMissing: queries compare every vector, and answer right.
	VectorIndexMissing
	// VectorIndexStale: it was made for other vectors than there are, and queries are slower or find less.
	VectorIndexStale
	// VectorIndexDamaged: it cannot be read; queries compare every vector.
	VectorIndexDamaged
	// VectorIndexIncomplete: queries miss vectors.
	VectorIndexIncomplete
)

// Step is one thing that Optimize did, or left.
type Step struct {
	// Action is analyze, vacuum, incremental_vacuum, checkpoint, reindex or rebuild; Subject is the table,
	// index or file.
	Action  string `json:"action"`
	Subject string `json:"subject"`
	// Why it was done; Skipped why it was not.
	Why     string `json:"why,omitempty"`
	Skipped string `json:"skipped,omitempty"`
	// Milliseconds is how long it took.
	Milliseconds int64 `json:"duration_ms"`
}

// keptExamples is how many examples a check keeps of what it finds.
const keptExamples = 5

// fault is one line of the tables of known faults: versions from first on and before fixed have it.
type knownFault struct {
	first, fixed, what string
}

// sqliteFaults are those that damage files: https://www.sqlite.org/changes.html and
// https://www.sqlite.org/wal.html#walresetbug. The fix of the latter is in 3.44.6 and 3.50.7 as well.
var sqliteFaults = []knownFault{
	{"3.7.0", "3.44.6", walReset},
	{"3.45.0", "3.50.7", walReset},
	{"3.51.0", "3.51.3", walReset},
	{"3.35.0", "3.37.2", "rolling back a savepoint can damage the file where temp_store is MEMORY"},
}

const walReset = "two connections that write or checkpoint at the same moment can damage the file (the WAL-reset bug)"

// postgresFaults are those that damage indexes: https://www.postgresql.org/docs/release/14.4/.
var postgresFaults = []knownFault{
	{"14.0", "14.4", "CREATE INDEX CONCURRENTLY and REINDEX CONCURRENTLY can miss rows: update, then reindex"},
}

// hnswFaults and ivfflatFaults are pgvector's: https://github.com/pgvector/pgvector/blob/master/CHANGELOG.md.
var (
	hnswFaults = []knownFault{
		{"0.6.0", "0.8.2", "a parallel build of an HNSW index can overflow a buffer (CVE-2026-3172)"},
		{"0.5.0", "0.8.4", "vacuuming an HNSW index can damage it, or fail with \"hnsw graph not repaired\""},
	}
	ivfflatFaults = []knownFault{
		{"0.1.0", "0.8.7", "building an IVFFlat index can overflow a buffer"},
	}
)

// faultsOf returns those of the known faults that a version has.
func faultsOf(version string, known []knownFault, touches bool) []Fault {
	var out []Fault
	for _, f := range known {
		if compareVersions(version, f.first) >= 0 && compareVersions(version, f.fixed) < 0 {
			out = append(out, Fault{What: f.what, FixedIn: f.fixed, Touches: touches})
		}
	}
	return out
}

// compareVersions compares versions of numbers between dots; what follows a number counts for nothing.
func compareVersions(a, b string) int {
	return slices.Compare(numbersOf(a), numbersOf(b))
}

func numbersOf(version string) []int {
	var out []int
	for part := range strings.SplitSeq(version, ".") {
		digits := part[:len(part)-len(strings.TrimLeft(part, "0123456789"))]
		n, err := strconv.Atoi(digits)
		if err != nil {
			break
		}
		out = append(out, n)
	}
	for len(out) > 1 && out[len(out)-1] == 0 { // 14.0 is 14
		out = out[:len(out)-1]
	}
	return out
}

// quoteName quotes the name of an index or table.
func quoteName(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// inReadTx runs f in a read transaction: db, if it is in one, or a new one of e.
func inReadTx(ctx context.Context, e Engine, db *gorm.DB, f func(db *gorm.DB) error) error {
	if _, in := SQLTx(db); in {
		return f(db)
	}
	tx, err := e.BeginRead(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	return f(tx.DB)
}

func plural(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
