package services

import (
	"context"
	"fmt"
	"time"

	"github.com/talkbase/talkbase/internal/engine"
	"github.com/talkbase/talkbase/migration"
	"github.com/talkbase/talkbase/repo"
)

// Health diagnoses, repairs, measures, explains and tunes a database. Its calls are made outside of
// transactions, apart from those that only measure.
type Health interface {
	// Engine is the name of the engine: sqlite or postgres.
	Engine() string
	// ValidateIntegrity checks the schema, the storage, the rows and what the database keeps of them. It
	// writes nothing, reads everything once or twice, and needs memory for a few examples only. That the
	// database is damaged is no error but a finding.
	ValidateIntegrity(ctx context.Context) (repo.IntegrityReport, error)
	// Repair puts right what ValidateIntegrity finds and what can be put right without losing anything:
	// indexes, text index, indexes of vectors, counts, sequences, and vectors that belong to nothing.
	Repair(ctx context.Context, opts RepairOptions) (RepairReport, error)

	// GetStatistics is repo.Health's, and so are these.
	GetStatistics(ctx context.Context) (repo.Statistics, error)
	GetTableStatistics(ctx context.Context, table string) ([]repo.ColumnStatistics, error)
	AnalyzeQuery(ctx context.Context, query string, args ...any) (repo.QueryAnalysis, error)
	AnalyzeCalls(ctx context.Context, f func(ctx context.Context) error) ([]repo.QueryAnalysis, error)

	// Optimize refreshes what the planner knows, builds anew the indexes that are not fit, and gives back
	// space. The application can run meanwhile: what would be in its way is left, and said.
	Optimize(ctx context.Context, opts OptimizeOptions) (OptimizeReport, error)
}

// health is made of the rows' health and the schema.
type health struct {
	*repo.Health
	schema *migration.Schema
	search *repo.Search
}

func newHealth(s *repo.Store, schema *migration.Schema) *health {
	return &health{repo.NewHealth(s), schema, repo.NewSearch(s)}
}

// ValidateIntegrity is documented in the interface.
func (h *health) ValidateIntegrity(ctx context.Context) (repo.IntegrityReport, error) {
	r, _, err := h.validate(ctx)
	return r, err
}

// validate also returns the differences of the schema.
func (h *health) validate(ctx context.Context) (repo.IntegrityReport, []migration.Drift, error) {
	const op = "validate integrity"
	start := time.Now()
	if err := h.Outside(ctx); err != nil {
		return repo.IntegrityReport{}, nil, engine.Wrap(op, err)
	}
	schema, err := h.schema.ValidateSchema(ctx)
	if err != nil {
		return repo.IntegrityReport{}, nil, engine.Wrap(op, err)
	}
	missing := map[string]bool{}
	for _, d := range schema.Drift {
		if d.Kind == "table" && d.Problem == "missing" {
			missing[d.Table] = true
		}
	}
	r, err := h.CheckIntegrity(ctx, missing)
	if err != nil {
		return r, nil, err
	}
	unfinished := len(r.Find(repo.FindingImportUnfinished)) > 0
	for _, d := range schema.Drift {
		r.Findings = append(r.Findings, findingOf(d, unfinished))
	}
	if schema.Version != schema.Latest {
		f := repo.NewFinding(repo.FindingSchemaVersion)
		f.Examples = []string{fmt.Sprintf("it has version %d, this program needs %d", schema.Version, schema.Latest)}
		r.Findings = append(r.Findings, f)
	}
	r.Sort()
	r.Milliseconds = time.Since(start).Milliseconds()
	return r, schema.Drift, nil
}

func findingOf(d migration.Drift, unfinished bool) repo.Finding {
	f := repo.NewFinding(repo.FindingSchemaDrift)
	if d.Kind == "index" {
		f.Index = d.Name
	}
	f.Table, f.Examples = d.Table, []string{d.Kind + " " + d.Name + " is " + d.Problem}
	switch {
	case d.Kind == "index" && d.Problem == "missing":
		g := repo.NewFinding(repo.FindingIndexMissing)
		g.Table, g.Index = d.Table, d.Name
		if unfinished {
			g.Repairable, g.Action = false, "finish the import first, which makes it again: talkbase import --resume"
		}
		return g
	case d.Problem == "extra":
		f.Severity = repo.SeverityWarning
	}
	return f
}

// OptimizeOptions say what Optimize may do.
type OptimizeOptions struct {
	// Full rewrites an SQLite file however large it is, if much of it holds nothing; writers wait for that.
	Full bool
}

// OptimizeReport says what Optimize did.
type OptimizeReport struct {
	Before repo.Size `json:"before"`
	After  repo.Size `json:"after"`
	// Steps are in the order they were done.
	Steps []repo.OptimizeStep `json:"steps"`
	// Milliseconds is how long it took.
	Milliseconds int64 `json:"duration_ms"`
}

// Optimize is documented in the interface.
func (h *health) Optimize(ctx context.Context, opts OptimizeOptions) (OptimizeReport, error) {
	start := time.Now()
	r := OptimizeReport{Steps: []repo.OptimizeStep{}}
	indexes, bases, err := h.UnfitIndexes(ctx)
	if err != nil {
		return r, err
	}
	if r.Before, err = h.Size(ctx); err != nil {
		return r, err
	}
	if len(indexes) > 0 || len(bases) > 0 {
		// What looked cut off or unfit may be what somebody was just building.
		err := h.schema.Indexing(ctx, func(ctx context.Context) (err error) {
			if indexes, bases, err = h.UnfitIndexes(ctx); err != nil {
				return err
			}
			for _, name := range indexes {
				err := engine.Timed(&r.Steps, repo.OptimizeStep{Action: "reindex", Subject: name, Why: "building it was cut off"}, func() error { return h.Reindex(ctx, name) })
				if err != nil {
					return err
				}
			}
			for _, base := range sortedKeys(bases) {
				err := engine.Timed(&r.Steps, repo.OptimizeStep{Action: "rebuild", Subject: "index of vectors of " + base, Why: bases[base]}, func() error {
					return h.RebuildVectorIndex(ctx, base, h.schema.IndexKind())
				})
				if err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return r, err
		}
	}
	steps, err := h.Maintain(ctx, opts.Full)
	r.Steps = append(r.Steps, steps...)
	if err != nil {
		return r, err
	}
	r.After, err = h.Size(ctx)
	r.Milliseconds = time.Since(start).Milliseconds()
	return r, err
}
