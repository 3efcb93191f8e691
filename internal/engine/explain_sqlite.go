package engine

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"gorm.io/gorm"
)

// BeginAnalysis makes the connection refuse to write, which a host's own does not of itself. The limit is
// kept by the ctx of each statement.
func (e *sqliteEngine) BeginAnalysis(ctx context.Context, _ time.Duration) (*Tx, error) {
	tx, err := e.BeginRead(ctx)
	if err != nil {
		return nil, err
	}
	before, err := One(ctx, tx.DB, Value[int64], "PRAGMA query_only")
	conn, done := connOf(tx.DB), tx.done
	if err == nil {
		// The pragma works when it is compiled, on whatever connection that is: it must not be kept prepared.
		_, err = conn.ExecContext(ctx, "PRAGMA query_only = 1")
		err = classifySQLite(err)
	}
	if err != nil {
		return nil, errors.Join(err, tx.Rollback())
	}
	tx.done = func() {
		_, _ = conn.ExecContext(context.WithoutCancel(ctx), fmt.Sprintf("PRAGMA query_only = %d", before))
		done()
	}
	return tx, nil
}

// Explain asks EXPLAIN QUERY PLAN, and runs the query for the time it takes and its rows. Estimates come
// from what ANALYZE stored.
func (e *sqliteEngine) Explain(ctx context.Context, db *gorm.DB, query string, args []any) (Plan, error) {
	var p Plan
	pool := db.Statement.ConnPool
	lines, err := explainLines(ctx, pool, query, args)
	if err != nil {
		if err = classifySQLite(err); Code(err) == "DATABASE" { // what SQLite cannot make sense of
			err = because(ErrInvalid, err)
		}
		return p, withEnd(ctx, err)
	}
	start := time.Now()
	if p.Rows, err = countRows(ctx, pool, query, args); err != nil {
		return p, withEnd(ctx, classifySQLite(err))
	}
	p.ExecutionMS = round(float64(time.Since(start).Microseconds()) / 1000)
	p.Root = PlanNode{Node: "QUERY", ActualRows: pointer(float64(p.Rows)), Milliseconds: pointer(p.ExecutionMS)}
	k, err := loadKnown(ctx, db)
	if err != nil {
		return p, err
	}
	p.Root.Children, err = k.children(ctx, db, query, lines, 0)
	p.Root.walk(func(n PlanNode) {
		if n.FullScan && n.ReadRows != nil && (p.Root.ReadRows == nil || *p.Root.ReadRows < *n.ReadRows) {
			p.Root.ReadRows = n.ReadRows
		}
	})
	return p, err
}

type explainLine struct {
	id, parent int64
	detail     string
}

func explainLines(ctx context.Context, pool gorm.ConnPool, query string, args []any) ([]explainLine, error) {
	rows, err := pool.QueryContext(ctx, "EXPLAIN QUERY PLAN "+query, args...)
	if err != nil {
		return nil, err
	}
	return scanAll(rows, func(r *sql.Rows, l *explainLine) error {
		var unused any
		return r.Scan(&l.id, &l.parent, &unused, &l.detail)
	})
}

func countRows(ctx context.Context, pool gorm.ConnPool, query string, args []any) (n int64, err error) {
	rows, err := pool.QueryContext(ctx, query, args...)
	if err != nil {
		return 0, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		n++
	}
	return n, rows.Err()
}

// known is what there is to know of the tables that a plan names.
type known struct {
	tables map[string]bool // false: virtual
	// stat holds the numbers that ANALYZE stored, by index; those of a table without an index by "table ".
	stat map[string][]float64
	size map[string]float64
}

