package engine

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"

	"gorm.io/gorm"
)

// PlanNode is one step of how a query is run. It holds no value of a row and none that was bound:
// conditions are left out.
type PlanNode struct {
	// Node is the engine's own name of the step, such as Index Scan or SEARCH.
	Node string `json:"node"`
	// Table and Index are what it reads, "" for nothing.
	Table string `json:"table,omitempty"`
	Index string `json:"index,omitempty"`
	// EstimatedRows is how many rows the planner expects of it, ActualRows how many there were, all runs of
	// the step together. Nil is not known.
	EstimatedRows *float64 `json:"estimated_rows,omitempty"`
	ActualRows    *float64 `json:"actual_rows,omitempty"`
	// ReadRows is how many rows it looked at to find those; on SQLite it is known of full scans only, and no
	// more than that they are many.
	ReadRows *float64 `json:"read_rows,omitempty"`
	// Milliseconds is how long it took with the steps below it, all runs together.
	Milliseconds *float64 `json:"ms,omitempty"`
	// HitBlocks were in Postgres' memory, ReadBlocks not, with the steps below it.
	HitBlocks  *int64 `json:"hit_blocks,omitempty"`
	ReadBlocks *int64 `json:"read_blocks,omitempty"`
	// FullScan says that it reads a whole table, OnDisk that it did not fit into memory.
	FullScan bool `json:"full_scan,omitempty"`
	OnDisk   bool `json:"on_disk,omitempty"`
	// Limited says that what is above it may have stopped it early.
	Limited bool `json:"-"`

	Children []PlanNode `json:"children,omitempty"`
}

// Plan is how a query was run.
type Plan struct {
	// Root is the step that gives the answer.
	Root PlanNode `json:"plan"`
	// Rows is how many rows the answer has.
	Rows int64 `json:"rows"`
	// PlanningMS is 0 on SQLite, which does not tell it apart.
	PlanningMS  float64 `json:"planning_ms"`
	ExecutionMS float64 `json:"execution_ms"`
}

// PlanWarning is what is probably wrong with a plan.
type PlanWarning struct {
	// Code is full_scan, on_disk, sort or misestimate.
	Code string `json:"code"`
	// Node, Table and Index are those of the step.
	Node    string `json:"node"`
	Table   string `json:"table,omitempty"`
	Index   string `json:"index,omitempty"`
	Message string `json:"message"`
}

// What is worth a warning.
const (
	// largeTable is how many rows a full scan may read.
	largeTable = 10_000
	// misestimated is how wrong an estimate may be, and fewRows from how many rows on it matters.
	misestimated = 10
	fewRows      = 100
)

// Warnings looks for full scans of large tables, work that did not fit into memory, and estimates that
// are wrong by more than ten times.
func (p Plan) Warnings() []PlanWarning {
	out := []PlanWarning{}
	p.Root.walk(func(n PlanNode) {
		warn := func(code, format string, args ...any) {
			w := PlanWarning{Code: code, Node: n.Node, Table: n.Table, Index: n.Index, Message: fmt.Sprintf(format, args...)}
			if !slices.Contains(out, w) {
				out = append(out, w)
			}
		}
		if n.FullScan && n.ReadRows != nil && *n.ReadRows >= largeTable {
			warn("full_scan", "it reads all of %s, %.0f rows or more: an index on what is looked for would help", n.Table, *n.ReadRows)
		}
		if n.OnDisk {
			warn("on_disk", "it did not fit into memory and went to the disk: a larger WorkMem or an index in this order would help")
		}
		if est, act, ok := n.misestimate(); ok {
			warn("misestimate", "%.0f rows were expected and %.0f came: talkbase optimize refreshes what the planner knows", est, act)
		}
		if strings.HasPrefix(n.Node, "USE TEMP B-TREE") && p.Root.ReadRows != nil && *p.Root.ReadRows >= largeTable {
			warn("sort", "it sorts what a large table gave: an index in this order would help")
		}
	})
	return out
}

func (n PlanNode) walk(f func(PlanNode)) {
	f(n)
	for _, c := range n.Children {
		c.walk(f)
	}
}

