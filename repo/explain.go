package repo

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/talkbase/talkbase/internal/engine"
)

// QueryAnalysis is how a query was run, and what is probably wrong with that.
type QueryAnalysis struct {
	// Query is the statement, with placeholders for its values.
	Query string `json:"query"`
	// Times is how often a call ran a statement of this text; the plan is that of the first.
	Times int64 `json:"times"`
	engine.Plan
	// Warnings are full scans of large tables, work that did not fit into memory, and estimates that are
	// wrong by more than ten times.
	Warnings []PlanWarning `json:"warnings"`
}

// PlanNode is one step of a plan; its Children are the steps it reads from.
type PlanNode = engine.PlanNode

// PlanWarning is what is probably wrong with a plan.
type PlanWarning = engine.PlanWarning

// AnalysisLimit is how long a statement that is analysed may take.
const AnalysisLimit = time.Minute

// AnalyzeQuery runs a query, and says by which steps: EXPLAIN (ANALYZE, BUFFERS) on Postgres, EXPLAIN QUERY
// PLAN on SQLite. Placeholders are $1, $2 …. It never writes: anything but one SELECT, WITH … SELECT or
// VALUES is ErrInvalid, and so is a semicolon inside; what still tries to write, as a DELETE within a WITH
// or a function may, fails with ErrReadOnly, and the transaction is rolled back anyhow. A query that takes
// longer than AnalysisLimit ends with context.DeadlineExceeded. It is ErrInvalid inside a transaction.
func (h *Health) AnalyzeQuery(ctx context.Context, query string, args ...any) (QueryAnalysis, error) {
	const op = "analyze query"
	var a QueryAnalysis
	if err := engine.CheckReadOnly(query); err != nil {
		return a, wrap(op, err)
	}
	query = strings.TrimRight(query, "; \t\r\n")
	if _, err := h.outside(ctx); err != nil {
		return a, wrap(op, err)
	}
	tx, err := h.s.eng().BeginAnalysis(ctx, AnalysisLimit)
	if err != nil {
		return a, wrap(op, err)
	}
	defer func() { _ = tx.Rollback() }()
	a, err = h.explain(ctx, tx, engine.Statement{Query: query, Args: args, Times: 1})
	return a, wrap(op, err)
}

func (h *Health) explain(ctx context.Context, tx *engine.Tx, s engine.Statement) (QueryAnalysis, error) {
	a := QueryAnalysis{Query: s.Query, Times: s.Times}
	lctx, cancel := context.WithTimeout(ctx, AnalysisLimit)
	defer cancel()
	var err error
	a.Plan, err = h.s.eng().Explain(lctx, tx.DB, s.Query, s.Args)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		err = fmt.Errorf("the query took longer than %s: %w", AnalysisLimit, err)
	}
	if errors.Is(err, ErrReadOnly) {
		err = fmt.Errorf("it tries to write, and only what reads is explained: %w", err)
	}
	a.Warnings = a.Plan.Warnings()
	return a, err
}

// AnalyzeCalls runs f, whose calls must use the ctx it is given, and analyses every statement that they
// ran, each text once, as AnalyzeQuery does and in the same transaction, in which nothing can be written.
// So what is explained is what the calls do, and not a copy of it. Without f it is ErrInvalid.
func (h *Health) AnalyzeCalls(ctx context.Context, f func(ctx context.Context) error) ([]QueryAnalysis, error) {
	const op = "analyze calls"
	if f == nil {
		return nil, wrap(op, fmt.Errorf("no calls are given: %w", ErrInvalid))
	}
	if _, err := h.outside(ctx); err != nil {
		return nil, wrap(op, err)
	}
	inner, err := h.s.eng().BeginAnalysis(ctx, AnalysisLimit)
	if err != nil {
		return nil, wrap(op, err)
	}
	defer func() { _ = inner.Rollback() }()
	db, recording := engine.Record(inner.DB)
	// A transaction of nobody's: f cannot end it.
	t := h.s.newTx(ctx, db, nil)
	err = f(t.ctx)
	t.mu.Lock()
	t.done = true // what f began and did not wait for has no place here
	t.mu.Unlock()
	if err != nil {
		return nil, err
	}
	out := []QueryAnalysis{}
	for _, s := range recording.Statements() {
		if engine.CheckReadOnly(s.Query) != nil {
			continue // such as a savepoint
		}
		a, err := h.explain(ctx, inner, s)
		if err != nil {
			return nil, wrap(op, err)
		}
		out = append(out, a)
	}
	return out, nil
}