func loadKnown(ctx context.Context, db *gorm.DB) (*known, error) {
	k := &known{tables: map[string]bool{}, stat: map[string][]float64{}, size: map[string]float64{}}
	type table struct {
		name string
		real bool
	}
	all, err := Collect(ctx, db, func(s Scanner, t *table) error { return s.Scan(&t.name, &t.real) },
		"SELECT name, sql NOT LIKE 'CREATE VIRTUAL%' FROM sqlite_master WHERE type = 'table'")
	if err != nil {
		return nil, err
	}
	analyzed := false
	for _, t := range all {
		k.tables[t.name] = t.real
		analyzed = analyzed || t.name == "sqlite_stat1"
	}
	if !analyzed {
		return k, nil
	}
	type stat struct{ table, index, numbers string }
	stats, err := Collect(ctx, db, func(s Scanner, v *stat) error { return s.Scan(&v.table, &v.index, &v.numbers) },
		"SELECT tbl, coalesce(idx, ''), coalesce(stat, '') FROM sqlite_stat1")
	if err != nil {
		return nil, err
	}
	for _, s := range stats {
		var numbers []float64
		for f := range strings.FieldsSeq(s.numbers) {
			n, err := strconv.ParseFloat(f, 64)
			if err != nil {
				break // words such as unordered and sz=… end the numbers
			}
			numbers = append(numbers, n)
		}
		if len(numbers) > 0 {
			k.stat[s.index] = numbers
			k.size[s.table] = numbers[0]
		}
	}
	return k, nil
}

var (
	scanLine   = regexp.MustCompile(`^(SCAN|SEARCH) (?:TABLE )?(\S+)`)
	usesIndex  = regexp.MustCompile(`USING (?:PARTIAL )?(?:COVERING )?INDEX (\w+)`)
	usesWords  = regexp.MustCompile(`VIRTUAL TABLE INDEX \d+:\S`)
	usesRowid  = regexp.MustCompile(`USING INTEGER PRIMARY KEY`)
	equalities = regexp.MustCompile(`[^<>]=\?`)
)

func (k *known) children(ctx context.Context, db *gorm.DB, query string, lines []explainLine, parent int64) ([]PlanNode, error) {
	var out []PlanNode
	for _, l := range lines {
		if l.parent != parent {
			continue
		}
		n := PlanNode{Node: l.detail}
		if m := scanLine.FindStringSubmatch(l.detail); m != nil {
			n.Node, n.Table = m[1], k.tableOf(m[2], query)
			if err := k.describe(ctx, db, &n, l.detail); err != nil {
				return nil, err
			}
		}
		var err error
		if n.Children, err = k.children(ctx, db, query, lines, l.id); err != nil {
			return nil, err
		}
		out = append(out, n)
	}
	return out, nil
}

// tableOf finds the table of an alias, which is all that SQLite's plan names.
func (k *known) tableOf(name, query string) string {
	if _, ok := k.tables[name]; ok {
		return name
	}
	for table := range k.tables {
		if regexp.MustCompile(`(?i)\b` + regexp.QuoteMeta(table) + `"?\s+(?:as\s+)?"?` + regexp.QuoteMeta(name) + `\b`).MatchString(query) {
			return table
		}
	}
	return name
}

func (k *known) describe(ctx context.Context, db *gorm.DB, n *PlanNode, detail string) error {
	if m := usesIndex.FindStringSubmatch(detail); m != nil {
		n.Index = m[1]
	}
	real, ours := k.tables[n.Table]
	switch {
	case ours && !real && usesWords.MatchString(detail):
		n.Index = "full text"
	case !ours || !real:
	case n.Node == "SEARCH" && usesRowid.MatchString(detail):
		n.Index = "PRIMARY KEY"
		if equalities.MatchString(detail) {
			n.EstimatedRows = pointer(1.0)
		}
	case n.Node == "SEARCH" && n.Index != "":
		if eq := len(equalities.FindAllString(detail, -1)); eq > 0 && eq < len(k.stat[n.Index]) {
			n.EstimatedRows = pointer(k.stat[n.Index][eq])
		}
	case n.Node == "SCAN":
		n.FullScan = n.Index == ""
		if size, ok := k.size[n.Table]; ok {
			n.EstimatedRows = pointer(size)
		}
		if n.FullScan {
			size, err := k.sizeOf(ctx, db, n.Table)
			if err != nil {
				return err
			}
			n.ReadRows = pointer(size)
		}
	}
	return nil
}

// sizeOf is how many rows a table has, or that it is large.
func (k *known) sizeOf(ctx context.Context, db *gorm.DB, table string) (float64, error) {
	if size, ok := k.size[table]; ok && size >= largeTable {
		return size, nil
	}
	return One(ctx, db, Value[float64], "SELECT count(*) FROM (SELECT 1 FROM "+quoteName(table)+" LIMIT ?)", largeTable)
}