// misestimate tells an estimate that is wrong from one that was not put to the test: a step that was
// stopped early gave fewer rows than it has.
func (n PlanNode) misestimate() (est, act float64, wrong bool) {
	if n.EstimatedRows == nil || n.ActualRows == nil {
		return 0, 0, false
	}
	est, act = *n.EstimatedRows, *n.ActualRows
	if max(est, act) < fewRows || n.Limited && act < est {
		return est, act, false
	}
	return est, act, max(est, act) > misestimated*max(1, min(est, act))
}

// CheckReadOnly refuses what is not one statement that only reads. A semicolon is refused wherever it
// stands, so that no way of quoting can hide a second statement: a text that has one can be bound.
func CheckReadOnly(query string) error {
	q := strings.TrimSpace(query)
	if err := CheckText("the query", q); err != nil {
		return err
	}
	q = strings.TrimRight(q, "; \t\r\n")
	if strings.Contains(q, ";") {
		return Invalidf("one query at a time, without a semicolon inside: bind a text that has one")
	}
	switch word := firstWord(q); word {
	case "SELECT", "WITH", "VALUES":
		return nil
	case "":
		return Invalidf("there is no query")
	default:
		return Invalidf("only a query can be explained, a SELECT, a WITH that ends in one, or VALUES, and this begins with %.20q", word)
	}
}

// firstWord is the first word of a statement after comments and opening parentheses, in upper case.
func firstWord(q string) string {
	for {
		q = strings.TrimLeft(q, " \t\r\n(")
		switch {
		case strings.HasPrefix(q, "--"):
			_, q, _ = strings.Cut(q, "\n")
		case strings.HasPrefix(q, "/*"):
			var closed bool
			if _, q, closed = strings.Cut(q[2:], "*/"); !closed {
				return ""
			}
		default:
			end := strings.IndexFunc(q, func(r rune) bool { return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r == '_') })
			if end < 0 {
				end = len(q)
			}
			if end == 0 && q != "" {
				return q[:1]
			}
			return strings.ToUpper(q[:end])
		}
	}
}

// Statement is a statement as it went to the database.
type Statement struct {
	Query string
	Args  []any
	// Times counts how often a statement of this text was run.
	Times int64
}

// Recording is what was run on a recorder, each text once, with the values of its first run.
type Recording struct {
	mu    sync.Mutex
	at    map[string]int
	found []Statement
}

// maxRecorded bounds the different statements of a recording.
const maxRecorded = 256

// Statements returns what was run, in the order of first runs.
func (r *Recording) Statements() []Statement {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.found)
}

func (r *Recording) add(query string, args []any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if i, ok := r.at[query]; ok {
		r.found[i].Times++
		return
	}
	if len(r.found) < maxRecorded {
		r.at[query] = len(r.found)
		r.found = append(r.found, Statement{Query: query, Args: slices.Clone(args), Times: 1})
	}
}

// recorder is a transaction whose statements are recorded.
type recorder struct {
	gorm.ConnPool
	to *Recording
}

// Record returns a handle in the same transaction whose statements are recorded.
func Record(db *gorm.DB) (*gorm.DB, *Recording) {
	r := &Recording{at: map[string]int{}}
	g := db.Session(&gorm.Session{})
	g.Statement.ConnPool = &recorder{db.Statement.ConnPool, r}
	return g, r
}

// ExecContext records and runs a statement without rows.
func (r *recorder) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	r.to.add(query, args)
	return r.ConnPool.ExecContext(ctx, query, args...)
}

// QueryContext records and runs a query.
func (r *recorder) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	r.to.add(query, args)
	return r.ConnPool.QueryContext(ctx, query, args...)
}

// QueryRowContext records and runs a query for one row.
func (r *recorder) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	r.to.add(query, args)
	return r.ConnPool.QueryRowContext(ctx, query, args...)
}

// round keeps three decimals of milliseconds.
func round(ms float64) float64 { return math.Round(ms*1000) / 1000 }

func pointer[T any](v T) *T { return &v }
