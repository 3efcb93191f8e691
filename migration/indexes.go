package migration

import (
	"context"
	"strings"

	"github.com/talkbase/talkbase/internal/engine"
)

// IndexKind is the kind of index that CreateOptimalIndexes builds for vectors on Postgres: hnsw, ivfflat, or
// "" for what suits the number of rows.
func (s *Schema) IndexKind() string { return s.indexKind }

// RestoreIndex makes a missing index of the schema again, which ValidateSchema named, without blocking
// writers where the engine can. A difference of another kind is ErrInvalid.
func (s *Schema) RestoreIndex(ctx context.Context, d Drift) error {
	const op = "restore index"
	ix, ok := specOf(d)
	if !ok {
		return engine.Wrap(op, engine.Invalidf("%s %s is %s: only a missing index can be restored", d.Kind, d.Name, d.Problem))
	}
	_, err := s.createIndex(ctx, ix)
	return engine.Wrap(op, err)
}

// specOf reads the definition of an index as Introspect writes it: what is in parentheses and follows
// them, or the whole statement.
func specOf(d Drift) (engine.IndexSpec, bool) {
	ix := engine.IndexSpec{Name: d.Name, Table: d.Table, Body: d.Want}
	if !strings.HasPrefix(d.Want, "(") {
		_, using, _ := strings.Cut(d.Want, " using ")
		ix.Method, ix.Body, _ = strings.Cut(using, " ")
	}
	return ix, d.Kind == "index" && d.Problem == "missing" && strings.HasPrefix(ix.Body, "(")
}
