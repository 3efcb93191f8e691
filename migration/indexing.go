package migration

import (
	"context"

	"github.com/talkbase/talkbase/internal/engine"
)

// Indexing runs f, which makes or mends indexes, while nobody else does, neither in this process nor in
// another. An index that looks cut off before may be one that is being built: f should look again.
func (s *Schema) Indexing(ctx context.Context, f func(ctx context.Context) error) error {
	if err := s.building.Acquire(ctx, 1); err != nil {
		return engine.Ended(ctx)
	}
	defer s.building.Release(1)
	return s.eng().Exclusive(ctx, f)
}

// createIndex creates an index while nobody else does.
func (s *Schema) createIndex(ctx context.Context, ix engine.IndexSpec) (created bool, err error) {
	err = s.Indexing(ctx, func(ctx context.Context) error {
		created, err = s.eng().CreateIndex(ctx, ix)
		return err
	})
	return created, err
}
