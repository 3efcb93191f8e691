package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"gorm.io/gorm"
)

// BeginAnalysis begins READ ONLY, in which a statement within a WITH, a function or SELECT INTO may not
// write either.
func (e *postgresEngine) BeginAnalysis(ctx context.Context, limit time.Duration) (*Tx, error) {
	tx, err := e.BeginRead(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := Exec(ctx, tx.DB, fmt.Sprintf("SET LOCAL statement_timeout = %d", max(limit.Milliseconds(), 1))); err != nil {
		return nil, errors.Join(err, tx.Rollback())
	}
	return tx, nil
}

// pgNode is what EXPLAIN prints of one step: https://www.postgresql.org/docs/current/sql-explain.html.
type pgNode struct {
	Type      string   `json:"Node Type"`
	Table     string   `json:"Relation Name"`
	CTE       string   `json:"CTE Name"`
	Function  string   `json:"Function Name"`
	Index     string   `json:"Index Name"`
	PlanRows  float64  `json:"Plan Rows"`
	Rows      float64  `json:"Actual Rows"`
	Loops     float64  `json:"Actual Loops"`
	Time      float64  `json:"Actual Total Time"`
	Removed   float64  `json:"Rows Removed by Filter"`
	Hit       *int64   `json:"Shared Hit Blocks"`
	Read      *int64   `json:"Shared Read Blocks"`
	SortSpace string   `json:"Sort Space Type"`
	Batches   int64    `json:"Hash Batches"`
	DiskUsage int64    `json:"Disk Usage"`
	Plans     []pgNode `json:"Plans"`
}

// Explain asks EXPLAIN (ANALYZE, BUFFERS), which runs the query. SELECT INTO and a statement that writes
// within a WITH are found before that: where a query stands for a table, neither may be.
func (e *postgresEngine) Explain(ctx context.Context, db *gorm.DB, query string, args []any) (Plan, error) {
	var p Plan
	_, err := explainText(ctx, db.Statement.ConnPool, "EXPLAIN SELECT * FROM ("+query+"\n) AS explained", args)
	var text []byte
	if err == nil {
		text, err = explainText(ctx, db.Statement.ConnPool, "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) "+query, args)
	}
	if err != nil {
		return p, explainError(ctx, err)
	}
	var out []struct {
		Plan      pgNode  `json:"Plan"`
		Planning  float64 `json:"Planning Time"`
		Execution float64 `json:"Execution Time"`
	}
	if err := json.Unmarshal(text, &out); err != nil || len(out) != 1 {
		return p, fmt.Errorf("EXPLAIN did not answer with one plan in JSON: %w", err)
	}
	p.PlanningMS, p.ExecutionMS = round(out[0].Planning), round(out[0].Execution)
	p.Root = out[0].Plan.node(false)
	p.Rows = int64(out[0].Plan.Rows * out[0].Plan.Loops)
	return p, nil
}

func explainText(ctx context.Context, pool gorm.ConnPool, query string, args []any) (text []byte, err error) {
	rows, err := pool.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	if rows.Next() {
		err = rows.Scan(&text)
	}
	return text, errors.Join(err, rows.Err())
}

func explainError(ctx context.Context, err error) error {
	switch code := pgCode(err); {
	case ctx.Err() != nil:
	case code == "57014":
		return because(context.DeadlineExceeded, err)
	case strings.HasPrefix(code, "42") && code != "42501":
		return because(ErrInvalid, err)
	case strings.HasPrefix(code, "0A"): // what may not stand where only a query may
		return because(ErrInvalid, err)
	}
	return withEnd(ctx, classifyPostgres(err))
}

// node turns a step into ours. EXPLAIN gives rows and times per run; they are multiplied by the runs.
func (n pgNode) node(limited bool) PlanNode {
	out := PlanNode{
		Node: n.Type, Table: n.Table, Index: n.Index, HitBlocks: n.Hit, ReadBlocks: n.Read, Limited: limited,
		EstimatedRows: pointer(n.PlanRows * max(n.Loops, 1)), ActualRows: pointer(n.Rows * n.Loops), Milliseconds: pointer(round(n.Time * n.Loops)),
		OnDisk: n.SortSpace == "Disk" || n.Batches > 1 || n.DiskUsage > 0,
	}
	if out.Table == "" {
		out.Table = n.CTE + n.Function
	}
	if n.Table != "" {
		out.ReadRows = pointer((n.Rows + n.Removed) * n.Loops)
		out.FullScan = n.Type == "Seq Scan"
	}
	if n.Loops == 0 { // it was not needed
		out.EstimatedRows, out.ActualRows, out.ReadRows = nil, nil, nil
	}
	for _, c := range n.Plans {
		// These stop what is below them when they have enough.
		stops := n.Type == "Limit" || n.Type == "Merge Join"
		out.Children = append(out.Children, c.node(stops || limited && !blocks(n.Type)))
	}
	return out
}

// blocks reports whether a step reads all that is below it before it gives the first row.
func blocks(nodeType string) bool {
	switch nodeType {
	case "Sort", "Aggregate", "Hash", "Bitmap Index Scan", "Bitmap Heap Scan":
		return true
	}
	return false
}
